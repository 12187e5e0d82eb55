"""Mutants: what each does to a block, and that none does anything until it is chosen."""

from pathlib import Path

import pytest
from amaranth.sim import Simulator

from mutation import switches
from mutation.equivalent import EQUIVALENT, is_equivalent
from mutation.mutants import mutated
from mutation.targets import PARENTS, WITHOUT, own_tests, targets

TOY = '''
"""A block with a place for each kind of mutant."""
from __future__ import annotations
from amaranth.hdl import Module, Mux, Signal
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

WIDTH = 2 + 2


class Toy(wiring.Component):
    def __init__(self, width: int = WIDTH - 1):
        super().__init__({"a": In(4), "b": In(4), "c": In(1), "o": Out(4).array(20), "state": Out(1)})

    def elaborate(self, platform):
        m = Module()
        a, b, o = self.a, self.b, self.o
        m.d.comb += [
            o[0].eq(a + 1), o[1].eq(a - b), o[2].eq(a * b), o[3].eq(a & b), o[4].eq(a | b), o[5].eq(a ^ b),
            o[6].eq(a < 3), o[7].eq(a <= 3), o[8].eq(a > b), o[9].eq(a >= b), o[10].eq(a == 3), o[11].eq(a != b),
            o[12].eq(~a), o[13].eq(Mux(self.c, a, b)), o[14].eq(a.any()),
            o[15].eq(a - 1), o[16].eq(a > 3), o[17].eq(a >= 3), o[18].eq(a != 3),
        ]
        with m.If(self.c):
            m.d.sync += o[19].eq(a)
        with m.FSM():
            with m.State("FIRST"):
                with m.If(a.all()):
                    m.next = "SECOND"
            with m.State("SECOND"):
                m.d.comb += self.state.eq(1)
        return m
'''
INPUTS = [(a, b, c) for c in (1, 0) for a, b in ((3, 1), (0, 0), (12, 5), (3, 3), (4, 9), (2, 15), (15, 4), (6, 2))]


@pytest.fixture(scope="module")
def toy(tmp_path_factory):
    """The block with its mutants, and a function that gives its outputs with one of them, or with none."""
    path = tmp_path_factory.mktemp("toy") / "toy.py"
    path.write_text(TOY)
    before = dict(switches.SWITCHES)
    switches.SWITCHES.clear()
    tree, mutants = mutated(path)
    wrong, right = {"__name__": "toy"}, {"__name__": "toy"}
    exec(compile(tree, str(path), "exec"), wrong)
    exec(compile(TOY, str(path), "exec"), right)
    yield mutants, right["Toy"], wrong["Toy"]
    switches.SWITCHES.clear()
    switches.SWITCHES.update(before)


def outputs(block, number=None):
    found = []

    async def bench(ctx):
        for a, b, c in INPUTS:
            for port, value in ((block.a, a), (block.b, b), (block.c, c)):
                ctx.set(port, value)
            await ctx.tick()
            found.append([ctx.get(port) for port in (*block.o, block.state)])

    if number is not None:
        switches.SWITCHES[number]._init = 1
    simulator = Simulator(block)
    simulator.add_clock(1e-6)
    simulator.add_testbench(bench)
    simulator.run()
    if number is not None:
        switches.SWITCHES[number]._init = 0
    return found


def test_each_mutant_does_something_and_none_before_it_is_chosen(toy):
    mutants, right, wrong = toy
    expected = outputs(right())
    assert outputs(wrong()) == expected
    hardware = [mutant for mutant in mutants if mutant.number in switches.SWITCHES]
    same = {(mutant.right, mutant.wrong) for mutant in hardware if outputs(wrong(), mutant.number) == expected}
    assert not same
    kinds = {(mutant.right, mutant.wrong) for mutant in hardware}
    assert kinds == {(right, wrong) for right, wrongs in switches.ALTERNATIVES.items() for wrong in wrongs}


def test_what_python_computes_has_no_mutants(toy):
    mutants, _, wrong = toy
    outputs(wrong())
    computed = [mutant for mutant in mutants if mutant.text in ("2 + 2", "WIDTH - 1")]
    assert computed and not [mutant for mutant in computed if mutant.number in switches.SWITCHES]


def test_a_mutant_names_its_place(toy):
    mutants, *_ = toy
    (found,) = (mutant for mutant in mutants if mutant.right == "*")
    line = TOY.splitlines()[found.line - 1]
    assert line[found.column - 1 :].startswith("a * b") and found.text == "a * b" and found.wrong == "+"


def test_every_module_with_hardware_has_tests_that_must_notice():
    with_tests = {path for path, _ in targets()}
    for path in Path("hdl").rglob("*.py"):
        if path.relative_to("hdl").parts[0] not in WITHOUT and "def elaborate" in path.read_text(encoding="utf-8"):
            assert path in with_tests, f"{path} has no tests"
    for _, tests in targets():
        assert all(test.is_file() for test in tests)


def test_parents_stand_in_only_where_a_module_has_no_own_tests_its_own():
    for module in PARENTS:
        path = Path("hdl") / f"{module}.py"
        assert path.is_file()
        assert [str(test.relative_to("tests/hdl").with_suffix("")) for test in own_tests(path)] == [*PARENTS[module]]


def test_each_equivalent_mutant_is_one_of_its_module():
    for each in EQUIVALENT:
        _, mutants = mutated(Path(each.module))
        assert is_equivalent(each.module, next(m for m in mutants if (m.text, m.wrong) == (each.text, each.wrong)))
