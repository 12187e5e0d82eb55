"""The page of a run: one HTML file that a person can look at, with no script and nothing to load from elsewhere."""

from __future__ import annotations

import dataclasses
import itertools
import math
import statistics
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import jinja2

from hdl.spec.planes import PLANES
from sim.common.files import write_text
from sim.run.record import INVISIBLE, LayerView, RunRecord, Word, words_of

__all__ = ["page_of", "write_page"]

_TEMPLATE = "page.html.jinja"

MAX_COLUMNS = 256
"""Columns of the importance map; more tokens share columns."""
MAX_LABELLED = 64
"""Columns that have the room for the text of their token."""
MAX_TEXTS = 8
"""Layers whose text is shown, if the model is not shallow."""
MAX_SHALLOW = 12
"""Layers that have room for all."""
MAX_LABEL = 14
"""Letters of a column's label."""

LEVELS = (0.5, 0.75, 1.0, 1.5, 3.0)
"""Edges between shades of importance, relative to the median of the layer."""
LEVEL_NAMES = ("below ½", "½ to ¾", "¾ to 1", "1 to 1½", "1½ to 3", "3 and above")

# Order and meaning: golden/host/accounting.py.
TECHNIQUES = {
    "tokens": "Token pruning",
    "heads": "Head pruning",
    "values": "Local value pruning",
    "passes": "Prompt in parts",
    "quantization": "Quantization",
}
PLANE_STYLES = {
    "query": ("c0", "Q"),
    "key": ("c4", "K"),
    "key_lsb": ("c1", "K, LSBs of flat rows"),
    "value": ("c2", "V"),
}
"""Colour in the template, and name."""
STAGES = {
    "qk_beats": "Q×K at work",
    "qk_stall_key": "waits for K",
    "qk_stall_query": "waits for a query",
    "qk_stall_out": "waits for softmax and top-k",
    "select_cycles": "cascade selection",
}
"""What the Q×K array does, by counter."""


def write_page(record: RunRecord, path: Path | str) -> None:
    """Draw a record; ``path`` is at any time the old file or the whole new one."""
    path = Path(path)
    write_text(path, page_of(record), errors="replace")


def page_of(record: RunRecord) -> str:
    """The HTML of a record."""
    loader = jinja2.FileSystemLoader(Path(__file__).parent)
    options: dict[str, Any] = {"trim_blocks": True, "lstrip_blocks": True, "undefined": jinja2.StrictUndefined}
    environment = jinja2.Environment(loader=loader, autoescape=True, **options)
    scene = _Scene(record)
    sections = {
        "text": " ".join(record.text.split()).translate(INVISIBLE),
        "figures": list(_figures(scene)),
        "texts": _texts(scene),
        "token_table": list(_token_table(scene)),
        "token_map": _token_map(scene),
        "head_map": _head_map(scene),
        "techniques": _techniques(record),
        "stages": list(_traffic(record)),
        "planes": [
            style for plane, style in PLANE_STYLES.items() if any(view.bytes.get(plane) for view in record.layers)
        ],
        "cycles": _cycles(record),
        "flat": list(_flat(record)),
        "steps": _steps(record),
        "generated": _generated(record),
        "layer_table": list(_layer_table(scene)),
        "settings": list(_flattened(record.algorithm)),
    }
    return environment.get_template(_TEMPLATE).render(
        record=record, scene=scene, level_names=LEVEL_NAMES, count=_count, share=_share, percent=_percent, **sections
    )


# What is shown -------------------------------------------------------------------------------------------------


class _Scene:
    """The step that the page shows layer by layer: the last one, an encoder's only one."""

    def __init__(self, record: RunRecord):
        self.record, self.step = record, record.last_step
        self.views = record.step(self.step)
        self.words = words_of(record.texts)[: record.num_tokens(self.step)]
        self.layers = [_Tokens(view, len(self.words)) for view in self.views]

    @property
    def tables(self) -> int:
        """Tables of a layer; more than one in the scope "head"."""
        return len(self.views[0].tables)

    @property
    def tokens_kept(self) -> float:
        """Share of the tokens that a layer attends, mean of the layers."""
        return statistics.fmean(view.tokens for view in self.views) / len(self.words)

    @property
    def heads_kept(self) -> float:
        return statistics.fmean(view.num_heads / len(view.heads) for view in self.views)


class _Tokens:
    """A layer's tokens by id: shade (None: not attended), tables that attend it, whether it survives."""

    def __init__(self, view: LayerView, number: int):
        self.importance: list[float | None] = [None] * number
        self.tables, self.keep = [0] * number, [False] * number
        for table in view.tables:
            for token, importance, keep in zip(table.ids, table.importance, table.keep, strict=True):
                self.importance[token] = (self.importance[token] or 0.0) + importance
                self.tables[token] += 1
                self.keep[token] |= keep
        self.levels = _levels(self.importance)


def _levels(values: Sequence[float | None]) -> list[int | None]:
    """Shades relative to the median."""
    known = [value for value in values if value is not None]
    median = statistics.median(known) if known else 0.0
    return [None if value is None else _level(value, median) for value in values]


def _level(value: float, median: float) -> int:
    return sum(value >= edge * median for edge in LEVELS) if median else (len(LEVELS) if value else 0)


# Key figures ---------------------------------------------------------------------------------------------------


def _figures(scene: _Scene) -> Iterator[dict[str, Any]]:
    """Label, value, note; alarm if something is wrong."""
    record, last = scene.record, scene.views[-1]
    of_layers = f"mean of {len(scene.views)} layers"
    flat, rows = (sum(getattr(view, name) for view in record.layers) for name in ("flat_rows", "rows"))
    cycles = [view.cycles for view in record.layers]
    yield _figure("Less DRAM traffic", f"{record.dram_reduction:.1f}×", f"than dense attention in fp32{_where(record)}")
    yield _figure(
        "Tokens kept",
        _share(scene.tokens_kept),
        f"of {len(scene.words)}, {of_layers}; {_count(last.tokens)} in the last",
    )
    yield _figure(
        "Heads kept", _share(scene.heads_kept), f"of {len(last.heads)}, {of_layers}; {last.num_heads} in the last"
    )
    if _progressive(record):
        yield _figure("Flat rows", _share(flat / max(1, rows)), f"{_count(flat)} of {_count(rows)} read the LSBs of K")
    else:
        yield _figure("Flat rows", "none", "quantization is static")
    if all(count is None for count in cycles):
        yield _figure("Cycles", "–", "the golden model counts none")
    else:
        counted = sum(count is not None for count in cycles)
        note = "all layers" if counted == len(cycles) else f"{counted} of {len(cycles)} layers"
        yield _figure("Cycles", _count(sum(count or 0 for count in cycles)), f"{note}, on {record.engine}")
    compared = f"of {_count(record.values_compared)} values compared with the golden model"
    yield _figure(
        "Mismatches",
        _count(record.mismatches) if record.values_compared else "–",
        compared if record.values_compared else "the golden model ran alone",
        alarm=record.mismatches > 0,
    )


def _figure(label: str, value: str, note: str, *, alarm: bool = False) -> dict[str, Any]:
    return {"label": label, "value": value, "note": note, "alarm": alarm}


def _progressive(record: RunRecord) -> bool:
    """Whether rows may be flat at all."""
    stages = [record.algorithm.get(stage) or {} for stage in ("prompt", "attention")]
    return any(stage.get("key_lsb_bits") for stage in stages) or any(view.flat_rows for view in record.layers)


# The text, layer by layer --------------------------------------------------------------------------------------


@dataclasses.dataclass(frozen=True)
class _Chip:
    """A token, or several in a row that were pruned before, in the text of a layer."""

    tag: str
    style: str
    text: str
    space: bool


def _texts(scene: _Scene) -> list[dict[str, Any]]:
    picked = _spread(len(scene.views), MAX_TEXTS if len(scene.views) > MAX_SHALLOW else MAX_SHALLOW)
    return [
        {
            "layer": scene.views[index].layer,
            "attended": scene.views[index].tokens,
            "pruned": sum(
                level is not None and not keep for level, keep in zip(tokens.levels, tokens.keep, strict=True)
            ),
            "chips": _chips(scene.words, tokens, scene.tables),
        }
        for index in picked
        for tokens in [scene.layers[index]]
    ]


def _spread(number: int, most: int) -> list[int]:
    """Indices of the first, the last, and some evenly between."""
    if number <= most:
        return list(range(number))
    return [round(index * (number - 1) / (most - 1)) for index in range(most)]


def _chips(words: list[Word], tokens: _Tokens, tables: int) -> list[_Chip]:
    chips = []
    for gone, group in itertools.groupby(range(len(words)), key=lambda token: tokens.levels[token] is None):
        members = list(group)
        if gone:
            text = "".join(" " * (words[token].space and token > members[0]) + words[token].text for token in members)
            chips.append(_Chip("s", "", text, words[members[0]].space))
            continue
        for token in members:
            style = f"l{tokens.levels[token]}" + " part" * (tokens.tables[token] < tables)
            chips.append(_Chip("span" if tokens.keep[token] else "del", style, words[token].text, words[token].space))
    return chips


def _token_table(scene: _Scene) -> Iterator[tuple[int, str, int, str, str]]:
    """Token, text, how many layers attend it, the last of them, and the importance after that one."""
    for token, word in enumerate(scene.words):
        attending = [index for index, layer in enumerate(scene.layers) if layer.levels[token] is not None]
        last = attending[-1] if attending else None
        importance = None if last is None else scene.layers[last].importance[token]
        yield (
            token,
            word.text,
            len(attending),
            "–" if last is None else str(scene.views[last].layer),
            "–" if importance is None else f"{importance:.4g}",
        )


# Maps ----------------------------------------------------------------------------------------------------------


@dataclasses.dataclass(frozen=True)
class _Map:
    """A grid of shaded cells as SVG, in pixels."""

    width: int
    height: int
    cells: list[str]
    """path of all cells of a level"""
    pruned: str
    """path of lines through what was pruned"""
    rows: list[tuple[float, str]]
    """y, label"""
    columns: list[tuple[float, str, bool]]
    """x, label, whether it was kept to the end"""
    label_y: int
    slanted: bool
    per_column: int = 1


_LEFT, _GAP = 30, 1


def _map(
    levels: list[list[int | None]],
    *,
    size: tuple[int, int],
    rows: list[str],
    columns: dict[int, tuple[str, bool]],
    foot: int,
    slanted: bool = False,
    per_column: int = 1,
) -> _Map:
    """Cells (width, height) of levels by row and column; labels of columns by their index, in ``foot`` pixels."""
    width, height = size
    cells = [""] * (len(LEVELS) + 1)
    pruned = ""
    for y, row in enumerate(levels):
        for level, group in itertools.groupby(enumerate(row), key=lambda item: item[1]):
            members = [column for column, _ in group]
            if level is None:
                middle = y * height + height // 2
                pruned += f"M{_LEFT + members[0] * width} {middle}h{len(members) * width - _GAP}"
                continue
            across, down = width - _GAP, height - _GAP
            for column in members:
                cells[level] += f"M{_LEFT + column * width} {y * height}h{across}v{down}h-{across}z"
    every = max(1, math.ceil(14 / height))
    return _Map(
        width=_LEFT + len(levels[0]) * width + (foot if slanted else 0),
        height=len(levels) * height + foot,
        cells=cells,
        pruned=pruned,
        rows=[(y * height + height / 2, label) for y, label in enumerate(rows) if y % every == 0],
        columns=[(_LEFT + (x + 0.5) * width, label, kept) for x, (label, kept) in columns.items()],
        label_y=len(levels) * height + (10 if slanted else 14),
        slanted=slanted,
        per_column=per_column,
    )


def _token_map(scene: _Scene) -> _Map:
    """Layers × tokens; in a column of several tokens the most important one counts."""
    number = len(scene.words)
    per_column = -(-number // MAX_COLUMNS)
    starts = range(0, number, per_column)
    levels = [
        [
            max((level for level in layer.levels[start : start + per_column] if level is not None), default=None)
            for start in starts
        ]
        for layer in scene.layers
    ]
    labelled = number <= MAX_LABELLED
    if labelled:
        last = scene.layers[-1].levels
        columns = {token: (_clipped(word.text), last[token] is not None) for token, word in enumerate(scene.words)}
    else:
        tick = max(per_column, _round_step(number / 8))
        columns = {token // per_column: (str(token), False) for token in range(0, number, tick)}
    cell = max(4, min(24, 860 // len(starts)))
    return _map(
        levels,
        size=(cell, 18 if len(levels) <= MAX_SHALLOW else 12),
        rows=[str(view.layer) for view in scene.views],
        columns=columns,
        foot=84 if labelled else 20,
        slanted=labelled,
        per_column=per_column,
    )


def _head_map(scene: _Scene) -> _Map:
    levels = []
    for view in scene.views:
        alive = zip(view.heads, view.head_importance, strict=True)
        levels.append(_levels([importance if computed else None for computed, importance in alive]))
    heads = len(levels[0])
    every = max(1, heads // 16)
    return _map(
        levels,
        size=(24, 18 if len(levels) <= MAX_SHALLOW else 12),
        rows=[str(view.layer) for view in scene.views],
        columns={head: (str(head), False) for head in range(0, heads, every)},
        foot=20,
    )


def _clipped(text: str) -> str:
    return text if len(text) <= MAX_LABEL else text[: MAX_LABEL - 1] + "…"


def _round_step(least: float) -> int:
    """1, 2 or 5 times a power of ten, not below ``least``."""
    power = 10 ** max(0, math.floor(math.log10(max(1.0, least))))
    return next(factor * power for factor in (1, 2, 5, 10) if factor * power >= least)


# Traffic -------------------------------------------------------------------------------------------------------


def _where(record: RunRecord) -> str:
    """Whether the record's reduction is that of generation alone, as the paper counts it for GPT."""
    generation = [view for view in record.layers if view.step]
    dense, read = sum(view.dense_bytes for view in generation), sum(view.bytes_read for view in generation)
    return ", in generation" if generation and math.isclose(dense, record.dram_reduction * read, rel_tol=1e-3) else ""


def _techniques(record: RunRecord) -> dict[str, Any] | None:
    """What is left of the bytes of fp32 dense attention after one technique after the other."""
    if not record.factors:
        return None
    left = 1.0
    rows: list[dict[str, Any]] = [{"name": "Dense, fp32", "factor": None, "left": left, "removed": 0.0, "added": 0.0}]
    for name, factor in record.factors.items():
        if name == "passes" and factor == 1:
            continue
        before, left = left, left / factor
        label = TECHNIQUES.get(name, name.replace("_", " ").capitalize())
        change = {"removed": max(0.0, before - left), "added": max(0.0, left - before)}
        rows.append({"name": label, "factor": factor, "left": left, **change})
    most = max(row["left"] + row["removed"] for row in rows)
    return {"rows": rows, "most": most, "adds": any(row["added"] for row in rows), "where": _where(record)}


def _traffic(record: RunRecord) -> Iterator[dict[str, Any]]:
    """Bytes by plane, of the prompt and of generation."""
    generation = [view for view in record.layers if view.step]
    yield _stage("Prompt" if generation else "All layers", record.step(0))
    if generation:
        yield _stage("Generation", generation)


def _stage(name: str, views: list[LayerView]) -> dict[str, Any]:
    read = {plane: sum(view.bytes.get(plane, 0.0) for view in views) for plane in PLANES}
    total, dense = sum(read.values()), sum(view.dense_bytes for view in views)
    return {
        "name": name,
        "total": _bytes(total),
        "dense": _bytes(dense),
        "reduction": dense / max(1.0, total),
        "planes": [
            {"style": style, "name": label, "bytes": _bytes(read[plane]), "share": read[plane] / max(1.0, total)}
            for plane, (style, label) in PLANE_STYLES.items()
        ],
    }


# By layer ------------------------------------------------------------------------------------------------------


def _by_layer(record: RunRecord) -> list[tuple[int, list[LayerView]]]:
    """Each layer in all its steps."""
    ordered = sorted(record.layers, key=lambda view: (view.layer, view.step))
    return [(layer, list(views)) for layer, views in itertools.groupby(ordered, key=lambda view: view.layer)]


def _cycles(record: RunRecord) -> dict[str, Any] | None:
    """Cycles of each layer, by what the Q×K array does; None if nobody counted."""
    rows = []
    for layer, views in _by_layer(record):
        counted = [view for view in views if view.counters]
        if counted:
            total = sum(view.cycles or 0 for view in counted)
            rows.append({"layer": layer, "total": total, "parts": _spent(counted, total)})
    most = max((row["total"] for row in rows), default=0)
    return {"rows": rows, "most": most, "names": [*STAGES.values(), "start and end"]} if most else None


def _spent(views: list[LayerView], total: int) -> list[int]:
    """Cycles by stage, and the rest; while the cascade selects, the Q×K array has no query."""
    spent = {name: sum((view.counters or {}).get(name, 0) for view in views) for name in STAGES}
    spent["qk_stall_query"] = max(0, spent["qk_stall_query"] - spent["select_cycles"])
    return [*spent.values(), max(0, total - sum(spent.values()))]


def _flat(record: RunRecord) -> Iterator[dict[str, Any]]:
    if _progressive(record):
        for layer, views in _by_layer(record):
            flat, rows = (sum(getattr(view, name) for view in views) for name in ("flat_rows", "rows"))
            yield {"layer": layer, "flat": flat, "rows": rows, "share": flat / max(1, rows)}


def _layer_table(scene: _Scene) -> Iterator[list[str]]:
    """Layer, tokens, heads, rows, flat rows, bytes read and dense, share of the dense multiply-accumulates, cycles."""
    shown = {view.layer: view for view in scene.views}
    for layer, views in _by_layer(scene.record):
        macs, dense = (sum(getattr(view, name) for view in views) for name in ("macs", "dense_macs"))
        cycles = [view.cycles for view in views if view.cycles is not None]
        yield [
            str(layer),
            _count(shown[layer].tokens),
            str(shown[layer].num_heads),
            _count(sum(view.rows for view in views)),
            _count(sum(view.flat_rows for view in views)),
            _bytes(sum(view.bytes_read for view in views)),
            _bytes(sum(view.dense_bytes for view in views)),
            _share(macs / max(1, dense)),
            _count(sum(cycles)) if cycles else "–",
        ]


# Generation ----------------------------------------------------------------------------------------------------


def _steps(record: RunRecord) -> dict[str, Any] | None:
    """Tokens attended in each step, of the layers the fewest, the mean and the most, as SVG points in 100 × 100."""
    last = record.last_step
    if last < 1:
        return None
    rows = []
    for step in range(last + 1):
        tokens = [view.tokens for view in record.step(step)]
        rows.append((step, record.num_tokens(step), min(tokens), statistics.fmean(tokens), max(tokens)))
    most = rows[-1][1]

    known, least, mean, greatest = (
        [f"{100 * row[0] / last:.2f},{100 - 100 * row[column] / most:.2f}" for row in rows] for column in range(1, 5)
    )
    return {
        "rows": rows,
        "most": most,
        "last": last,
        "dense": " ".join(known),
        "mean": " ".join(mean),
        "band": " ".join(least + greatest[::-1]),
    }


def _generated(record: RunRecord) -> dict[str, Any] | None:
    """The generated tokens beside the dense model's, and the index of the first that differs (None: none does)."""
    if not record.generated:
        return None
    pairs = itertools.zip_longest(record.generated, record.dense_generated)
    first = next((index for index, (ours, dense) in enumerate(pairs) if ours != dense), None)
    before = len(record.tokens)
    ours = words_of(record.tokens + record.generated)[before:]
    dense = words_of(record.tokens + record.dense_generated)[before:]
    return {"ours": ours, "dense": dense, "first": first if record.dense_generated else None}


# Words ---------------------------------------------------------------------------------------------------------


def _flattened(settings: dict[str, Any], prefix: str = "") -> Iterator[tuple[str, str]]:
    """Settings by dotted name."""
    for name, value in settings.items():
        if isinstance(value, dict):
            yield from _flattened(value, f"{prefix}{name}.")
        else:
            yield f"{prefix}{name}", ", ".join(map(str, value)) if isinstance(value, list | tuple) else str(value)


def _count(number: float) -> str:
    return f"{number:,.0f}" if float(number).is_integer() else f"{number:,.1f}"


def _share(share: float) -> str:
    """A share in percent, with a decimal where whole percents would say little."""
    percent = 100 * share
    return f"{percent:.1f} %" if 0 < percent < 10 or 99 < percent < 100 else f"{percent:.0f} %"


def _percent(part: float, whole: float) -> str:
    """A length in CSS."""
    return f"{100 * part / whole:.2f}%"


def _bytes(number: float) -> str:
    for unit in ("B", "KiB", "MiB"):
        if number < 1024:
            return f"{number:,.0f} {unit}" if unit == "B" or number >= 100 else f"{number:,.1f} {unit}"
        number /= 1024
    return f"{number:,.1f} GiB"
