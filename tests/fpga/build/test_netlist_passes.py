"""What the passes change in a netlist; that what was changed behaves the same, test_netlist.py shows."""

import copy
from random import Random

import pytest

from fpga.build.netlist_passes import align_operands, pack_registers, share_addresses

PLAIN = {"CEMUX": "CE", "CLKMUX": "CLK", "GSR": "DISABLED", "LSRMUX": "LSR", "REGSET": "RESET"}
CLOCK, LOAD, NEXT = 2, 3, 4
D, Q = 100, 200  # of the operands, from 0 the bits of A, from 18 those of B
PRODUCT, OUT = 300, 400
BITS = 4


def flop(d, q, enable):
    return {
        "type": "TRELLIS_FF",
        "parameters": dict(PLAIN),
        "port_directions": {"CLK": "input", "CE": "input", "DI": "input", "LSR": "input", "Q": "output"},
        "connections": {"CLK": [CLOCK], "CE": [enable], "DI": [d], "LSR": ["0"], "Q": [q]},
    }


def multiplier():
    """Four bits of each operand, the upper ones the sign of A and 0 of B; eight bits of the product are used."""
    connections = {"SIGNEDA": ["1"], "SIGNEDB": ["0"]}
    for index in range(18):
        connections[f"A{index}"] = [Q + min(index, BITS - 1)]
        connections[f"B{index}"] = [Q + 18 + index if index < BITS else "0"]
    connections |= {f"P{index}": [PRODUCT + index] for index in range(36)}
    directions = {name: "output" if name[0] == "P" else "input" for name in connections}
    return {"type": "MULT18X18D", "parameters": {}, "port_directions": directions, "connections": connections}


def module():
    cells = {"mult": multiplier()}
    for index in range(BITS):
        for operand in (index, 18 + index):
            cells[f"in_{operand}"] = flop(D + operand, Q + operand, LOAD)
    for index in range(2 * BITS):
        cells[f"out_{index}"] = flop(PRODUCT + index, OUT + index, NEXT)
    ports = {"o": {"direction": "output", "bits": [OUT + index for index in range(2 * BITS)]}}
    return {"ports": ports, "cells": cells}


def test_all_registers_move():
    netlist = module()
    assert pack_registers(netlist) == 4 * BITS
    assert list(netlist["cells"]) == ["mult"]
    mult = netlist["cells"]["mult"]
    assert [mult["connections"][f"A{index}"][0] for index in range(6)] == [D, D + 1, D + 2, D + 3, D + 3, D + 3]
    assert [mult["connections"][f"B{index}"][0] for index in range(5)] == [D + 18, D + 19, D + 20, D + 21, "0"]
    assert [mult["connections"][f"P{index}"][0] for index in (0, 7, 8)] == [OUT, OUT + 7, PRODUCT + 8]
    assert {pin: mult["connections"][pin] for pin in ("CLK0", "CE0", "CE1", "RST0")} == {
        "CLK0": [CLOCK], "CE0": [LOAD], "CE1": [NEXT], "RST0": ["0"]
    }  # fmt: skip
    assert mult["parameters"] == {
        "REG_INPUTA_CLK": "CLK0", "REG_INPUTA_CE": "CE0", "REG_INPUTB_CLK": "CLK0", "REG_INPUTB_CE": "CE0",
        "REG_OUTPUT_CLK": "CLK0", "REG_OUTPUT_CE": "CE1",
    }  # fmt: skip


def test_without_enable():
    netlist = module()
    for name, cell in netlist["cells"].items():
        if name.startswith("in_"):
            cell["parameters"]["CEMUX"] = "1 "
            del cell["connections"]["CE"]
    assert pack_registers(netlist) == 4 * BITS
    assert netlist["cells"]["mult"]["connections"]["CE0"] == ["1"]


def test_operand_shared_by_two_multipliers():
    """A flip-flop moves into both; if it cannot move into one of them, it stays, and so does all else."""
    netlist = module()
    other = multiplier()
    other["connections"] |= {f"B{index}": [Q + 40 + index] if index < BITS else ["0"] for index in range(18)}
    other["connections"] |= {f"P{index}": [500 + index] for index in range(36)}
    netlist["cells"]["other"] = other
    for index in range(BITS):
        netlist["cells"][f"own_{index}"] = flop(D + 40 + index, Q + 40 + index, LOAD)
    alone = copy.deepcopy(netlist)
    assert pack_registers(alone) == 0, "the product of the other has no registers"
    for index in range(2 * BITS):
        netlist["cells"][f"more_{index}"] = flop(500 + index, 600 + index, NEXT)
    assert pack_registers(netlist) == 4 * BITS + 3 * BITS
    assert [cell["type"] for cell in netlist["cells"].values()] == ["MULT18X18D"] * 2


def reset(netlist):
    netlist["cells"]["in_1"]["connections"]["LSR"] = [9]


def other_enable(netlist):
    netlist["cells"]["in_1"]["connections"]["CE"] = [9]


def inverted_enable(netlist):
    netlist["cells"]["out_0"]["parameters"]["CEMUX"] = "INV"


def other_clock(netlist):
    for index in range(2 * BITS):
        netlist["cells"][f"out_{index}"]["connections"]["CLK"] = [9]


def operand_goes_elsewhere(netlist):
    netlist["cells"]["spy"] = flop(Q + 2, 9, LOAD)


def operand_is_an_output(netlist):
    netlist["ports"]["o"]["bits"].append(Q + 2)


def product_goes_elsewhere(netlist):
    netlist["cells"]["spy"] = flop(PRODUCT + 2, 9, NEXT)


def product_is_an_enable(netlist):
    netlist["cells"]["out_2"]["connections"]["DI"] = [9]
    netlist["cells"]["out_2"]["connections"]["CE"] = [PRODUCT + 2]


def operand_without_register(netlist):
    del netlist["cells"]["in_18"]


def constant_one(netlist):
    netlist["cells"]["mult"]["connections"]["B5"] = ["1"]


def given_mode(netlist):
    netlist["cells"]["mult"]["parameters"]["MULT_BYPASS"] = "ENABLED"


@pytest.mark.parametrize(
    "change",
    [reset, other_enable, inverted_enable, other_clock, operand_goes_elsewhere, operand_is_an_output,
     product_goes_elsewhere, product_is_an_enable, operand_without_register, constant_one, given_mode],
    ids=lambda change: change.__name__,
)  # fmt: skip
def test_registers_that_stay(change):
    netlist = module()
    change(netlist)
    before = copy.deepcopy(netlist)
    assert pack_registers(netlist) == 0
    assert netlist == before


def lut_ram(constant):
    """Address bits are nets, but those of ``constant``; word n holds n."""
    address = ["0" if bit in constant else 10 + bit for bit in range(4)]
    used = [n for n in range(16) if not any(n >> bit & 1 for bit in constant)]
    words = [f"{n:04b}" if n in used else "xxxx" for n in range(16)]
    connections = {"RAD": list(address), "WAD": [bit if isinstance(bit, str) else bit + 10 for bit in address]}
    parameters = {"INITVAL": "".join(reversed(words))}
    return {"type": "TRELLIS_DPR16X4", "parameters": parameters, "connections": connections}, used


@pytest.mark.parametrize("constant", [(3,), (2, 3), (1, 2, 3), ()])
def test_constant_addresses_of_lut_rams_go(constant):
    cell, used = lut_ram(constant)
    assert share_addresses({"cells": {"ram": cell}}) == len(constant)
    for port, first in (("RAD", 10), ("WAD", 20)):
        assert cell["connections"][port] == [first if bit in constant else first + bit for bit in range(4)]
    init = cell["parameters"]["INITVAL"]
    assert len(init) == 64
    for n in used:
        place = sum(((n >> (bit - 10)) & 1) << index for index, bit in enumerate(cell["connections"]["RAD"]))
        assert init[60 - 4 * place : 64 - 4 * place] == f"{n:04b}"


def test_a_constant_of_one_port_stays():
    cell, _ = lut_ram((3,))
    cell["connections"]["WAD"][3] = 23
    before = copy.deepcopy(cell)
    assert share_addresses({"cells": {"ram": cell}}) == 0
    assert cell == before


def products(cell, values):
    """Bits of the product by net, of a MULT18X18D without registers."""
    factors = []
    for letter in "AB":
        bits = [cell["connections"][f"{letter}{index}"][0] for index in range(18)]
        number = sum((int(bit) if isinstance(bit, str) else values[bit]) << index for index, bit in enumerate(bits))
        signed = cell["connections"][f"SIGNED{letter}"] == ["1"]
        factors.append(number - (number >> 17 << 18) if signed else number)
    product = factors[0] * factors[1]
    pins = ((index, cell["connections"].get(f"P{index}", [])) for index in range(36))
    return {bits[0]: product >> index & 1 for index, bits in pins if bits}


def operand_nets(widths, signs):
    """Connections of a multiplier with operands of these widths, extended as Yosys does."""
    pins = {}
    for letter, first, width, sign in zip("AB", (0, 18), widths, signs, strict=True):
        pins[f"SIGNED{letter}"] = [sign]
        for index in range(18):
            inside = D + first + min(index, width - 1)
            pins[f"{letter}{index}"] = [inside if index < width or sign == "1" else "0"]
    pins |= {f"P{index}": [PRODUCT + index] for index in range(sum(widths))}
    return pins


@pytest.mark.parametrize("widths, signs, freed", [
    ((10, 10), "11", 16), ((17, 10), "11", 9), ((17, 10), "01", 8), ((10, 18), "11", 8), ((12, 12), "00", 0),
    ((1, 5), "11", 30),
])  # fmt: skip
def test_operands_move_to_the_upper_end(widths, signs, freed):
    pins = operand_nets(widths, signs)
    directions = {pin: "output" if pin[0] == "P" else "input" for pin in [*pins, *(f"P{n}" for n in range(36))]}
    cell = {"type": "MULT18X18D", "parameters": {}, "port_directions": directions, "connections": pins}
    before = copy.deepcopy(cell)
    ports = {"o": {"direction": "output", "bits": [PRODUCT + index for index in range(sum(widths))]}}
    assert align_operands({"ports": ports, "cells": {"mult": cell}}) == freed
    random = Random(1)
    for _ in range(50):
        values = {D + index: random.getrandbits(1) for index in range(36)}
        assert products(cell, values) == products(before, values)


def test_a_product_that_is_used_beyond_its_width_stays():
    pins = operand_nets((10, 10), "11") | {f"P{index}": [PRODUCT + index] for index in range(36)}
    directions = {pin: "output" if pin[0] == "P" else "input" for pin in pins}
    cell = {"type": "MULT18X18D", "parameters": {}, "port_directions": directions, "connections": pins}
    before = copy.deepcopy(cell)
    ports = {"o": {"direction": "output", "bits": [PRODUCT + index for index in range(30)]}}
    assert align_operands({"ports": ports, "cells": {"mult": cell}}) == 0
    assert cell == before
