"""Hands the entries of both tables to the host, one by one."""

from __future__ import annotations

from amaranth.hdl import Module, Mux, Signal
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out

from hdl.cascade.entries import log_lanes, report_word
from hdl.spec import payloads
from hdl.spec.config import Config
from hdl.stream.stream_queue import StreamQueue

__all__ = ["SurvivorReport"]


class SurvivorReport(wiring.Component):
    """Queue of entries for the host, ``lanes`` tokens a cycle in and one entry a cycle out.

    It holds a table of tokens, so that the selection, and the layers after it, need not wait for the host.

    Members
    -------
    i : In(stream.Signature(report_word(config)))
    o : Out(stream.Signature(survivor(config)))
    """

    def __init__(self, config: Config):
        self.config = config
        super().__init__(
            {
                "i": In(stream.Signature(report_word(config))),
                "o": Out(stream.Signature(payloads.survivor(config))),
            }
        )

    def elaborate(self, platform):
        m = Module()
        config = self.config
        words = -(-config.max_tokens // config.lanes)
        m.submodules.queue = queue = StreamQueue(report_word(config), depth=words + 4)
        m.submodules.out = out = StreamQueue(payloads.survivor(config), depth=3)
        wiring.connect(m, wiring.flipped(self.i), queue.i)
        wiring.connect(m, out.o, wiring.flipped(self.o))
        word, item = queue.o.p, out.i.p
        place = Signal(max(1, log_lanes(config)))  # of the word's entries
        final, lane = Signal(), Signal.like(place)
        m.d.comb += [
            final.eq(place + 1 == word.count),
            lane.eq(word.lane | place),  # a word of more than one entry begins in lane 0
            out.i.valid.eq(queue.o.valid),
            queue.o.ready.eq(out.i.ready & final),
            item.job_id.eq(word.job_id),
            item.token.eq(word.token),
            item.id.eq(word.entries[lane].id),
            item.importance.eq(word.entries[lane].importance),
            item.keep.eq(word.keep.bit_select(lane, 1)),
            item.last.eq(word.token & word.last & final),
        ]
        with m.If(out.i.valid & out.i.ready):
            m.d.sync += place.eq(Mux(final, 0, place + 1))
        return m
