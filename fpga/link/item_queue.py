"""Queue of two wide items, made of flip-flops only."""

from __future__ import annotations

from amaranth.hdl import Module, ShapeLike, Signal
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out

__all__ = ["ItemQueue"]


class ItemQueue(wiring.Component):
    """Two registers in a row: no multiplexer before either, which is what wide and rare items want.

    Latency 2, an item every second cycle. All outputs but ``i.ready``, an inverted flip-flop, are flip-flops.

    Members
    -------
    i : In(stream.Signature(shape))
    o : Out(stream.Signature(shape))
    """

    LATENCY = 2
    DEPTH = 2

    def __init__(self, shape: ShapeLike):
        self.shape = shape
        super().__init__({"i": In(stream.Signature(shape)), "o": Out(stream.Signature(shape))})

    def elaborate(self, platform):
        m = Module()
        full, back = Signal(), Signal(self.shape, reset_less=True)
        front = Signal(self.shape, reset_less=True)
        m.d.comb += [self.i.ready.eq(~full), self.o.payload.eq(front)]
        with m.If(~full):
            m.d.sync += [full.eq(self.i.valid), back.eq(self.i.payload)]
        with m.If(~self.o.valid | self.o.ready):
            m.d.sync += [self.o.valid.eq(full), front.eq(back)]
            with m.If(full):
                m.d.sync += full.eq(0)
        return m
