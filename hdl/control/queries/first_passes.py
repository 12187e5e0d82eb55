"""Walks the rows of the jobs in flight, for their first passes."""

from __future__ import annotations

from amaranth.hdl import Cat, Module, Signal
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from hdl.control.control_layouts import decision, events_of, look_up, row_place
from hdl.control.queries.first_pass_gate import FirstPassGate
from hdl.spec import payloads
from hdl.spec.config import Config

__all__ = ["FirstPasses"]


class FirstPasses(wiring.Component):
    """Offers the first pass of each row of each job, in their order, when :class:`FirstPassGate` allows it.

    Not a stream: an offer may be withdrawn. Initiation interval 1; a cycle without offer lies between the last row of
    a job and the first of the next.

    Members
    -------
    valid, keyed, values_commanded : In(contexts)   jobs in flight, whose K, whose V is commanded
    record : In(job_record).array(contexts)         their records
    redone : In(1)                                  a second pass is issued
    decided : In(stream.Signature(decision, always_ready=True))    a row's exp sum is known
    settled : In(1)                                 all rows of a summarization job are final
    offer : Out(1), row : Out(row_place)
    take : In(1)                                    the row is issued; only while it is on offer
    """

    def __init__(self, config: Config):
        self.config = config
        super().__init__(
            {
                "valid": In(config.contexts),
                "keyed": In(config.contexts),
                "values_commanded": In(config.contexts),
                "record": In(payloads.job_record(config)).array(config.contexts),
                "redone": In(1),
                "decided": In(events_of(decision(config))),
                "settled": In(1),
                "offer": Out(1),
                "row": Out(row_place(config)),
                "take": In(1),
            }
        )

    def elaborate(self, platform):
        m = Module()
        m.submodules.gate = gate = FirstPassGate(self.config)
        moved = Signal()  # the context has just changed: what is known of its job is of the one before
        opens, ends = Signal(init=1), Signal(reset_less=True)  # the row is the first, the last of the job
        asked = Signal(self.config.contexts)
        m.d.sync += [moved.eq(0), asked.eq(asked & self.valid)]
        self._walk(m, opens=opens, ends=ends)
        with m.If(self.take & ends):
            m.d.sync += [asked.bit_select(self.row.context, 1).eq(1), moved.eq(1)]
        m.d.comb += [
            *(getattr(gate, name).eq(getattr(self, name)) for name in ("valid", "keyed", "values_commanded")),
            *(getattr(gate, name).eq(getattr(self, name)) for name in ("redone", "settled")),
            gate.generation.eq(Cat(record.generation for record in self.record)),
            gate.progressive.eq(Cat(record.progressive for record in self.record)),
            gate.decided.payload.eq(self.decided.payload),
            gate.decided.valid.eq(self.decided.valid),
            gate.asked.eq(asked),
            gate.context.eq(self.row.context),
            gate.ask.eq(self.take),
            gate.opens.eq(opens),
            self.offer.eq(gate.may_ask & ~moved),
        ]
        return m

    def _walk(self, m, *, opens, ends):
        """The row on offer; its query's place in the query head is counted, too, to know where the next head begins."""
        config = self.config
        record = Signal(payloads.job_record(config))
        context, row, group = Signal(config.context_width), Signal(config.count_width), Signal(config.group_width)
        query = Signal(config.count_width)  # of the query head
        last_query, before_last = Signal.like(query, reset_less=True), Signal.like(row, reset_less=True)  # query, row
        m.d.comb += [
            look_up(record, self.record, context),
            self.row.context.eq(context),
            self.row.query.eq(row),
            self.row.group.eq(group),
        ]
        m.d.sync += [before_last.eq(record.rows - 2), last_query.eq(record.num_queries - 1)]
        with m.If(opens):
            m.d.sync += ends.eq(record.rows == 1)
        with m.If(self.take):
            m.d.sync += [row.eq(row + 1), query.eq(query + 1), opens.eq(ends), ends.eq(row == before_last)]
            with m.If(query == last_query):
                m.d.sync += [query.eq(0), group.eq(group + 1)]
            with m.If(ends):
                m.d.sync += [row.eq(0), query.eq(0), group.eq(0), context.eq(context + 1)]
