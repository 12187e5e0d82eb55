"""Counts the rows of each job through the stages, and tells when it is complete."""

from __future__ import annotations

from amaranth.hdl import Module, Signal
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out

from hdl.control.control_layouts import decision, events_of, look_up, read_row
from hdl.spec import payloads
from hdl.spec.config import Config

__all__ = ["Completion"]


class _JobRows(wiring.Component):
    """Counts the rows of the job in one context.

    Latency 1 from ``row_read`` to ``keys_final``, 3 from the last ``decided`` to ``values_done``, else 2.

    Members
    -------
    valid : In(1)                        a job is in the context; low for two cycles between two jobs
    next_rows : In(count_width)          rows of the job that may take the context in the next cycle,
    rows : In(count_width)               of the job in the context
    generation : In(1)                   of which stage it is
    more : In(1)                         its rows have no outputs, they go on in the next job; only where jobs can
                                         be chained
    decided, flat : In(1)                the exp sum of one of its rows is known; the row is flat
    row_read : In(1)                     generation: its row has been read with all its bits
    value_done, output, probs : In(1)    V lines of one of its rows are accumulated, its outputs, its probabilities out
    keys_final, values_done : Out(1)     K, V is not read any more
    settled : Out(1)                     pulses when all rows are final, of a summarization job
    complete : Out(1)                    outputs and probabilities of all rows are out
    """

    def __init__(self, config: Config):
        self.config = config
        events = ("decided", "flat", "row_read", "value_done", "output", "probs")
        super().__init__(
            {
                "valid": In(1),
                "next_rows": In(config.count_width),
                "rows": In(config.count_width),
                "generation": In(1),
                **({"more": In(1)} if config.chained else {}),
                **dict.fromkeys(events, In(1)),
                "keys_final": Out(1),
                "values_done": Out(1),
                "settled": Out(1),
                "complete": Out(1),
            }
        )

    def elaborate(self, platform):
        m = Module()
        width = self.config.count_width
        final, outputs, probs = Signal(width), Signal(width), Signal(width)
        undone = Signal(width + 1)  # rows whose V lines are to come
        again = Signal()  # V lines of a dropped row are accumulated, too
        all_final, all_outputs, all_probs = Signal(), Signal(), Signal()
        m.d.sync += [
            again.eq(self.decided & self.flat & ~self.generation),
            final.eq(final + (self.decided & ~self.flat)),
            undone.eq(undone + again - self.value_done),
            outputs.eq(outputs + self.output),
            probs.eq(probs + self.probs),
            all_final.eq(final == self.rows),
            all_outputs.eq(outputs == self.rows),
            all_probs.eq(probs == self.rows),
            self.settled.eq(0),
            self.keys_final.eq(self.keys_final & self.valid),
            self.values_done.eq(self.values_done & self.valid),
        ]
        out = all_outputs | (self.more & self.values_done) if self.config.chained else all_outputs
        m.d.comb += self.complete.eq(out & all_probs)
        with m.If(self.row_read):
            m.d.sync += self.keys_final.eq(1)
        with m.If(self.valid):
            with m.If(final == self.rows):
                m.d.sync += [self.keys_final.eq(1), self.settled.eq(~self.keys_final & ~self.generation)]
            # A new job's ``undone`` is not 0, so what ``all_final`` says of the last one does not matter.
            with m.If(all_final & (undone == 0)):
                m.d.sync += self.values_done.eq(1)
        with m.Else():
            m.d.sync += [final.eq(0), outputs.eq(0), probs.eq(0), undone.eq(self.next_rows)]
        return m


class Completion(wiring.Component):
    """Tells when the K and the V region of a job can be given back, and answers the jobs, in their order.

    A job is complete when outputs and probabilities of all its rows have left, and both regions are given back.
    The answer is on offer 3 cycles after the last output; initiation interval 2.

    Members
    -------
    valid : In(contexts)                            jobs in flight; a context is free for two cycles between two jobs
    oldest : In(n)                                  context of the oldest one
    record : In(job_record).array(contexts)         their records
    next_rows : In(count_width)                     rows of the job that may take a context in the next cycle
    decided : In(stream.Signature(decision, always_ready=True))      a row's exp sum is known
    row_read : In(stream.Signature(read_row, always_ready=True))     QKMultiply has read all keys of a row
    value_done : In(stream.Signature(row_tag, always_ready=True))    a row's V lines are accumulated
    output, probs : In(stream.Signature(context, always_ready=True)) all outputs, all final probabilities of a row
                                                                     have left
    keys_released, values_released : In(contexts)   the regions are given back
    keys_final, values_done : Out(contexts)         K, V is not read any more
    settled : Out(1)                                pulses when all rows of a summarization job are final (at most one
                                                    job a cycle)
    status : Out(stream.Signature(job_status))      completed jobs that the host gave
    layer_done : Out(1)                             pulses when a job of the layer walker is complete
    end : Out(1)                                    pulses when the oldest job is answered
    """

    def __init__(self, config: Config):
        self.config = config
        contexts = config.contexts
        context = events_of(config.context_width)
        super().__init__(
            {
                "valid": In(contexts),
                "oldest": In(config.context_width),
                "record": In(payloads.job_record(config)).array(contexts),
                "next_rows": In(config.count_width),
                "decided": In(events_of(decision(config))),
                "row_read": In(events_of(read_row(config))),
                "value_done": In(events_of(payloads.row_tag(config))),
                "output": In(context),
                "probs": In(context),
                "keys_released": In(contexts),
                "values_released": In(contexts),
                "keys_final": Out(contexts),
                "values_done": Out(contexts),
                "settled": Out(1),
                "status": Out(stream.Signature(payloads.job_status(config))),
                "layer_done": Out(1),
                "end": Out(1),
            }
        )

    def elaborate(self, platform):
        m = Module()
        complete, settled = Signal(self.config.contexts), Signal(self.config.contexts)
        for index, record in enumerate(self.record):
            m.submodules[f"rows_{index}"] = rows = _JobRows(self.config)
            self._connect_events(m, index, rows)
            m.d.comb += [
                rows.valid.eq(self.valid[index]),
                rows.next_rows.eq(self.next_rows),
                rows.rows.eq(record.rows),
                rows.generation.eq(record.generation),
                *([rows.more.eq(record.more)] if self.config.chained else []),
                self.keys_final[index].eq(rows.keys_final),
                self.values_done[index].eq(rows.values_done),
                settled[index].eq(rows.settled),
                complete[index].eq(rows.complete),
            ]
        m.d.comb += self.settled.eq(settled.any())
        self._answer(m, complete & self.valid & self.keys_released & self.values_released)
        return m

    def _connect_events(self, m, index, rows):
        """Events of the rows of one context."""
        decided, row_read = self.decided, self.row_read
        low = row_read.payload.low & self.record[index].generation
        m.d.comb += [
            rows.decided.eq(decided.valid & (decided.payload.tag.context == index)),
            rows.flat.eq(decided.payload.flat),
            rows.row_read.eq(row_read.valid & (row_read.payload.context == index) & low),
            rows.value_done.eq(self.value_done.valid & (self.value_done.payload.context == index)),
            rows.output.eq(self.output.valid & (self.output.payload == index)),
            rows.probs.eq(self.probs.valid & (self.probs.payload == index)),
        ]

    def _answer(self, m, complete):
        """The oldest job's answer, in a register, and its end."""
        status = self.status
        record = Signal(payloads.job_record(self.config))
        m.d.comb += [
            look_up(record, self.record, self.oldest),
            status.payload.code.eq(payloads.OK),
            self.end.eq(self.layer_done | (status.valid & status.ready)),
        ]
        with m.If(self.end):
            m.d.sync += [status.valid.eq(0), self.layer_done.eq(0)]
        with m.Elif(~status.valid):
            finished = complete.bit_select(self.oldest, 1)
            m.d.sync += [
                status.valid.eq(finished & ~record.layer),
                self.layer_done.eq(finished & record.layer),
                status.payload.job_id.eq(record.job_id),
            ]
