"""The page of a run: one HTML file that a person can look at, with no script and nothing to load from elsewhere."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jinja2

from sim.common.files import write_text
from sim.run.page_costs import PLANE_STYLES, cycle_bars, flat_bars, key_figures, layer_table, techniques, traffic
from sim.run.page_maps import head_map, token_map
from sim.run.page_scene import Scene
from sim.run.page_steps import generated, steps
from sim.run.page_tokens import texts, token_table
from sim.run.page_words import count, direction, flattened, percent, precision, share
from sim.run.record import INVISIBLE, RunRecord

__all__ = ["page_of", "write_page"]

_TEMPLATE = "page.html.jinja"
LEVEL_NAMES = ("below ½", "½ to ¾", "¾ to 1", "1 to 1½", "1½ to 3", "3 and above")


def write_page(record: RunRecord, path: Path | str) -> None:
    """Draw a record; ``path`` is at any time the old file or the whole new one."""
    path = Path(path)
    write_text(path, page_of(record), errors="replace")


def page_of(record: RunRecord) -> str:
    """The HTML of a record."""
    loader = jinja2.FileSystemLoader(Path(__file__).parent)
    options: dict[str, Any] = {"trim_blocks": True, "lstrip_blocks": True, "undefined": jinja2.StrictUndefined}
    environment = jinja2.Environment(loader=loader, autoescape=True, **options)
    scene = Scene(record)
    sections = {
        "lead": list(_lead(record)),
        "text": " ".join(record.text.split()).translate(INVISIBLE),
        "figures": list(key_figures(scene)),
        "texts": texts(scene),
        "token_table": list(token_table(scene)),
        "token_map": token_map(scene),
        "head_map": head_map(scene),
        "techniques": techniques(record),
        "stages": list(traffic(record)),
        "planes": [
            style for plane, style in PLANE_STYLES.items() if any(view.bytes.get(plane) for view in record.layers)
        ],
        "cycles": cycle_bars(record),
        "flat": list(flat_bars(record)),
        "steps": steps(record),
        "generated": generated(record),
        "layer_table": list(layer_table(scene)),
        "settings": list(flattened(record.algorithm)),
    }
    return environment.get_template(_TEMPLATE).render(
        record=record,
        scene=scene,
        level_names=LEVEL_NAMES,
        count=count,
        share=share,
        percent=percent,
        direction=direction(record.text or "".join(record.tokens)),
        **sections,
    )


def _lead(record: RunRecord) -> Iterator[str]:
    """What ran, part by part."""
    further = "after the first question" if record.conversation else "generated"
    generated = f" and {count(len(record.generated))} {further}" if record.generated else ""
    yield f"{count(len(record.tokens))} tokens{generated}"
    yield f"engine {record.engine}"
    if record.preset:
        yield f"preset {record.preset}"
    if record.algorithm_name:
        yield f"algorithm {record.algorithm_name}"
    attention, prompt = (record.algorithm.get(part) or {} for part in ("attention", "prompt"))
    if bits := precision(attention):
        yield bits
    if (bits := precision(prompt)) and record.generated:
        yield f"of the prompt {bits}"
    if record.memory:
        yield f"memory {record.memory}"
    if record.revision:
        yield f"revision {record.revision}"
