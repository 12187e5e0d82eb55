"""One stream to several consumers, each of which takes every item once."""

from __future__ import annotations

from amaranth.hdl import Cat, Module, ShapeLike, Signal
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out

__all__ = ["StreamFork"]


class StreamFork(wiring.Component):
    """Hands every item of ``i`` to each of ``num_outputs`` streams; an item leaves when all have it. Latency 0.

    Members
    -------
    i : In(stream.Signature(shape))
    o : Out(stream.Signature(shape)).array(num_outputs)
    """

    def __init__(self, shape: ShapeLike, *, num_outputs: int):
        if num_outputs < 2:
            raise ValueError(f"num_outputs must be at least 2, not {num_outputs!r}")
        self.num_outputs = num_outputs
        super().__init__(
            {
                "i": In(stream.Signature(shape)),
                "o": Out(stream.Signature(shape)).array(num_outputs),
            }
        )

    def elaborate(self, platform):
        m = Module()
        taken = Signal(self.num_outputs)  # by those that were faster than the others
        takes = Cat(output.ready for output in self.o) | taken
        m.d.comb += self.i.ready.eq(takes.all())
        for index, output in enumerate(self.o):
            m.d.comb += [output.payload.eq(self.i.payload), output.valid.eq(self.i.valid & ~taken[index])]
        with m.If(self.i.valid):
            m.d.sync += taken.eq(takes & ~self.i.ready.replicate(self.num_outputs))
        return m
