"""Memories as macros: which ones, their figures by the committed table of CACTI, and their place in a netlist."""

from __future__ import annotations

import bisect
import dataclasses
import functools
import json
from typing import Any

from sim.asic.cacti import TABLE

__all__ = ["Macro", "Memory", "macro_of", "place_macros"]

MIN_WORDS, MIN_CELLS = 17, 1024
"""Words and bits below which a memory is made of flip-flops: no memory compiler makes so small ones."""
MIN_BITS = 32
"""Width of the narrowest part of a wide memory."""
_SPLITS = (1, 2, 4, 8, 16, 32)
"""Into how many memories side by side a wide one may be split."""


@dataclasses.dataclass(frozen=True, order=True)
class Memory:
    """Size and ports of a memory of the design."""

    words: int
    bits: int
    reads: int
    """ports to read"""
    writes: int
    """ports to write; 0: a table"""
    clocked: bool
    """whether reading takes a clock edge"""
    enables: int = 1
    """pins that let a part of a word be written"""

    @property
    def cell(self) -> str:
        """Name of its macro."""
        edge = "" if self.clocked else "_async"
        parts = "" if self.enables == 1 else f"_{self.enables}en"
        return f"memory_{self.words}x{self.bits}_{self.reads}r{self.writes}w{parts}{edge}"


@dataclasses.dataclass(frozen=True)
class Macro:
    """Figures of a memory at the node of the table."""

    area_um2: float
    access_ns: float
    cycle_ns: float
    read_pj: float
    write_pj: float
    leakage_mw: float
    single_port_um2: float
    """its area if reading and writing shared one port"""
    banks: int
    """memories side by side that it is made of"""


@functools.cache
def table() -> dict[str, Any]:
    return json.loads(TABLE.read_text())


@functools.cache
def _grid(ports: str) -> dict[tuple[int, int], dict[str, float]]:
    return {(each["words"], each["bits"]): each for each in table()["memories"] if each["ports"] == ports}


def _around(values: list[int], wanted: int) -> tuple[int, int, float]:
    """Neighbours of a value in a list and how far it is from the first; below the list: its smallest."""
    at = min(max(bisect.bisect_left(values, wanted), 1), len(values) - 1)
    low, high = values[at - 1], values[at]
    return low, high, max((wanted - low) / (high - low), 0.0)


def _interpolated(ports: str, words: int, bits: int) -> dict[str, float] | None:
    """Figures between the four neighbours in the table, linear in words and in bits; None beyond the table."""
    grid = _grid(ports)
    low, high, down = _around(sorted({size[0] for size in grid}), words)
    widths = sorted({size[1] for size in grid if {(low, size[1]), (high, size[1])} <= grid.keys()})
    if bits > widths[-1] or words > high:
        return None
    left, right, along = _around(widths, bits)
    return {
        name: sum(
            grid[row, column][name] * (down if row == high else 1 - down) * (along if column == right else 1 - along)
            for row in (low, high)
            for column in (left, right)
        )
        for name in ("area_um2", "access_ns", "cycle_ns", "read_pj", "write_pj", "leakage_mw")
    }


@functools.cache
def _composed(ports: str, words: int, bits: int) -> tuple[dict[str, float], int]:
    """The smallest composition of equal memories side by side, and of deep ones one above the other; their number."""
    rows = -(-words // max(size[0] for size in _grid(ports)))
    found = []
    for split in _SPLITS:
        if split > 1 and bits < split * MIN_BITS:
            break
        if part := _interpolated(ports, -(-words // rows), -(-bits // split)):
            times = {"area_um2": rows * split, "leakage_mw": rows * split, "read_pj": split, "write_pj": split}
            found.append(({name: value * times.get(name, 1) for name, value in part.items()}, rows * split))
    if not found:
        raise ValueError(f"a memory of {words} × {bits} bits is beyond the table")
    return min(found, key=lambda each: each[0]["area_um2"])


def macro_of(memory: Memory) -> Macro:
    """Figures of a memory; a copy for each port to read after the first."""
    copies = max(memory.reads, 1)
    single, _ = _composed("1rw", memory.words, memory.bits)
    figures, banks = _composed("1r1w" if memory.writes else "1rw", memory.words, memory.bits)
    return Macro(
        area_um2=copies * figures["area_um2"],
        access_ns=figures["access_ns"],
        cycle_ns=figures["cycle_ns"],
        read_pj=figures["read_pj"],
        write_pj=copies * figures["write_pj"],
        leakage_mw=copies * figures["leakage_mw"],
        single_port_um2=copies * single["area_um2"],
        banks=copies * banks,
    )


def place_macros(netlist: dict[str, Any], top: str) -> list[Memory]:
    """Put macros in place of the large memories of a module (Yosys' JSON, cells ``$mem_v2``); those, one by one."""
    found = []
    for cell in netlist["modules"][top]["cells"].values():
        if cell["type"] != "$mem_v2":
            continue
        # Yosys has an enable for each bit; a macro has one for all bits that are written together.
        enables = list(dict.fromkeys(cell["connections"]["WR_EN"]))
        memory = _memory_of(cell["parameters"], len(enables))
        if not memory.writes or memory.words < MIN_WORDS or memory.words * memory.bits < MIN_CELLS:
            continue
        found.append(memory)
        directions = {name: "output" if name == "RD_DATA" else "input" for name in cell["connections"]}
        cell |= {"type": memory.cell, "parameters": {}, "attributes": {}, "port_directions": directions}
        cell["connections"]["WR_EN"] = enables
        cell["connections"] = {
            name: ["0" if bit in ("x", "z") else bit for bit in bits] for name, bits in cell["connections"].items()
        }
        netlist["modules"][memory.cell] = _black_box(cell["connections"], directions)
    return found


def _memory_of(parameters: dict[str, str], enables: int) -> Memory:
    """The memory of a cell of Yosys, whose parameters are binary numbers."""
    sizes = [int(parameters[name], 2) for name in ("SIZE", "WIDTH", "RD_PORTS", "WR_PORTS", "RD_CLK_ENABLE")]
    return Memory(*sizes[:4], clocked=sizes[4] != 0, enables=enables)


def _black_box(connections: dict[str, list[Any]], directions: dict[str, str]) -> dict[str, Any]:
    ports, next_bit = {}, 2
    for name, bits in connections.items():
        ports[name] = {"direction": directions[name], "bits": list(range(next_bit, next_bit + len(bits)))}
        next_bit += len(bits)
    return {"attributes": {"blackbox": "1"}, "ports": ports, "cells": {}, "netnames": {}}
