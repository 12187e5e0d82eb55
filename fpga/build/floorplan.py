"""Places of the multipliers and of the K and V buffers on an LFE5U-85F, written into a netlist for nextpnr.

nextpnr spreads the multipliers of an array over the whole chip, in no order, and the wires between buffers,
multipliers and adder trees over that. Here Q×K gets the left half of the chip and prob×V the right one. In each, the
multipliers of an element of all lanes lie side by side, its neighbours' beside them, and the block RAMs that hold the
element in the rows above and below. The block RAMs of a quick-select lie side by side at the lower edge, those of the
same bits of its three parts together, for their words leave them late in the cycle. nextpnr places everything else.

Its placer "static" goes on until less than 15 % of the cells of a kind overlap. Of six block RAMs none may, then, and
two can keep it going for ever: so few get their places here, whatever they hold.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Any

from hdl.spec.config import Config

__all__ = ["FloorplanError", "floorplan", "place_few_memories"]

_BLOCKS = {"left": [4 + 9 * k for k in range(7)], "right": [69 + 9 * k for k in range(6)]}
"""First column of each group of nine that holds four multipliers and four block RAMs, one group above the other."""
_MULTIPLIERS = {0: "MULT18_0", 1: "MULT18_1", 4: "MULT18_4", 5: "MULT18_5"}
"""By column in the group."""
_MEMORIES = {0: "EBR0", 2: "EBR1", 4: "EBR2", 6: "EBR3"}
_MULTIPLIER_ROWS = (34, 58, 10)
"""The first one is used first."""
_MEMORY_ROWS = (22, 46, 70, 82)
_MIDDLE_FIRST = (46, 70, 22, 82)

_ARRAYS = {
    # half of the chip: products as (lane, element); memories as (bank, lowest bit, block of the word)
    "left": (r"qk\.array\.product_(\d+)_(\d+)", r"key_buffer\.bank_(\d+)_(\d+)\.\d+\.(\d+)"),
    "right": (r"pv\.product_(\d+)_\d+_(\d+)", r"value_buffer\.bank_(\d+)_(\d+)\.\d+\.(\d+)"),
}

_ENGINES = {
    # half of the chip: memories of quick-selects as (engine, part, block of the word)
    # A module that is called as a port beside it has a number, which moves with any change of the RTL.
    "left": r"pruner\.finder\.engine(\d+)\.(greater|middle|less)(?:\$\d+)?\.memory\.\d+\.(\d+)",
    "right": r"select\.(engine)\.(greater|middle|less)(?:\$\d+)?\.memory\.\d+\.(\d+)",
}
_ENGINE = {"left": r"pruner\.finder\.engine\d+\.(?!queue\.)", "right": r"select\.engine\.(?!queue\.)"}
"""Whatever block RAMs a quick-select has, but for its queue."""
_ENGINE_ROW = 82

_FEW_MEMORIES = 6
"""So many block RAMs the placer cannot be left alone with."""

Site = tuple[int, int, str]
"""Column, row, name."""


class FloorplanError(ValueError):
    """A netlist without the arrays, or of names that are unknown here."""


def _bel(site: Site) -> str:
    column, row, name = site
    return f"X{column}/Y{row}/{name}"


def _sites(half: str, names: dict[int, str], row: int) -> list[Site]:
    return [(block + column, row, name) for block in _BLOCKS[half] for column, name in names.items()]


def _snake(half: str, count: int) -> list[Site]:
    """Sites for ``count`` multipliers, each next to the one before: in as few rows as do, in the middle of the half."""
    width = len(_sites(half, _MULTIPLIERS, 0))
    rows = -(-count // width)
    each = min(width, 2 * -(-count // (2 * rows)))  # two lie side by side
    margin = (width - each) // 4 * 2
    sites = []
    for index, row in enumerate(sorted(_MULTIPLIER_ROWS[:rows])):
        line = _sites(half, _MULTIPLIERS, row)[margin : margin + each]
        sites += reversed(line) if index % 2 else line
    return sites[:count]


def _products(module: dict[str, Any], pattern: str) -> list[str]:
    """Multipliers of an array, by element and lane: their products, or the registers after them, are called so."""
    named = {}
    for name, net in module["netnames"].items():
        found = re.search(rf"(?:^|\.){pattern}$", name)
        if found:
            lane, element = map(int, found.groups())
            named |= dict.fromkeys(net["bits"], (element, lane))
    cells = module["cells"]
    for cell in cells.values():
        register = cell["connections"]
        if cell["type"] == "TRELLIS_FF" and register["Q"][0] in named and "DI" in register:
            named.setdefault(register["DI"][0], named[register["Q"][0]])
    places = {}
    for name, cell in cells.items():
        if cell["type"] == "MULT18X18D":
            bits = [bit for port, bits in cell["connections"].items() if re.fullmatch(r"P\d+", port) for bit in bits]
            known = [named[bit] for bit in bits if bit in named]
            if known:
                places[name] = known[0]
    return sorted(places, key=lambda name: (places[name], name))


def _block_rams(module: dict[str, Any], pattern: str) -> dict[str, tuple[str, ...]]:
    """Block RAMs whose names end so, with the groups of the pattern."""
    return {
        name: match.groups()
        for name, cell in module["cells"].items()
        if cell["type"] == "DP16KD" and (match := re.search(rf"(?:^|\.){pattern}$", name))
    }


def _memories(module: dict[str, Any], pattern: str, config: Config) -> list[tuple[float, str]]:
    """Block RAMs of a buffer with the element in the middle of their bits, in its order."""
    found = {name: tuple(map(int, groups)) for name, groups in _block_rams(module, pattern).items()}
    blocks = {low: 1 + max(block for _, start, block in found.values() if start == low) for _, low, _ in found.values()}
    return sorted(((block + 0.5) / blocks[low] * config.lane_width, name) for name, (_, low, block) in found.items())


def _nearest(wanted: Iterable[tuple[int, str]], free: list[Site]) -> dict[str, Site]:
    """A site near the wanted column for each name."""
    places = {}
    for column, name in sorted(wanted):
        places[name] = site = min(free, key=lambda site: abs(site[0] - column))
        free.remove(site)
    return places


def _places(module: dict[str, Any], half: str, config: Config) -> dict[str, Site]:
    products, buffer = _ARRAYS[half]
    multipliers = _products(module, products)
    if not multipliers:
        raise FloorplanError(f"the netlist must have multipliers with products called {products}, and has none")
    places = dict(zip(multipliers, _snake(half, len(multipliers)), strict=True))
    column = [places[name][0] for name in multipliers]
    memories = _memories(module, buffer, config)
    width = len(_sites(half, _MEMORIES, 0))
    rows = max(2, -(-len(memories) // width))
    if rows > len(_MEMORY_ROWS):
        return places  # they need the other half, too
    each = -(-len(memories) // rows)
    for index, row in enumerate(_MEMORY_ROWS[:rows]):
        part = memories[index * each : (index + 1) * each]
        wanted = [(column[int(element / config.lane_width * len(column))], name) for element, name in part]
        places |= _nearest(wanted, _sites(half, _MEMORIES, row))
    return places


def _engine_places(module: dict[str, Any], half: str, taken: Iterable[Site]) -> dict[str, Site]:
    """Sites for the block RAMs of quick-selects in the last row, if there is room for all."""
    found = _block_rams(module, _ENGINES[half])
    others = [
        name
        for name, cell in module["cells"].items()
        if cell["type"] == "DP16KD" and re.search(rf"(?:^|\.){_ENGINE[half]}", name) and name not in found
    ]
    if others:
        raise FloorplanError(f"block RAMs of a quick-select must be called {_ENGINES[half]}, and {others[0]} is not")
    names = sorted(found, key=lambda name: (found[name][0], int(found[name][2]), found[name][1]))
    free = [site for site in _sites(half, _MEMORIES, _ENGINE_ROW) if site not in taken]
    return dict(zip(names, free, strict=False)) if len(names) <= len(free) else {}


def place_few_memories(module: dict[str, Any]) -> int:
    """Give block RAMs without a place one in the middle of the chip, if they are few; how many."""
    cells = [cell for cell in module["cells"].values() if cell["type"] == "DP16KD"]
    taken = {cell["attributes"].get("BEL") for cell in cells}
    rest = [cell for cell in cells if "BEL" not in cell["attributes"]]
    if len(rest) > _FEW_MEMORIES:
        return 0
    # From the middle of a row outwards on the left, then on the right.
    rows = [_sites("left", _MEMORIES, row)[::-1] + _sites("right", _MEMORIES, row) for row in _MIDDLE_FIRST]
    free = (bel for sites in rows for bel in map(_bel, sites) if bel not in taken)
    for cell, bel in zip(rest, free, strict=False):
        cell["attributes"]["BEL"] = bel
    return len(rest)


def floorplan(module: dict[str, Any], config: Config) -> int:
    """Give cells of a flat module (Yosys' JSON) their places, as above; the number of cells.

    FloorplanError if there is an array without a multiplier, or a block RAM of a quick-select has an unknown name.
    """
    places = {name: site for half in _ARRAYS for name, site in _places(module, half, config).items()}
    for half in _ENGINES:
        places |= _engine_places(module, half, set(places.values()))
    for name, site in places.items():
        module["cells"][name]["attributes"]["BEL"] = _bel(site)
    return len(places) + place_few_memories(module)
