"""Equal modules are one, others stay: blocks of Amaranth in a parent that has two of them."""

import re

import pytest
from amaranth.hdl import Const, Module, Signal
from amaranth.lib import wiring
from amaranth.lib.memory import Memory
from amaranth.lib.wiring import In, Out

from hdl.emit.merge import merge_equal
from hdl.emit.rtlil import parse, render
from hdl.spec.config import PRESETS
from hdl.verilog import to_verilog


class Counter(wiring.Component):
    """Counts by ``step``. name, inner: names of its register and of its memory; init: contents of the memory."""

    def __init__(self, *, step=3, start=0, name="count", inner="memory", init=(1, 2), reverse=False):
        self._options = step, start, name, inner, init, reverse
        super().__init__({"i": In(4), "o": Out(4), "row": Out(4)})

    def elaborate(self, platform):
        step, start, name, inner, init, reverse = self._options
        m = Module()
        count = Signal(4, name=name, init=start)
        m.submodules[inner] = memory = Memory(shape=4, depth=4, init=init)
        read = memory.read_port()
        m.d.sync += count.eq(count - step if reverse else count + step)
        m.d.comb += [self.o.eq(count ^ self.i), read.addr.eq(self.i), self.row.eq(read.data)]
        return m


class Two(wiring.Component):
    def __init__(self, first, second):
        self._parts = first, second
        super().__init__({"i": In(4), "o": Out(16)})

    def elaborate(self, platform):
        m = Module()
        m.submodules.first, m.submodules.second = first, second = self._parts
        m.d.comb += [
            first.i.eq(self.i),
            second.i.eq(first.o),
            self.o.eq(first.o | (second.o << 4) | (first.row << 8) | (second.row << 12)),
        ]
        return m


class Wrapper(wiring.Component):
    """A level of hierarchy around a block."""

    def __init__(self, block, name):
        self._block, self._name = block, name
        super().__init__({"i": In(4), "o": Out(4), "row": Out(4)})

    def elaborate(self, platform):
        m = Module()
        m.submodules[self._name] = block = self._block
        m.d.comb += [block.i.eq(self.i), self.o.eq(block.o), self.row.eq(block.row)]
        return m


def modules(*parts) -> list[str]:
    return re.findall(r"^module (\S+?) ?\(", to_verilog(PRESETS["tiny"], top=Two(*parts)), re.MULTILINE)


def test_equal_modules_stand_once():
    text = to_verilog(PRESETS["tiny"], top=Two(Counter(), Counter()))
    assert re.findall(r"^module (\w+)", text, re.MULTILINE) == ["spatten", "spatten_test_merge"]
    assert re.findall(r"^  spatten_test_merge (\w+) ", text, re.MULTILINE) == ["first", "second"]
    assert "// test_merge: 2 instances, the first of them spatten.first\n" in text


def test_names_do_not_count():
    assert len(modules(Counter(), Counter(name="other", inner="store"))) == 2


def test_merging_goes_up():
    names = modules(Wrapper(Counter(), "left"), Wrapper(Counter(name="other"), "right"))
    assert names == ["spatten", "spatten_test_merge", "spatten_test_merge_2"]


@pytest.mark.parametrize(
    "options",
    [{"step": 5}, {"start": 1}, {"init": (1, 3)}, {"init": (1,)}, {"reverse": True}],
    ids=lambda options: next(iter(options)),
)
def test_what_differs_stays(options):
    assert len(modules(Counter(), Counter(**options))) == 3
    assert len(modules(Wrapper(Counter(), "block"), Wrapper(Counter(**options), "block"))) == 5


def test_instances_use_the_ports_of_the_module_that_stays():
    """The parent names the ports: signals of other names are connected, and one of the modules has a constant input."""

    class Parent(wiring.Component):
        i: In(8)
        o: Out(8)

        def elaborate(self, platform):
            m = Module()
            left, right = Signal(4), Signal(4)
            m.submodules.first, m.submodules.second = first, second = Counter(), Counter()
            m.submodules.third = third = Counter()
            m.d.comb += [
                left.eq(self.i[:4] + 1), right.eq(self.i[4:]), first.i.eq(left), second.i.eq(right),
                third.i.eq(Const(5, 4)), self.o.eq(first.o + second.row + third.o),
            ]  # fmt: skip
            return m

    text = to_verilog(PRESETS["tiny"], top=Parent())
    headers = dict(re.findall(r"^module (\w+)\(([^)]*)\);", text, re.MULTILINE))
    instances = re.findall(r"^  (\w+) (first|second|third)  ?\(\n(.*?)\n  \);", text, re.MULTILINE | re.DOTALL)
    assert len(instances) == 3
    for module, _, body in instances:
        ports = {port.strip() for port in headers[module].replace("\n", " ").split(",")}
        assert set(re.findall(r"\.(\w+)\(", body)) == ports


PARENT = """
module \\top
  wire width 4 \\a
  wire width 4 \\b
  cell \\top.first \\first
    connect \\x \\a [3:0]
    connect \\y \\b
  end
  cell \\top.second \\second
    connect \\port$7 \\a
    connect \\z \\b [3:0]
  end
end
"""
FIRST = """
module \\top.first
  wire width 4 input 0  \\x
  attribute \\init 4'0001
  wire width 4 output 1  \\y
  cell $neg $1
    parameter \\A_SIGNED 0
    connect \\A \\x [3:0]
    connect \\Y \\y
  end
end
"""
SECOND = """
module \\top.second
  attribute \\init 4'0001
  wire width 4 output 0  \\port$7
  wire width 4 input 1  \\z
  cell $neg $9
    parameter \\A_SIGNED 0
    connect \\A \\z [3:0]
    connect \\Y \\port$7
  end
end
"""


def test_ports_are_told_by_their_use():
    modules = merge_equal(parse(PARENT + FIRST + SECOND))
    assert [module.name for module in modules] == ["\\top", "\\top.first"]
    assert [module.copies for module in modules] == [1, 2]
    second = render(modules).partition("cell \\top.first \\second\n")[2].partition("end")[0]
    assert sorted(second.splitlines()) == ["connect \\x \\b [3:0]", "connect \\y \\a"]


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("A_SIGNED 0", "A_SIGNED 1"),
        ("init 4'0001", "init 4'0011"),
        ("$neg", "$not"),
        ("wire width 4 input 1 ", "wire width 4 input 1  signed"),
        ("wire width 4 input 1", "wire width 5 input 1"),
        ("[3:0]", "[0]"),
        ("module", "attribute \\keep_hierarchy 1\nmodule"),
    ],
)
def test_every_part_of_a_module_counts(old, new):
    assert old in SECOND
    assert len(merge_equal(parse(PARENT + FIRST + SECOND.replace(old, new)))) == 3
