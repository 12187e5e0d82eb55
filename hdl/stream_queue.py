"""Queue of a stream: cuts ready chains, and holds what waits for a slower neighbour."""

from __future__ import annotations

from amaranth.hdl import Module, Shape, ShapeLike, Value
from amaranth.lib import stream, wiring
from amaranth.lib.fifo import SyncFIFOBuffered
from amaranth.lib.wiring import In, Out

from hdl.layouts import bits_for_count

__all__ = ["StreamQueue"]


class StreamQueue(wiring.Component):
    """First-in first-out queue; at least 3 items deep, both sides registered, one item a cycle.

    Memory becomes block RAM where it is deep. Latency 2.

    Members
    -------
    i : In(stream.Signature(shape))
    o : Out(stream.Signature(shape))
    level : Out(n)    items inside, 0…depth
    """

    def __init__(self, shape: ShapeLike, *, depth: int):
        if depth < 3:
            raise ValueError(f"depth must be at least 3, not {depth!r}")
        self.depth = depth
        self.shape = shape
        super().__init__(
            {
                "i": In(stream.Signature(shape)),
                "o": Out(stream.Signature(shape)),
                "level": Out(bits_for_count(depth)),
            }
        )

    def elaborate(self, platform):
        m = Module()
        m.submodules.fifo = fifo = SyncFIFOBuffered(width=Shape.cast(self.shape).width, depth=self.depth)
        m.d.comb += [
            fifo.w_data.eq(Value.cast(self.i.payload)),
            fifo.w_en.eq(self.i.valid),
            self.i.ready.eq(fifo.w_rdy),
            Value.cast(self.o.payload).eq(fifo.r_data),
            self.o.valid.eq(fifo.r_rdy),
            fifo.r_en.eq(self.o.ready),
            self.level.eq(fifo.level),
        ]
        return m
