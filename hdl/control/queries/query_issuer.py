"""Decides which row is computed next."""

from __future__ import annotations

from amaranth.hdl import Array, Cat, Const, Module, Mux, Signal
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

from hdl.control.control_layouts import decision, events_of, look_up, query_facts, query_issue, row_place
from hdl.control.queries.first_passes import FirstPasses
from hdl.control.queries.second_passes import SecondPasses
from hdl.spec import payloads
from hdl.spec.config import Config
from hdl.stream.stream_queue import StreamQueue

__all__ = ["QueryIssuer"]


def _row_choice(config: Config) -> data.StructLayout:
    return data.StructLayout({**row_place(config).members, "second": 1})


def _known_row(config: Config) -> data.StructLayout:
    """A chosen row with what its job's record says of it."""
    facts = query_facts(config).members
    return data.StructLayout(
        {
            "row": _row_choice(config),
            "plane": payloads.plane(config),
            **{name: facts[name] for name in ("log_slices", "pack", "slot", "seq", "low")},
            "causal": 1,
            "num_keys": config.count_width,
            "keys_before": config.count_width,  # causal: keys in front of the job's first query
            "first_row": data.ArrayLayout(config.position_width, 2),  # of the same query head; their sum
        }
    )


class QueryIssuer(wiring.Component):
    """Issues rows: flat ones again, once their LSBs are on chip, before first passes in the order of the jobs.

    A row is chosen in one cycle, its record looked up in the next, and its length summed on the way to the queue.
    Latency 2 + that of a :class:`StreamQueue`, initiation interval 1 within a job; a cycle lies between the last first
    pass of a job and the first one of the next.

    Members
    -------
    valid, keyed, values_commanded : In(contexts)   jobs in flight, whose K, whose V is commanded
    lsb_loaded : In(contexts)                       whose LSB plane is on chip
    record : In(job_record).array(contexts)         their records,
    slot, seq : In(…).array(contexts)               regions of the K buffer, sequence numbers of their first rows
    decided : In(stream.Signature(decision, always_ready=True))    a row's exp sum is known
    settled : In(1)                                 all rows of a summarization job are final
    issue : Out(stream.Signature(query_issue))
    """

    def __init__(self, config: Config):
        self.config = config
        contexts = config.contexts
        super().__init__(
            {
                "valid": In(contexts),
                "keyed": In(contexts),
                "values_commanded": In(contexts),
                "lsb_loaded": In(contexts),
                "record": In(payloads.job_record(config)).array(contexts),
                "slot": In(config.slot_width).array(contexts),
                "seq": In(config.seq_width).array(contexts),
                "decided": In(events_of(decision(config))),
                "settled": In(1),
                "issue": Out(stream.Signature(query_issue(config))),
            }
        )

    def elaborate(self, platform):
        m = Module()
        config = self.config
        m.submodules.queue = queue = StreamQueue(query_issue(config), depth=3)
        moves = queue.i.ready
        choice, query = Signal(_row_choice(config), reset_less=True), Signal(_known_row(config), reset_less=True)
        chosen, known = Signal(), Signal()
        offered = self._offer(m, moves, choice)
        with m.If(moves):
            m.d.sync += [chosen.eq(offered), known.eq(chosen)]
            m.d.sync += self._look_up(m, choice, query)
        m.d.comb += [queue.i.valid.eq(known), *self._sum(query, queue.i.payload)]
        wiring.connect(m, queue.o, wiring.flipped(self.issue))
        return m

    def _offer(self, m, moves, choice):
        """Chooses a row; returns whether there is one."""
        m.submodules.first = first = FirstPasses(self.config)
        m.submodules.second = second = SecondPasses(self.config)
        for block in (first, second):
            m.d.comb += [block.decided.payload.eq(self.decided.payload), block.decided.valid.eq(self.decided.valid)]
        m.d.comb += [
            *(getattr(first, name).eq(getattr(self, name)) for name in ("valid", "keyed", "values_commanded")),
            *(mine.eq(record) for mine, record in zip(first.record, self.record, strict=True)),
            first.settled.eq(self.settled),
            first.redone.eq(second.o.valid & second.o.ready),
            first.take.eq(first.offer & moves & ~second.o.valid),
            second.generation.eq(Cat(record.generation for record in self.record)),
            second.loaded.eq(self.lsb_loaded),
            second.o.ready.eq(moves),
        ]
        with m.If(moves):
            m.d.sync += choice.second.eq(second.o.valid)
            for name in row_place(self.config).members:
                m.d.sync += choice[name].eq(Mux(second.o.valid, second.o.payload[name], first.row[name]))
        return second.o.valid | first.offer

    def _look_up(self, m, choice, query):
        """Assignments of what the tables of the contexts know of the chosen row."""
        record = Signal(payloads.job_record(self.config))
        m.d.comb += look_up(record, self.record, choice.context)
        return [
            query.row.eq(choice),
            query.plane.base.eq(record.query_base),
            query.plane.width.eq(record.query_bits),
            query.plane.dim.eq(record.dim),
            query.plane.log_slices.eq(record.log_slices),
            query.plane.skew.eq(record.skew),
            query.log_slices.eq(record.log_slices),
            query.pack.eq(record.pack),
            query.slot.eq(Array(self.slot)[choice.context]),
            query.seq.eq(Array(self.seq)[choice.context]),
            query.low.eq(~record.progressive | choice.second),
            query.causal.eq(record.causal),
            query.num_keys.eq(record.num_keys),
            query.keys_before.eq(record.num_keys - record.num_queries),
            query.first_row[0].eq(self._first_row(record, choice.group[:2])),
            query.first_row[1].eq(self._first_row(record, choice.group[2:]) << 2),
        ]

    def _first_row(self, record, place):
        """Row of the job at which the queries of a group's head begin; no multiplier for so few bits."""
        return sum((Mux(bit, record.num_queries << i, 0) for i, bit in enumerate(place)), start=Const(0))

    def _sum(self, query, issue):
        """Assignments of the issue of a row: what is known of it, and the keys that it attends."""
        causal_length = query.keys_before + query.row.query + 1 - query.first_row[0] - query.first_row[1]
        return [
            issue.request.plane.eq(query.plane),
            issue.request.row.eq(query.row.query),
            *(issue.facts[name].eq(query[name]) for name in ("log_slices", "pack", "slot", "seq", "low")),
            *(issue.facts.tag[name].eq(query.row[name]) for name in ("context", "query", "group", "second")),
            issue.facts.length.eq(Mux(query.causal, causal_length, query.num_keys)),
        ]
