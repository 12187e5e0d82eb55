"""Words on their way from a memory to the core."""

from __future__ import annotations

from amaranth.hdl import Module, Mux, Signal
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out, connect, flipped

from hdl.control.counters import COUNTER_WIDTH
from hdl.stream.stream_queue import StreamQueue

__all__ = ["ReadQueue"]


class ReadQueue(wiring.Component):
    """Holds read words until the core takes them; there is room for every word that was asked for.

    A request may be accepted while ``room`` is high; the memory, which cannot be stopped, then always finds a place.

    Members
    -------
    requested : In(1)    a request was accepted
    word_valid : In(1)   ``word`` is the answer of the oldest request without one
    word : In(width)
    room : Out(1)        a request may be accepted
    idle : Out(1)        no request is without its word taken
    o : Out(stream.Signature(width))
    clear : In(1)        ``count`` begins anew
    count : Out(48)      words taken
    """

    def __init__(self, width: int, *, depth: int):
        self.depth = depth
        super().__init__(
            {
                "requested": In(1),
                "word_valid": In(1),
                "word": In(width),
                "room": Out(1, init=1),
                "idle": Out(1, init=1),
                "o": Out(stream.Signature(width)),
                "clear": In(1),
                "count": Out(COUNTER_WIDTH),
            }
        )

    def elaborate(self, platform):
        m = Module()
        m.submodules.queue = queue = StreamQueue(len(self.word), depth=self.depth)
        connect(m, queue.o, flipped(self.o))
        m.d.comb += [queue.i.valid.eq(self.word_valid), queue.i.payload.eq(self.word)]
        open_requests = Signal(range(self.depth + 1))
        taken, taken_before = Signal(), Signal()
        m.d.comb += taken.eq(self.o.valid & self.o.ready)
        with m.If(self.requested ^ taken):
            m.d.sync += open_requests.eq(open_requests + Mux(self.requested, 1, -1))
        m.d.sync += [
            # As of the new number; the core's ready shall not go through an adder.
            self.room.eq(taken | (self.room & ~(self.requested & (open_requests == self.depth - 1)))),
            self.idle.eq(~self.requested & (self.idle | (taken & (open_requests == 1)))),
            taken_before.eq(taken),
            self.count.eq(self.count + taken_before),
        ]
        with m.If(self.clear):
            m.d.sync += self.count.eq(0)
        return m
