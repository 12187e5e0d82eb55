"""Places of multipliers and buffers."""

import itertools
import re
from pathlib import Path

import pytest
from amaranth.back import rtlil

from fpga.build import floorplan as plan
from fpga.build.floorplan import FloorplanError, floorplan
from hdl.spatten import SpAtten
from hdl.spec.config import Config

LANES = 2


def flop(d, q):
    return {"type": "TRELLIS_FF", "attributes": {}, "connections": {"DI": [d], "Q": [q]}}


def netlist(lane_width, *, packed=True, blocks=3):
    """Both arrays, with a register of the product in the multiplier or behind it, and their buffers."""
    cells, nets = {}, {}
    bits = iter(range(10, 100_000))
    for array, name in (("qk.array", "product_{}_{}"), ("pv", "product_{}_4_{}")):
        for lane in range(LANES):
            for element in range(lane_width):
                product = [next(bits), next(bits)]
                nets[f"system.core.{array}.{name.format(lane, element)}"] = {"bits": product}
                cell = f"{array}_{lane}_{element}"
                if not packed:
                    registers = dict(zip([next(bits), next(bits)], product, strict=True))
                    cells |= {f"{cell}_{q}": flop(d, q) for d, q in registers.items()}
                    product = list(registers)
                pins = {"P0": [product[0]], "P1": [product[1]], "A0": [next(bits)]}
                cells[cell] = {"type": "MULT18X18D", "attributes": {}, "connections": pins}
    for buffer in ("key", "value"):
        for lane in range(LANES):
            for low in (0, 4):
                for block in range(blocks):
                    name = f"system.core.{buffer}_buffer.bank_{lane}_{low}.0.{block}"
                    cells[name] = {"type": "DP16KD", "attributes": {}, "connections": {}}
    cells["other"] = {"type": "MULT18X18D", "attributes": {}, "connections": {"P0": [next(bits)]}}
    nets["system.core.softmax.product"] = {"bits": cells["other"]["connections"]["P0"]}
    return {"cells": cells, "netnames": nets}


def place(module, name):
    column, row, bel = re.fullmatch(r"X(\d+)/Y(\d+)/(\w+)", module["cells"][name]["attributes"]["BEL"]).groups()
    return int(column), int(row), bel


@pytest.fixture
def config():
    return Config.load("ulx3s")


@pytest.mark.parametrize("packed", [True, False])
def test_neighbours_lie_side_by_side(config, packed):
    module = netlist(32, packed=packed)
    assert floorplan(module, config) == 2 * (64 + 12)
    for array, columns in (("qk.array", range(66)), ("pv", range(66, 127))):
        places = [[place(module, f"{array}_{lane}_{element}") for lane in range(LANES)] for element in range(32)]
        assert all(column in columns for pair in places for column, _, _ in pair)
        assert all(abs(a[0] - b[0]) == 1 and a[1] == b[1] for a, b in places)
        for (a, _), (b, _) in itertools.pairwise(places):
            assert abs(a[0] - b[0]) <= 12 and abs(a[1] - b[1]) <= 24
        assert {row for pair in places for _, row, _ in pair} == {10, 34, 58}


def test_every_cell_has_a_site_of_its_own_and_others_have_none(config):
    module = netlist(32)
    count = floorplan(module, config)
    sites = [cell["attributes"]["BEL"] for cell in module["cells"].values() if "BEL" in cell["attributes"]]
    assert len(set(sites)) == len(sites) == count
    assert "BEL" not in module["cells"]["other"]["attributes"]
    for name, cell in module["cells"].items():
        if "BEL" in cell["attributes"]:
            column, row, bel = place(module, name)
            offset = (column - (4 if column < 66 else 69)) % 9
            kind, number = bel.rstrip("0123456789_"), int(bel.rstrip("_")[-1])
            if cell["type"] == "MULT18X18D":
                assert (kind, number, row in (10, 34, 58)) == ("MULT", offset, True)
            else:
                assert (kind, 2 * number, row in (22, 46, 70, 82)) == ("EBR", offset, True)


def test_memories_lie_near_their_elements(config):
    module = netlist(32)
    floorplan(module, config)
    for lane in range(LANES):
        for low in (0, 4):
            for block in range(3):
                column, _, _ = place(module, f"system.core.key_buffer.bank_{lane}_{low}.0.{block}")
                wanted, _, _ = place(module, f"qk.array_0_{int((block + 0.5) / 3 * 32)}")
                assert abs(column - wanted) <= 9


def test_few_multipliers_take_one_row(config):
    module = netlist(4)
    floorplan(module, config)
    assert {place(module, f"pv_{lane}_{element}")[1] for lane in range(LANES) for element in range(4)} == {34}


def test_more_memories_than_half_the_chip_has_are_left_to_the_placer(config):
    module = netlist(32, blocks=32)
    assert floorplan(module, config) == 2 * 64


def test_a_netlist_without_the_arrays_is_refused(config):
    module = netlist(4)
    module["netnames"] = {name: net for name, net in module["netnames"].items() if ".pv." not in name}
    with pytest.raises(FloorplanError, match=r"must have multipliers with products called pv"):
        floorplan(module, config)


def engines(parts):
    """Memories of quick-selects: (name of the engine, blocks of a word)."""
    return {
        f"system.core.{engine}.{part}.memory.0.{block}": {"type": "DP16KD", "attributes": {}, "connections": {}}
        for engine, blocks in parts
        for part in ("greater", "less", "middle")
        for block in range(blocks)
    }


@pytest.mark.parametrize("numbers", [False, True])
def test_memories_of_quick_selects_lie_side_by_side(config, numbers):
    module = netlist(32)
    memories = engines([("pruner.finder.engine0", 3), ("pruner.finder.engine1", 3), ("select.engine", 4)])
    if numbers:  # of modules that are called as a port
        numbered = {part: f"{part}${160 + at}" for at, part in enumerate(("greater", "middle", "less"))}
        memories = {
            re.sub("greater|middle|less", lambda m: numbered[m[0]], name): cell for name, cell in memories.items()
        }
    module["cells"] |= memories
    assert floorplan(module, config) == 2 * (64 + 12) + 30
    columns = {name: place(module, name)[0] for name in memories}
    assert {place(module, name)[1] for name in memories} == {82}
    for engine, blocks, left in (("pruner.finder.engine1", 3, True), ("select.engine", 4, False)):
        for block in range(blocks):
            same = [
                column
                for name, column in columns.items()
                if name.startswith(f"system.core.{engine}.") and name.endswith(f".memory.0.{block}")
            ]
            assert len(same) == 3
            assert max(same) - min(same) <= 5
            assert all((column < 66) == left for column in same)


def test_memories_of_quick_selects_with_unknown_names_are_refused(config):
    module = netlist(32)
    module["cells"] |= engines([("pruner.finder.engine0", 3)])
    module["cells"]["core.select.engine.part_3.memory.0.0"] = {"type": "DP16KD", "attributes": {}, "connections": {}}
    with pytest.raises(FloorplanError, match=r"and core\.select\.engine\.part_3\.memory\.0\.0 is not"):
        floorplan(module, config)


def test_memories_of_quick_selects_are_left_to_the_placer_if_the_row_is_too_short(config):
    module = netlist(32)
    module["cells"] |= engines([(f"pruner.finder.engine{index}", 10) for index in range(2)])
    assert floorplan(module, config) == 2 * (64 + 12)


@pytest.mark.parametrize("count, placed", [(6, 6), (7, 0)])
def test_few_other_memories_get_places(config, count, placed):
    module = netlist(32)
    others = {f"other_{k}": {"type": "DP16KD", "attributes": {}, "connections": {}} for k in range(count)}
    module["cells"] |= others
    assert floorplan(module, config) == 2 * (64 + 12) + placed
    sites = [cell["attributes"]["BEL"] for cell in module["cells"].values() if "BEL" in cell["attributes"]]
    assert len(set(sites)) == len(sites) == 2 * (64 + 12) + placed
    assert sum("BEL" in cell["attributes"] for cell in others.values()) == placed


def names(text):
    """Names of wires and memories in RTLIL, with their places in the hierarchy, which begins with ``top``."""
    inside, cells = {}, {}
    for line in map(str.strip, text.splitlines()):
        if found := re.match(r"module \\(\S+)", line):
            module = found[1]
            inside[module], cells[module] = [], []
        elif found := re.match(r"cell \\(\S+) \\(\S+)", line):
            cells[module].append((found[1], found[2]))
        elif found := re.match(r"(?:wire|memory) .*\\(\S+)$", line):
            inside[module].append(found[1])

    def walk(module, path):
        yield from (f"{path}{name}" for name in inside[module])
        for kind, instance in cells[module]:
            if kind in inside:
                yield from walk(kind, f"{path}{instance}.")

    return set(walk("top", ""))


def test_the_names_are_those_of_the_rtl():
    found = names(rtlil.convert(SpAtten(Config.load(str(Path(__file__).parents[2] / "bench" / "small.json")))))
    of_yosys = r"\.\d+\.(\d+)"  # which block RAM of a memory
    products, memories = zip(*plan._ARRAYS.values(), strict=True)
    for pattern in (*products, *memories, *plan._ENGINES.values()):
        assert any(re.search(rf"(?:^|\.){pattern.removesuffix(of_yosys)}$", name) for name in found), pattern
