"""Area and clock of a design in a library's cells, module by module."""

from __future__ import annotations

import dataclasses
import math
from collections import Counter
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

from sim.asic.hierarchy import Hierarchy
from sim.asic.library import Library
from sim.asic.mapping import Mapped, map_module
from sim.asic.memories import Macro, macro_of, table
from sim.asic.published import GROUPS, PAPER_MM2, PAPER_NODE_NM
from sim.asic.timing import clock_of

__all__ = ["SCALING", "Target", "survey"]

SCALING = "area with the square of the feature size, delay with the feature size (Dennard et al., 1974)"


SLOW = 0.5
"""Share of the clock asked for: a module that is slower is mapped again, for speed."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Target:
    """What is mapped to."""

    library: Library
    node_nm: float
    """feature size of the library"""
    mhz: float
    """the clock that logic is sized for"""
    cache: Path
    """folder of what was mapped before"""


def _mhz(clock: dict[str, Any] | None) -> float:
    return clock["mhz"] if clock else math.inf


def _square(from_nm: float, to_nm: float) -> float:
    return (to_nm / from_nm) ** 2


class _Survey:
    """Modules of a hierarchy, each mapped once."""

    def __init__(self, hierarchy: Hierarchy, target: Target, progress: Callable[[str], None]) -> None:
        self.hierarchy = hierarchy
        self.target = target
        self.mapped: dict[str, Mapped] = {}
        modules = hierarchy.counts(hierarchy.top)
        for at, name in enumerate(sorted(modules, key=lambda name: len(hierarchy.texts[name])), 1):
            progress(f"{at} of {len(modules)}: {name}")
            self.mapped[name] = self.map(name)

    def map(self, name: str, *, speed: bool = False) -> Mapped:
        """A module alone."""
        hierarchy, target = self.hierarchy, self.target
        kinds = sorted(set(hierarchy.children(name).values()))
        children = "".join(hierarchy.texts[kind] for kind in kinds)
        cache = target.cache / "modules"
        return map_module(name, hierarchy.texts[name], children, target.library, target.mhz, cache, speed=speed)

    def hasten(self, block: str) -> None:
        """Map for speed those modules of a block that are too slow, if the block is."""
        limit = SLOW * self.target.mhz
        if _mhz(self.clock(block)) >= limit:
            return
        for name in self.hierarchy.counts(block):
            if _mhz(self.clock(name)) < limit:
                self.mapped[name] = self.map(name, speed=True)

    def hasten_all(self, progress: Callable[[str], None]) -> None:
        """Those of all blocks in the top, or of the top if there is none in it."""
        for module in dict.fromkeys(self.hierarchy.children(self.hierarchy.top).values()) or [self.hierarchy.top]:
            progress(f"clock of {module}")
            self.hasten(module)

    def macro_scale(self) -> float:
        """From the area of the table's node to that of the library's."""
        return _square(table()["node_nm"], self.target.node_nm)

    def area(self, counts: Counter[str]) -> dict[str, float]:
        """Square micrometres of modules that stand so often."""
        total = {"logic_um2": 0.0, "flops_um2": 0.0, "memory_um2": 0.0, "memory_single_port_um2": 0.0}
        for name, count in counts.items():
            mapped = self.mapped[name]
            macros = [macro_of(memory) for memory in mapped.memories]
            total["logic_um2"] += count * (mapped.area_um2 - mapped.flops_um2)
            total["flops_um2"] += count * mapped.flops_um2
            total["memory_um2"] += count * self.macro_scale() * sum(each.area_um2 for each in macros)
            total["memory_single_port_um2"] += count * self.macro_scale() * sum(each.single_port_um2 for each in macros)
        return _with_sum(total)

    def clock(self, module: str) -> dict[str, Any] | None:
        """Clock of a module with all that it holds, and what limits it."""
        names = self.hierarchy.counts(module)
        macros = {memory: macro_of(memory) for name in names for memory in self.mapped[name].memories}
        pace = self.target.node_nm / table()["node_nm"]
        netlists = [self.mapped[name].netlist for name in names]
        found = clock_of(module, netlists, self.target.library, macros, pace, self.target.cache / "timing")
        slowest = max((macro.cycle_ns * pace for macro in macros.values()), default=0.0)
        if found and 1000 / found["mhz"] < slowest:
            found |= {"mhz": round(1000 / slowest, 1), "limit": "cycle time of a memory"}
        return found

    def macros(self) -> dict[str, Any]:
        """Each size of memory, its count and figures."""
        counts = self.hierarchy.counts(self.hierarchy.top)
        found: Counter[Any] = Counter()
        for name, mapped in self.mapped.items():
            for memory in mapped.memories:
                found[memory] += counts[name]
        return {
            memory.cell: {"count": count, **dataclasses.asdict(memory), **_figures(macro_of(memory))}
            for memory, count in sorted(found.items())
        }


def _figures(macro: Macro) -> dict[str, float]:
    return {name: float(f"{value:.5g}") for name, value in dataclasses.asdict(macro).items()}


def _with_sum(area: dict[str, float]) -> dict[str, float]:
    rounded = {name: round(value, 3) for name, value in area.items()}
    return rounded | {"area_um2": round(area["logic_um2"] + area["flops_um2"] + area["memory_um2"], 3)}


def _added(parts: Iterable[dict[str, float]]) -> dict[str, float]:
    total: Counter[str] = Counter()
    for part in parts:
        total.update({name: value for name, value in part.items() if name.endswith("_um2")})
    return {name: round(value, 3) for name, value in total.items()}


def survey(
    verilog: str, target: Target, *, timed: bool = True, progress: Callable[[str], None] = lambda text: None
) -> dict[str, Any]:
    """Area of the whole, of each module and of each instance in the top; with OpenSTA also their clocks.

    ``blocks`` has the instances in the top, ``top`` being what is outside them; ``groups`` sums them as the paper does.
    Areas are of the library's node, ``…_mm2_40nm`` scaled (:data:`SCALING`).
    """
    hierarchy = Hierarchy(verilog)
    work = _Survey(hierarchy, target, progress)
    if timed:
        work.hasten_all(progress)
    blocks: dict[str, dict[str, Any]] = {}
    for instance, module in hierarchy.children(hierarchy.top).items():
        blocks[instance] = {"module": module, **work.area(hierarchy.counts(module))}
    blocks["top"] = {"module": hierarchy.top, **work.area(Counter({hierarchy.top: 1}))}
    found = {
        "node_nm": target.node_nm,
        "library": target.library.name,
        "mhz": target.mhz,
        "scaling": SCALING,
        "total": work.area(hierarchy.counts(hierarchy.top)),
        "blocks": blocks,
        "groups": _groups(blocks),
        "memories": work.macros(),
        "modules": {
            name: {"instances": count, "cells": work.mapped[name].cells, **work.area(Counter({name: 1}))}
            for name, count in hierarchy.counts(hierarchy.top).items()
        },
    }
    if timed:
        for block in blocks.values():
            progress(f"timing of {block['module']}")
            block["clock"] = work.clock(block["module"])
        found |= {"clock": blocks["top"].pop("clock"), "wires": _wires(target.library)}
    shrink = _square(target.node_nm, PAPER_NODE_NM) / 1e6
    for part in (found["total"], *blocks.values(), *found["groups"].values()):
        part["area_mm2_40nm"] = round(part["area_um2"] * shrink, 5)
    return found


def _wires(library: Library) -> str:
    """What timing assumes of wires."""
    if library.wires:
        return f"wires: the library's default wire-load model {library.wires}, by fan-out; nothing is placed"
    return "wires: none, for the library has no default wire-load model; nothing is placed"


def _groups(blocks: dict[str, dict[str, Any]]) -> dict[str, dict[str, Any]]:
    """The top's instances by part of the paper's Figure 13, the others as ``rest``; none if the top has not them."""
    if not all(name in blocks for names in GROUPS.values() for name in names):
        return {}
    listed = {name for names in GROUPS.values() for name in names}
    groups = {**GROUPS, "rest": tuple(name for name in blocks if name not in listed)}
    return {
        group: {**_added(blocks[name] for name in names), "paper_mm2": PAPER_MM2.get(group)}
        for group, names in groups.items()
    }
