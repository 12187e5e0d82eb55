"""Names the results of rows by their jobs, and tells who waits for them."""

from __future__ import annotations

from amaranth.hdl import Array, Module
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out

from hdl.cascade.head_importance import head_sum
from hdl.control.control_layouts import events_of
from hdl.spec import payloads
from hdl.spec.config import Config

__all__ = ["JobResults"]


class JobResults(wiring.Component):
    """Looks up job id and head of each result in the context table; rows whose last result leaves are told.

    Combinational: latency 0, initiation interval 1.

    Members
    -------
    record : In(job_record).array(contexts)        the context table
    accumulate : In(contexts)                      the job adds to the importance of heads
    output : In(stream.Signature(output_beat))     of prob×V
    probs : In(stream.Signature(prob_line))        of the pruner
    out : Out(stream.Signature(job_output))        to the host
    prob : Out(stream.Signature(job_probs))
    output_left : Out(stream.Signature(context, always_ready=True))   the last output beat of a row leaves
    probs_left : Out(stream.Signature(context, always_ready=True))    all final probabilities of a row leave
    head_sum : Out(stream.Signature(head_sum, always_ready=True))     Σ|out| of a row that counts for its head
    """

    def __init__(self, config: Config):
        self.config = config
        super().__init__(
            {
                "record": In(payloads.job_record(config)).array(config.contexts),
                "accumulate": In(config.contexts),
                "output": In(stream.Signature(payloads.output_beat(config))),
                "probs": In(stream.Signature(payloads.prob_line(config))),
                "out": Out(stream.Signature(payloads.job_output(config))),
                "prob": Out(stream.Signature(payloads.job_probs(config))),
                "output_left": Out(events_of(config.context_width)),
                "probs_left": Out(events_of(config.context_width)),
                "head_sum": Out(events_of(head_sum(config))),
            }
        )

    def elaborate(self, platform):
        m = Module()
        self._outputs(m)
        self._probabilities(m)
        return m

    def _look_up(self, context):
        """Job id, and rank of the first head, of a context."""
        return (Array(record[name] for record in self.record)[context] for name in ("job_id", "head"))

    def _outputs(self, m):
        beat, out = self.output, self.out.payload
        tag = beat.payload.tag
        job_id, head = self._look_up(tag.context)
        left = self.output_left
        m.d.comb += [
            self.out.valid.eq(beat.valid),
            beat.ready.eq(self.out.ready),
            out.job_id.eq(job_id),
            out.head.eq(head),
            out.query.eq(tag.query),
            out.second.eq(tag.second),
            *(out[name].eq(beat.payload[name]) for name in ("last", "abs_sum", "values")),
            left.valid.eq(beat.valid & beat.ready & beat.payload.last),
            left.payload.eq(tag.context),
            self.head_sum.valid.eq(left.valid & self.accumulate.bit_select(tag.context, 1)),
            self.head_sum.payload.rank.eq(head + tag.group),
            self.head_sum.payload.abs_sum.eq(beat.payload.abs_sum),
        ]

    def _probabilities(self, m):
        line, prob = self.probs, self.prob.payload
        tag = line.payload.a_tag
        job_id, head = self._look_up(tag.context)
        copied = ("start", "a_count", "b_count", "a_drop", "b_drop", "probs")
        m.d.comb += [
            self.prob.valid.eq(line.valid),
            line.ready.eq(self.prob.ready),
            prob.job_id.eq(job_id),
            prob.head.eq(head),
            prob.a_query.eq(tag.query),
            prob.b_query.eq(line.payload.b_tag.query),
            *(prob[name].eq(line.payload[name]) for name in copied),
            self.probs_left.valid.eq(line.valid & line.ready & line.payload.a_last & ~line.payload.a_drop),
            self.probs_left.payload.eq(tag.context),
        ]
        if self.config.chained:
            # What the keys of later jobs take from these is not known: they are told as not final.
            more = Array(record.joins | record.more for record in self.record)
            b_tag = line.payload.b_tag
            m.d.comb += [
                prob.a_drop.eq(line.payload.a_drop | more[tag.context]),
                prob.b_drop.eq(line.payload.b_drop | more[b_tag.context]),
            ]
