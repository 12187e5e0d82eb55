"""Which row a channel fetches next: Q rows, LSB rows, gathered rows, and the K and V loads in order of arrival."""

from __future__ import annotations

from amaranth.hdl import Cat, Module, Signal
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out

from hdl.fetch.fetch_layouts import local_row
from hdl.spec.config import Config
from hdl.stream.stream_skid import StreamSkid

__all__ = ["RowSource"]


class RowSource(wiring.Component):
    """Rows of one channel, in the order in which their words are requested.

    Priority, a row at a time: Q rows (small, and a query waits for each), KEY_LSB (a recompute waits), gathered V rows
    (a query waits), then K and V loads in order of arrival. None of them can wait for another one: buffers take every
    slice, and Q rows are asked for only when there is room for them. A row of a K or V load draws the
    load's next row after it if that one is ``joined``, begins in the word in which it ends, so that the word is not
    read again after rows of another kind; they wait for one such row at the most. Latency 1, one row a cycle.

    Members
    -------
    query, lsb, gather, bulk : In(stream.Signature(local_row))
    throttle : In(1)    take no row of ``bulk``, but one that a row taken before draws after it
    o : Out(stream.Signature(local_row))
    """

    LATENCY = 1

    def __init__(self, config: Config):
        self.config = config
        row = stream.Signature(local_row(config))
        super().__init__(
            {
                **{name: In(row) for name in ("query", "lsb", "gather", "bulk")},
                "throttle": In(1),
                "o": Out(row),
            }
        )

    def elaborate(self, platform):
        m = Module()
        bulk, chosen = self.bulk, Signal(self.o.payload.shape())
        m.submodules.skid = skid = StreamSkid(chosen.shape())
        enable = skid.i.ready
        draws = Signal()  # the row taken last is one of ``bulk``, and was not drawn itself
        follow, taken = Signal(), Signal()
        # The row in front of it in its load is the last one that ``bulk`` gave.
        m.d.comb += [follow.eq(draws & bulk.valid & bulk.payload.joined), chosen.eq(bulk.payload)]
        urgent = follow
        for source in (self.query, self.lsb, self.gather):
            m.d.comb += source.ready.eq(enable & ~urgent)
            with m.If(source.valid & ~urgent):
                m.d.comb += chosen.eq(source.payload)
            urgent = urgent | source.valid
        others = Cat(source.valid for source in (self.query, self.lsb, self.gather)).any()
        m.d.comb += [
            # Whether ``bulk`` is valid does not matter here.
            bulk.ready.eq(enable & ((draws & bulk.payload.joined) | ~(others | self.throttle))),
            taken.eq(urgent | (bulk.valid & ~self.throttle)),
            skid.i.valid.eq(taken),
            skid.i.payload.eq(chosen),
            skid.o.ready.eq(~self.o.valid | self.o.ready),
        ]
        with m.If(enable & taken):
            m.d.sync += draws.eq(~urgent)
        with m.If(skid.o.ready):
            m.d.sync += [self.o.valid.eq(skid.o.valid), self.o.payload.eq(skid.o.payload)]
        return m
