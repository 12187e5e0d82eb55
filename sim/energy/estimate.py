"""The estimate of a run: picojoules, watts and GOP/J, by block, with the error bar of the second set of constants."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from hdl.spec.config import PRESETS, Config
from sim.common.errors import UserError
from sim.common.files import read_text
from sim.energy.activity import Activity, joules
from sim.energy.constants import SETS
from sim.energy.machine import DERIVED, Counted, blocks_of

__all__ = ["Part", "estimate", "parts_of", "read_run"]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Part:
    """A part of a run, such as its prompt."""

    name: str
    blocks: dict[str, Activity]
    cycles: int
    operations: float
    """two for each product of dense attention"""
    tokens: int

    def to_json(self) -> dict[str, Any]:
        """All figures of the part; ``low`` and ``high`` are of the sets of constants."""
        each = {name: joules(self.blocks, energies) for name, energies in SETS.items()}
        totals = {name: sum(found.values()) for name, found in each.items()}
        first = next(iter(SETS))
        total = totals[first]
        return {
            "kind": "estimated",
            "cycles": self.cycles,
            "tokens": self.tokens,
            "joules": total,
            "joules_low": min(totals.values()),
            "joules_high": max(totals.values()),
            "pj_per_token": 1e12 * total / self.tokens,
            "gop_per_j": 1e-9 * self.operations / total,
            "gop_per_j_low": 1e-9 * self.operations / max(totals.values()),
            "gop_per_j_high": 1e-9 * self.operations / min(totals.values()),
            "watts": total / (self.cycles * 1e-9),
            "blocks": {name: _block(each, name, self.cycles) for name in self.blocks},
        }


def _block(each: Mapping[str, dict[str, float]], name: str, cycles: int) -> dict[str, float]:
    """A block's joules by set, and its watts at 1 GHz by the first."""
    found = {f"joules_{constants}": parts[name] for constants, parts in each.items()}
    return found | {"watts": next(iter(found.values())) / (cycles * 1e-9)}


def read_run(path: Path) -> dict[str, Any]:
    """What ``spatten run`` or ``spatten workload`` wrote; UserError if it is no such file, or counted nothing."""
    text = read_text(path, "RUN")
    try:
        run = json.loads(text)
    except ValueError as error:
        raise UserError(f"RUN {str(path)!r} must be the JSON of spatten run or workload: {error}") from None
    known = isinstance(run, dict) and {"preset", "cycles"} <= set(run) and ("layers" in run or "counters" in run)
    if not known:
        raise UserError(f"RUN {str(path)!r} must be the JSON of spatten run or workload, with preset, cycles, counters")
    if not run["cycles"]:
        raise UserError(f"RUN {str(path)!r} must be of an engine that counts cycles, not {run.get('engine')!r}")
    return run


def estimate(run: Mapping[str, Any], config: Config | None = None) -> dict[str, Any]:
    """Figures of a run by part, and what is derived. config: the machine's, if ``preset`` does not name a preset."""
    if config is None:
        if run["preset"] not in PRESETS:
            raise UserError(f"--preset must be the file of configuration {run['preset']!r}: it is none of the presets")
        config = PRESETS[run["preset"]]
    parts = {part.name: part.to_json() for part in parts_of(run, config)}
    return {"kind": "estimated", "preset": config.name, "parts": parts, "derived": DERIVED}


def parts_of(run: Mapping[str, Any], config: Config) -> Iterator[Part]:
    """``prompt`` (of an encoder ``sentence``) and ``generation`` of a run, or the whole ``workload``."""
    if "layers" not in run:
        yield _workload(run, config)
        return
    settings = run["algorithm"]["attention"]
    names = ("prompt", "generation") if run["generated"] is not None else ("sentence", "generation")
    for name, layers in zip(names, (run["layers"], run["generation_layers"]), strict=True):
        if layers:
            mine = settings if name == "generation" else run["algorithm"].get("prompt") or settings
            tokens = layers[-1]["step"] if name == "generation" else run["tokens"]
            yield _layers(name, layers, mine, tokens, config)


def _layers(name: str, layers: list[dict[str, Any]], settings: Mapping[str, Any], tokens: int, config: Config) -> Part:
    blocks: dict[str, Activity] = {}
    for layer in layers:
        counted = Counted(
            counters=layer["counters"],
            dim=layer["dim"],
            key_bits=settings["key_bits"],
            value_bits=settings["value_bits"],
        )
        for block, activity in blocks_of(counted, config).items():
            blocks.setdefault(block, Activity()).add(activity)
    return Part(
        name=name,
        blocks=blocks,
        cycles=sum(layer["cycles"] for layer in layers),
        operations=2 * sum(layer["dense_macs"] for layer in layers),
        tokens=tokens,
    )


def _workload(run: Mapping[str, Any], config: Config) -> Part:
    sizes = run["sizes"]
    counted = Counted(
        counters=run["counters"], dim=sizes["dim"], key_bits=sizes["key_bits"], value_bits=sizes["value_bits"]
    )
    return Part(
        name="workload",
        blocks=blocks_of(counted, config),
        cycles=run["cycles"],
        operations=run["gflops_dense_equivalent"] * run["cycles"],
        tokens=run["facts"].get("generated") or sum(run["facts"]["lengths"]),
    )
