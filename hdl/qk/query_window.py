"""The headers of the query that Q×K works on, of the next one, and of one more."""

from __future__ import annotations

from amaranth.hdl import Const, Module, Mux, Signal, Value
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

from hdl.qk.beat import query_header
from hdl.spec.config import Config

__all__ = ["QueryWindow"]


class QueryWindow(wiring.Component):
    """Shows the current query and the next one, and says whether they may share a line.

    A third header waits in a register, so that ``query.ready`` is a flip-flop. A query that comes into an empty window
    is the current one 2 cycles later; a query a cycle passes.

    Members
    -------
    query : In(stream.Signature(query_header(config)))
    leave : In(1)           the current row is done; only while ``current_valid``
    current : Out(query_header(config))      the current row, if ``current_valid``
    current_valid : Out(1)
    following : Out(query_header(config))    the next row
    follows : Out(1)        there is a next row, and a line in which the current row ends may hold its first keys
    shift_current : Out(1)  ``current`` takes ``following`` (registered: seen in the next cycle)
    shift_next : Out(1)     ``following`` takes ``arrived``
    arrived : Out(query_header(config))      the newest query, from the register or as it comes in
    """

    def __init__(self, config: Config):
        self.config = config
        header = query_header(config)
        super().__init__(
            {
                "query": In(stream.Signature(header)),
                "leave": In(1),
                "current": Out(header),
                "current_valid": Out(1),
                "following": Out(header),
                "follows": Out(1),
                "shift_current": Out(1),
                "shift_next": Out(1),
                "arrived": Out(header),
            }
        )

    def elaborate(self, platform):
        m = Module()
        header = query_header(self.config)
        current, following, newest = (
            Signal(header, name=name, reset_less=True) for name in ("current_row", "next_row", "newest_row")
        )
        next_valid, newest_valid = Signal(), Signal()
        newest_fits = Signal(reset_less=True)  # the query in ``newest`` packs with the next row
        fits = Signal()  # the query that comes does
        m.d.comb += [
            self.current.eq(current),
            self.following.eq(following),
            self.query.ready.eq(~newest_valid),
            self.shift_current.eq(~self.current_valid | self.leave),
            self.shift_next.eq(~next_valid | self.shift_current),
            self.arrived.eq(Mux(newest_valid, Value.cast(newest), Value.cast(self.query.payload))),
            fits.eq(self._packs(following, self.query.payload)),
        ]
        with m.If(~newest_valid):
            m.d.sync += [newest.eq(self.query.payload), newest_fits.eq(fits)]
        with m.If(self.shift_next):
            m.d.sync += [following.eq(self.arrived), next_valid.eq(newest_valid | self.query.valid), newest_valid.eq(0)]
        with m.Elif(self.query.valid):
            m.d.sync += newest_valid.eq(1)
        with m.If(self.shift_current):
            m.d.sync += [current.eq(following), self.current_valid.eq(next_valid)]
            # The row in ``following`` does not change while one waits in ``newest``.
            m.d.sync += self.follows.eq(next_valid & Mux(newest_valid, newest_fits, self.query.valid & fits))
        with m.Else():
            m.d.sync += self.follows.eq(next_valid & self._packs(current, following))
        return m

    def _packs(self, row: data.View, follower: data.View) -> Value:
        """The line in which a row ends may hold the first keys of the follower."""
        if not self.config.packing:
            return Const(0)
        return row.pack & follower.pack & (row.context == follower.context) & (row.length == follower.length)
