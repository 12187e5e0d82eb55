"""Keeps which of the two id lists is current, and what a job may ask of it."""

from __future__ import annotations

from amaranth.hdl import Module, Mux, Signal
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from hdl.spec import payloads
from hdl.spec.config import Config
from hdl.spec.widths import FIELD_WIDTH, ID_WIDTH

__all__ = ["CurrentList"]


class CurrentList(wiring.Component):
    """The id list of the last accepted job that brought one, or of the last selection: which, how long, its last id.

    Members
    -------
    request : In(job_request(config))    nothing else of this block changes from a cycle before ``known`` is read on
    known : Out(1)                there is the list that the request asks for (or it asks for none); one cycle late
    current : Out(1)              the current list
    written : In(1)               pulse: entries of the other list change: TokenImportance does not hold the current one
    taken : In(1)                 pulse: the other list is that of an accepted request, and current;
    count, last_id : In           its ids, and the last of them
    selected : In(1)              pulse: the other list has been written by the cascade selection, and is current;
    survivors, survivor_id : In   its ids, and the last of them
    void : In(1)                  pulse: there is no current list any more
    """

    def __init__(self, config: Config):
        self.config = config
        super().__init__(
            {
                "request": In(payloads.job_request(config)),
                "known": Out(1),
                "current": Out(1),
                "written": In(1),
                "taken": In(1),
                "count": In(FIELD_WIDTH + 1),
                "last_id": In(ID_WIDTH),
                "selected": In(1),
                "survivors": In(config.count_width),
                "survivor_id": In(ID_WIDTH),
                "void": In(1),
            }
        )

    def elaborate(self, platform):
        m = Module()
        request, job = self.request, self.request.job
        count, last = Signal(FIELD_WIDTH), Signal(ID_WIDTH)  # of the current list; count 0: there is none
        tabled = Signal()  # TokenImportance holds the current list
        known = Signal(reset_less=True)
        previous = (job.list == payloads.LIST_PREVIOUS) | (request.list_only & request.match)
        fits = (count == job.num_keys) & (last < job.num_rows) & (tabled | ~request.list_only)
        m.d.sync += known.eq(Mux(previous, fits, job.list == payloads.LIST_DENSE))
        m.d.comb += self.known.eq(known)
        with m.If(self.written):
            m.d.sync += tabled.eq(0)
        with m.If(self.taken):
            m.d.sync += [tabled.eq(1), self.current.eq(~self.current), count.eq(self.count), last.eq(self.last_id)]
        with m.If(self.selected):
            m.d.sync += [self.current.eq(~self.current), count.eq(self.survivors), last.eq(self.survivor_id)]
        with m.If(self.void):
            m.d.sync += count.eq(0)
        return m
