"""Rows that are to be computed again."""

from __future__ import annotations

from amaranth.hdl import Module
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out

from hdl.control.control_layouts import decision, events_of, row_place
from hdl.spec.config import Config
from hdl.stream.stream_queue import StreamQueue

__all__ = ["SecondPasses"]


class SecondPasses(wiring.Component):
    """Keeps the flat rows of summarization jobs until the LSB plane of the oldest one is on chip, and offers them.

    Rows of generation jobs are kept by :class:`QueryKeeper`. Latency 1 + that of a deep :class:`StreamQueue`,
    initiation interval 1. The queue has a place for every row that may be flat: :class:`FirstPassGate` sees to that.

    Members
    -------
    generation, loaded : In(contexts)   of which stage the jobs in flight are; their LSB planes are on chip
    decided : In(stream.Signature(decision, always_ready=True))    a row's exp sum is known
    o : Out(stream.Signature(row_place))
    """

    DEPTH = 128
    """Rows of first passes whose second pass is possible or due."""

    def __init__(self, config: Config):
        self.config = config
        super().__init__(
            {
                "generation": In(config.contexts),
                "loaded": In(config.contexts),
                "decided": In(events_of(decision(config))),
                "o": Out(stream.Signature(row_place(config))),
            }
        )

    def elaborate(self, platform):
        m = Module()
        m.submodules.queue = queue = StreamQueue(row_place(self.config), depth=self.DEPTH)
        decided, tag = self.decided, self.decided.payload.tag
        m.d.sync += [
            queue.i.valid.eq(decided.valid & decided.payload.flat & ~self.generation.bit_select(tag.context, 1)),
            *(queue.i.payload[name].eq(tag[name]) for name in ("context", "query", "group")),
        ]
        loaded = self.loaded.bit_select(queue.o.payload.context, 1)
        m.d.comb += [
            self.o.payload.eq(queue.o.payload),
            self.o.valid.eq(queue.o.valid & loaded),
            queue.o.ready.eq(self.o.ready & loaded),
        ]
        return m
