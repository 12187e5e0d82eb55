"""Which row a channel fetches next: Q rows, LSB rows, gathered rows, and the K and V loads in order of arrival."""

from __future__ import annotations

from amaranth.hdl import Cat, Module, Signal
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out

from hdl.config import Config
from hdl.fetch_layouts import local_row

__all__ = ["RowSource"]


class RowSource(wiring.Component):
    """Rows of one channel, in the order in which their words are requested.

    Priority, a row at a time: Q rows (small, and a query waits for each), KEY_LSB (a recompute waits), gathered V rows
    (a query waits), then K and V loads in order of arrival. None of them can wait for another one: buffers take every
    slice, and Q rows are asked for only when there is room for them. A row of a K or V load that ends within a word
    draws the load's next row behind it if that one begins in the word, so that the word is not read again behind rows
    of another kind; they wait for one such row at the most. Latency 1, one row a cycle.

    Members
    -------
    query, lsb, gather, bulk : In(stream.Signature(local_row))
    throttle : In(1)    take no row of ``bulk``, but one that a row taken before draws behind it
    o : Out(stream.Signature(local_row))
    """

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
        row, bulk = self.o.payload, self.bulk
        following = bulk.payload
        is_bulk, drawn = Signal(reset_less=True), Signal(reset_less=True)  # drawn: by the row before
        next_index = Signal.like(row.index)
        follow, enable, taken = Signal(), Signal(), Signal()
        m.d.comb += [
            enable.eq(~self.o.valid | self.o.ready),
            next_index.eq(row.index + 1),
            follow.eq(
                (self.o.valid & is_bulk & row.partial & ~row.end & ~drawn)
                & (bulk.valid & ~following.end & (following.load == row.load) & (following.index == next_index))
            ),
        ]
        urgent = follow
        for source in (self.query, self.lsb, self.gather):
            m.d.comb += source.ready.eq(enable & ~urgent)
            urgent = urgent | source.valid
        m.d.comb += [
            bulk.ready.eq(enable & (follow | ~(urgent | self.throttle))),
            taken.eq(Cat(source.valid & source.ready for source in (self.query, self.lsb, self.gather, bulk)).any()),
        ]
        with m.If(enable):
            m.d.sync += [self.o.valid.eq(taken), is_bulk.eq(bulk.ready), drawn.eq(follow), row.eq(bulk.payload)]
        for source in (self.query, self.lsb, self.gather):
            with m.If(source.valid & source.ready):
                m.d.sync += row.eq(source.payload)
        return m
