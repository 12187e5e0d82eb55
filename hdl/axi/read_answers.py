"""Beats of the bus to the words that were asked for."""

from __future__ import annotations

from amaranth.hdl import Module, Mux, Signal
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

from hdl.axi.axi4 import BEATS_WIDTH, OKAY
from hdl.stream.stream_queue import StreamQueue

__all__ = ["ReadAnswers", "read_beat", "read_burst"]


def read_beat(data_width: int) -> data.StructLayout:
    """A beat of the R channel."""
    return data.StructLayout({"data": data_width, "resp": 2, "last": 1})


def read_burst(word_width: int) -> data.StructLayout:
    """A request that the bus has taken."""
    return data.StructLayout({"word": word_width, "beats": BEATS_WIDTH})  # its first word; words after it


class ReadAnswers(wiring.Component):
    """Takes every beat at once, and tells what it is: the word of a request, one to drop, or a fault.

    A beat belongs to the oldest burst that is not over; bursts are over by their number of beats. After a wrong RLAST
    nobody knows how many the bus will give (``lost``): then beats are dropped without count until ``give_up``.
    Latency 1. A beat that is no good (RRESP, RLAST) is given as 0.

    Members
    -------
    burst : In(stream.Signature(read_burst, always_ready=True))    taken by the bus in this cycle; at most ``depth``
    beat : In(stream.Signature(read_beat, always_ready=True))      from the cycle after its burst on
    drop : In(1)        no word is given
    give_up : In(1)     forget the bursts, one a cycle
    o : Out(stream.Signature(data_width, always_ready=True))    words
    ended : Out(1)      a burst is over, or forgotten
    lost : Out(1)       RLAST was wrong; until the last burst is forgotten
    busy : Out(1)       a burst is not over, or a beat not looked at, or nobody knows (``lost``)
    seen : Out(1)       a beat is looked at
    dropped : Out(1)    it is thrown away
    response, last, surplus : Out(1)    it is a fault: RRESP, RLAST, no burst
    known : Out(1)      a burst is not over; from the second cycle after ``burst`` on
    word : Out(word_width)    number of the word that comes next, if ``known``
    """

    LATENCY = 1

    def __init__(self, *, data_width: int, word_width: int, depth: int):
        self.depth = depth
        flags = ("ended", "lost", "busy", "seen", "dropped", "response", "last", "surplus", "known")
        super().__init__(
            {
                "burst": In(stream.Signature(read_burst(word_width), always_ready=True)),
                "beat": In(stream.Signature(read_beat(data_width), always_ready=True)),
                "drop": In(1),
                "give_up": In(1),
                "o": Out(stream.Signature(data_width, always_ready=True)),
                **dict.fromkeys(flags, Out(1)),
                "word": Out(word_width),
            }
        )

    def elaborate(self, platform):
        m = Module()
        m.submodules.bursts = bursts = StreamQueue(self.burst.payload.shape(), depth=max(3, self.depth))
        oldest, known = bursts.o.payload, self.known
        beat, index = Signal.like(self.beat.payload, reset_less=True), Signal(BEATS_WIDTH)
        m.d.sync += self.seen.eq(self.beat.valid)
        with m.If(self.beat.valid):
            m.d.sync += beat.eq(self.beat.payload)
        ends, counted = Signal(), Signal()
        m.d.comb += [
            known.eq(bursts.o.valid),
            bursts.i.valid.eq(self.burst.valid),
            bursts.i.payload.eq(self.burst.payload),
            self.busy.eq((bursts.level != 0) | self.seen | self.lost),
            ends.eq(index == oldest.beats),
            counted.eq(self.seen & known & ~self.lost),
            self.response.eq(counted & (beat.resp != OKAY)),
            self.last.eq(counted & (beat.last != ends)),
            self.surplus.eq(self.seen & ~known),
            self.o.valid.eq(counted & ~self.drop),
            self.o.payload.eq(Mux(self.o.valid & ~self.response & ~self.last, beat.data, 0)),
            self.dropped.eq(self.seen & ~self.o.valid),
            self.ended.eq((counted & ends) | (self.give_up & known)),
            bursts.o.ready.eq(self.ended),
            self.word.eq(oldest.word + index),
        ]
        with m.If(self.ended):
            m.d.sync += index.eq(0)
        with m.Elif(counted):
            m.d.sync += index.eq(index + 1)
        with m.If(self.give_up & (bursts.level == 0)):
            m.d.sync += self.lost.eq(0)
        with m.Elif(self.last):
            m.d.sync += self.lost.eq(1)
        return m
