"""Rows on their way to QKMultiply."""

from __future__ import annotations

from amaranth.hdl import Cat, Module
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

from hdl.control.control_layouts import decision, events_of, query_facts, query_issue
from hdl.control.queries.query_keeper import QueryKeeper
from hdl.spec import payloads
from hdl.spec.config import Config
from hdl.spec.widths import signed
from hdl.stream.stream_fork import StreamFork
from hdl.stream.stream_queue import StreamQueue

__all__ = ["QueryJoiner"]


class QueryJoiner(wiring.Component):
    """Sends each issue to the fetcher, and joins the Q row that comes back with what is known of it.

    Flat rows of generation jobs come from a :class:`QueryKeeper`, and go first. Latency 0 from the issue to the
    request and from the Q row to ``query``; initiation interval 1. ``config.query_queue`` + 4 rows are on their way.

    Members
    -------
    issue : In(stream.Signature(query_issue))
    request : Out(stream.Signature(query_request))
    elements : In(stream.Signature(elements))       Q rows in the order of the requests
    query : Out(stream.Signature(query_row))        to QKMultiply
    valid : In(contexts)                            jobs in flight; a context is free for two cycles between two jobs
    record : In(job_record).array(contexts)         their records
    lsb_loaded : In(contexts)                       their LSB planes are on chip
    decided : In(stream.Signature(decision, always_ready=True))    a row's exp sum is known
    """

    def __init__(self, config: Config):
        self.config = config
        super().__init__(
            {
                "issue": In(stream.Signature(query_issue(config))),
                "request": Out(stream.Signature(payloads.query_request(config))),
                "elements": In(stream.Signature(data.ArrayLayout(signed(config.operand_width), config.max_dim))),
                "query": Out(stream.Signature(payloads.query_row(config))),
                "valid": In(config.contexts),
                "record": In(payloads.job_record(config)).array(config.contexts),
                "lsb_loaded": In(config.contexts),
                "decided": In(events_of(decision(config))),
            }
        )

    def elaborate(self, platform):
        m = Module()
        config = self.config
        m.submodules.fork = fork = StreamFork(query_issue(config), num_outputs=2)
        m.submodules.facts = facts = StreamQueue(query_facts(config), depth=config.query_queue + 4)
        m.submodules.keeper = keeper = QueryKeeper(config)
        wiring.connect(m, wiring.flipped(self.issue), fork.i)
        m.d.comb += [
            self.request.payload.eq(fork.o[0].payload.request),
            self.request.valid.eq(fork.o[0].valid),
            fork.o[0].ready.eq(self.request.ready),
            facts.i.payload.eq(fork.o[1].payload.facts),
            facts.i.valid.eq(fork.o[1].valid),
            fork.o[1].ready.eq(facts.i.ready),
            keeper.valid.eq(self.valid),
            keeper.generation.eq(Cat(record.generation for record in self.record)),
            keeper.lsb_loaded.eq(self.lsb_loaded),
            keeper.decided.payload.eq(self.decided.payload),
            keeper.decided.valid.eq(self.decided.valid),
        ]
        self._join(m, facts.o, keeper)
        return m

    def _join(self, m, facts, keeper):
        fetched = self.elements.valid & facts.valid
        taken = fetched & self.query.ready & ~keeper.o.valid
        row = keeper.row.payload
        m.d.comb += [
            *(row[name].eq(facts.payload[name]) for name in query_facts(self.config).members),
            row.elements.eq(self.elements.payload),
            keeper.row.valid.eq(taken),
            keeper.free.eq(~self.query.valid | self.query.ready),
            keeper.o.ready.eq(self.query.ready),
            self.query.valid.eq(fetched | keeper.o.valid),
            self.elements.ready.eq(taken),
            facts.ready.eq(taken),
        ]
        with m.If(keeper.o.valid):
            m.d.comb += self.query.payload.eq(keeper.o.payload)
        with m.Else():
            m.d.comb += self.query.payload.eq(row)
