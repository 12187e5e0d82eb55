"""Which flip-flops move into a multiplier. That what moved behaves the same, tests/fpga/test_netlist.py shows."""

import copy
import itertools

import pytest

from fpga.register_packing import pack_registers, tie_high

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


def step(cell, number, values, carry):
    """Sum and carry of one step of a CCU2C (ccu2c_sim.vh of Yosys)."""
    table = [int(bit) for bit in reversed(cell["parameters"][f"INIT{number}"])]
    bits = {}
    for letter in "ABCD":
        (given,) = cell["connections"][f"{letter}{number}"]
        bits[letter] = int(given) if isinstance(given, str) else values[letter]
    propagate = table[8 * bits["D"] + 4 * bits["C"] + 2 * bits["B"] + bits["A"]]
    return propagate ^ carry, carry if propagate else table[2 * bits["B"] + bits["A"]]


@pytest.mark.parametrize("constant", ["", "A", "B", "C", "AC", "ABC"])
@pytest.mark.parametrize("table", ["1001011010101010", "0110011010011001", "1111000010100101"])
def test_carry_inputs_that_are_0_become_1(constant, table):
    pins = {f"{letter}{n}": ["0" if letter in constant else 10 + 4 * n + i]
            for n in (0, 1) for i, letter in enumerate("ABCD")}  # fmt: skip
    cell = {"type": "CCU2C", "parameters": {"INIT0": table, "INIT1": table[::-1]}, "connections": pins}
    before = copy.deepcopy(cell)
    assert tie_high({"cells": {"carry": cell}}) == 2 * len(constant)
    assert ["0"] not in cell["connections"].values()
    for number in (0, 1):
        for bits in itertools.product((0, 1), repeat=5):
            values = dict(zip("ABCD", bits, strict=False))
            assert step(cell, number, values, bits[4]) == step(before, number, values, bits[4])
