"""Data of bursts that are written, and the responses to them."""

from __future__ import annotations

from amaranth.hdl import Module, Mux, Signal
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

from hdl.axi.axi4 import BEATS_WIDTH, OKAY
from hdl.axi.read_answers import read_burst
from hdl.stream.stream_queue import StreamQueue

__all__ = ["WriteAnswers", "WriteBeats", "write_beat"]


def write_beat(data_width: int) -> data.StructLayout:
    """A word to write."""
    return data.StructLayout({"data": data_width, "strobes": data_width // 8})  # a bit for each byte to write


class WriteBeats(wiring.Component):
    """Holds words until their burst is known, and gives them to the W channel with WLAST; at most ``depth``.

    Latency 2 from ``burst``, one word a cycle. The words of a burst are here before it.

    Members
    -------
    i : In(stream.Signature(write_beat))
    burst : In(stream.Signature(read_burst, always_ready=True))    a burst of the oldest words without one
    discard : In(1)     forget the words without a burst
    o : Out(stream.Signature(write_beat))    the W channel
    last : Out(1)       the word on offer is the last one of its burst,
    ended : Out(read_burst)    which is this one
    alone : Out(1)      no other burst is here
    busy : Out(1)       words are here
    """

    def __init__(self, *, data_width: int, word_width: int, depth: int, bursts: int):
        self.depth, self.bursts = depth, bursts
        super().__init__(
            {
                "i": In(stream.Signature(write_beat(data_width))),
                "burst": In(stream.Signature(read_burst(word_width), always_ready=True)),
                "discard": In(1),
                "o": Out(stream.Signature(write_beat(data_width))),
                "last": Out(1),
                "ended": Out(read_burst(word_width)),
                "alone": Out(1),
                "busy": Out(1),
            }
        )

    def elaborate(self, platform):
        m = Module()
        m.submodules.words = words = StreamQueue(self.i.payload.shape(), depth=self.depth)
        m.submodules.bursts = bursts = StreamQueue(self.burst.payload.shape(), depth=max(3, self.bursts))
        index, unknown = Signal(BEATS_WIDTH), Signal()
        m.d.comb += [
            words.i.valid.eq(self.i.valid),
            words.i.payload.eq(self.i.payload),
            self.i.ready.eq(words.i.ready),
            bursts.i.valid.eq(self.burst.valid),
            bursts.i.payload.eq(self.burst.payload),
            unknown.eq((bursts.level == 0) & ~self.burst.valid),
            self.alone.eq((bursts.level == 1) & ~self.burst.valid),
            self.busy.eq((words.level != 0) | ~unknown),
            self.o.valid.eq(words.o.valid & bursts.o.valid),
            self.o.payload.eq(words.o.payload),
            self.last.eq(index == bursts.o.payload.beats),
            self.ended.eq(bursts.o.payload),
            words.o.ready.eq(Mux(unknown, self.discard, self.o.ready & bursts.o.valid)),
            bursts.o.ready.eq(words.o.valid & self.o.ready & self.last),
        ]
        with m.If(self.o.valid & self.o.ready):
            m.d.sync += index.eq(Mux(self.last, 0, index + 1))
        return m


class WriteAnswers(wiring.Component):
    """Takes every response at once, and tells what it is. Latency 1.

    Members
    -------
    burst : In(stream.Signature(read_burst, always_ready=True))    the bus has all of it; at most ``depth``
    answer : In(stream.Signature(2, always_ready=True))    BRESP, from the cycle after its burst on
    busy : Out(1)       a burst has no response, or a response is not looked at
    seen : Out(1)       a response is looked at,
    ended : Out(1)      that of a burst,
    response : Out(1)   with an error
    surplus : Out(1)    of none
    known : Out(1)      a burst has no response; from the second cycle after ``burst`` on
    oldest : Out(read_burst)    it, if ``known``
    """

    def __init__(self, *, word_width: int, depth: int):
        self.depth = depth
        shape = read_burst(word_width)
        super().__init__(
            {
                "burst": In(stream.Signature(shape, always_ready=True)),
                "answer": In(stream.Signature(2, always_ready=True)),
                **dict.fromkeys(("busy", "seen", "ended", "response", "surplus", "known"), Out(1)),
                "oldest": Out(shape),
            }
        )

    def elaborate(self, platform):
        m = Module()
        m.submodules.bursts = bursts = StreamQueue(self.oldest.shape(), depth=max(3, self.depth))
        resp = Signal(2, reset_less=True)
        m.d.sync += [self.seen.eq(self.answer.valid), resp.eq(self.answer.payload)]
        m.d.comb += [
            bursts.i.valid.eq(self.burst.valid),
            bursts.i.payload.eq(self.burst.payload),
            bursts.o.ready.eq(self.seen),
            self.known.eq(bursts.o.valid),
            self.oldest.eq(bursts.o.payload),
            self.busy.eq((bursts.level != 0) | self.seen),
            self.ended.eq(self.seen & self.known),
            self.response.eq(self.ended & (resp != OKAY)),
            self.surplus.eq(self.seen & ~self.known),
        ]
        return m
