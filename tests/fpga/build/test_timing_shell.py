"""TimingShell: every bit of the core's ports is behind a register and counts."""

import random
from typing import ClassVar

import pytest
from amaranth.hdl import Module, Signal
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out

from fpga.build.timing_shell import TimingShell
from hdl.verilog import port_map
from tests.bench.harness import made, simulate


class Core(wiring.Component):
    """Some ports of each direction; each output is a product of all inputs."""

    FACTORS: ClassVar = {"sum": 0x51E7, "valid": 3, "data": 0x1B2D3}

    def __init__(self, width):
        self.width = width
        super().__init__(
            {
                "i": In(stream.Signature(width, always_ready=True)),
                "start": In(1),
                "sum": Out(width),
                "o": Out(stream.Signature(2 * width)),
            }
        )

    def elaborate(self, platform):
        m = Module()
        inputs = Signal(self.width + 10)
        m.d.comb += inputs.eq(sum(value << 3 * n for n, (value, _) in enumerate(self.inputs())))
        for name, port in (("sum", self.sum), ("valid", self.o.valid), ("data", self.o.payload)):
            m.d.comb += port.eq(inputs * self.FACTORS[name])
        return m

    def inputs(self):
        return [(value, len(value)) for value, direction in port_map(self).values() if direction == "i"]

    def parity(self, bits):
        """Of all outputs, in software; ``bits`` of the inputs, the first port the lowest."""
        inputs = 0
        for n, (_, width) in enumerate(self.inputs()):
            inputs += (bits & ((1 << width) - 1)) << 3 * n
            bits >>= width
        inputs &= (1 << self.width + 10) - 1
        widths = {"sum": self.width, "valid": 1, "data": 2 * self.width}
        outputs = [inputs * factor & ((1 << widths[name]) - 1) for name, factor in self.FACTORS.items()]
        return sum(value.bit_count() for value in outputs) & 1


def delay_of(outputs):
    """Cycles from the outputs to the parity: their register, and one after each fold."""
    cycles = 1
    while outputs > 1:
        outputs, cycles = -(-outputs // TimingShell.FOLD), cycles + 1
    return cycles


def use_shell(dut, core, seed):
    """A bench of random bits; the parity of each cycle in which it is defined."""
    rng, log = random.Random(seed), []
    depth = sum(width for _, width in core.inputs())
    delay = delay_of(3 * core.width + 1)

    async def bench(ctx):
        chain, parities = [], []
        for _ in range(200):
            bit = rng.randrange(2)
            ctx.set(dut.i, bit)
            parity = core.parity(sum(value << n for n, value in enumerate(chain))) if len(chain) == depth else None
            parities.append(parity)
            expected = parities[-1 - delay] if len(parities) > delay else None
            _, _, o = await ctx.tick().sample(dut.o)
            if expected is not None:
                assert o == expected
                log.append(o)
            chain = [bit, *chain][:depth]

    return bench, log


@pytest.mark.parametrize("width", [2, 5, 9, 24])
def test_parity_of_all_outputs(width):
    """Of the inputs in the shift register, as many cycles ago as there are registers on the way."""
    dut = made(TimingShell, made(Core, width))
    bench, log = use_shell(dut, dut.core, width)
    simulate(dut, bench, cycles=300)
    assert {0, 1} == set(log)


def test_three_pins():
    """The clock, i and o."""
    assert list(port_map(TimingShell(Core(7)))) == ["i", "o"]
