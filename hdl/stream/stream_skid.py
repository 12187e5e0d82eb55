"""One spare register in front of a stage that may stall: cuts its ready chain, and costs no cycle."""

from __future__ import annotations

from amaranth.hdl import Module, ShapeLike, Signal, Value
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out

__all__ = ["StreamSkid"]


class StreamSkid(wiring.Component):
    """Passes items on in the same cycle; the one that comes as ``o`` stalls waits in a register.

    ``i.ready`` is a flip-flop. Latency 0, one item a cycle.

    Members
    -------
    i : In(stream.Signature(shape))
    o : Out(stream.Signature(shape))
    held : Out(shape)         the item in the register, if ``held_valid``
    held_valid : Out(1)
    """

    def __init__(self, shape: ShapeLike):
        self.shape = shape
        super().__init__(
            {
                "i": In(stream.Signature(shape)),
                "o": Out(stream.Signature(shape)),
                "held": Out(shape),
                "held_valid": Out(1),
            }
        )

    def elaborate(self, platform):
        m = Module()
        held, full = Signal(self.shape, reset_less=True), Signal()
        m.d.comb += [
            Value.cast(self.held).eq(Value.cast(held)),
            self.held_valid.eq(full),
            self.i.ready.eq(~full),
            self.o.valid.eq(full | self.i.valid),
            Value.cast(self.o.payload).eq(Value.cast(self.i.payload)),
        ]
        with m.If(full):
            m.d.comb += Value.cast(self.o.payload).eq(Value.cast(held))
        with m.Else():
            m.d.sync += Value.cast(held).eq(Value.cast(self.i.payload))
        m.d.sync += full.eq(self.o.valid & ~self.o.ready)
        return m
