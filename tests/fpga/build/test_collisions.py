import pytest
from amaranth.hdl import Module
from amaranth.lib import wiring
from amaranth.lib.memory import Memory
from amaranth.lib.wiring import In, Out

from fpga.build.collisions import random_collisions
from hdl.spec.config import PRESETS
from hdl.verilog import to_verilog


class Store(wiring.Component):
    def __init__(self, width, *, writable=True, granularity=None):
        self.width, self.writable, self.granularity = width, writable, granularity
        super().__init__({"i": In(width), "to": In(4), "at": In(4), "en": In(8), "o": Out(width)})

    def elaborate(self, platform):
        m = Module()
        m.submodules.memory = memory = Memory(shape=self.width, depth=16, init=[1])
        read = memory.read_port()
        m.d.comb += [read.addr.eq(self.at), self.o.eq(read.data)]
        if self.writable:
            write = memory.write_port(granularity=self.granularity)
            m.d.comb += [write.addr.eq(self.to), write.data.eq(self.i), write.en.eq(self.en)]
        return m


def text(*args, **options):
    return to_verilog(PRESETS["tiny"], top=Store(*args, **options))


@pytest.mark.parametrize(("width", "words"), [(1, 1), (32, 1), (33, 2)])
def test_reads_that_meet_a_write(width, words):
    noise = "{" + ", ".join(["$urandom"] * words) + "}"
    assert random_collisions(text(width)).count(f"(to) == (at)) ? {noise} : memory[at];") == 1


def test_writes_of_parts():
    assert random_collisions(text(16, granularity=8)).count("== (at)") == 2


def test_what_does_not_meet_a_write():
    rom = text(8, writable=False)
    assert random_collisions(rom) == rom
