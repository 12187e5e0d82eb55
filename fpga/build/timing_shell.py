"""A component between registers and with three pins, so that place and route can time it alone."""

from __future__ import annotations

from typing import Any

from amaranth.hdl import Cat, Module, Signal
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from hdl.verilog import port_map

__all__ = ["TimingShell"]


class TimingShell(wiring.Component):
    """Inputs of ``core`` come from a shift register, its outputs go to registers that are folded to one bit.

    Every path from or to a port of the core then begins or ends in a flip-flop, as in a larger design whose blocks
    register their ports, and nothing is optimized away. The fold has a register after every four inputs, so that it is
    never the slowest path.

    Members
    -------
    i : In(1)     bits for the shift register
    o : Out(1)    parity of all outputs, some cycles ago
    """

    FOLD = 4

    def __init__(self, core: Any):
        self.core = core
        super().__init__({"i": In(1), "o": Out(1)})

    def elaborate(self, platform):
        m = Module()
        m.submodules.core = self.core
        ports = port_map(self.core).values()
        inputs = Cat(value for value, direction in ports if direction == "i")
        outputs = Cat(value for value, direction in ports if direction == "o")
        chain = Signal(len(inputs), reset_less=True)
        m.d.sync += chain.eq(Cat(self.i, chain))
        m.d.comb += inputs.eq(chain)
        level = Signal(len(outputs), reset_less=True, name="outputs")
        m.d.sync += level.eq(outputs)
        while len(level) > 1:
            groups = [level[start : start + self.FOLD].xor() for start in range(0, len(level), self.FOLD)]
            level = Signal(len(groups), reset_less=True, name="fold")
            m.d.sync += level.eq(Cat(groups))
        m.d.comb += self.o.eq(level)
        return m
