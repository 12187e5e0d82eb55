"""The accelerator: attention of whole heads, from jobs and packed tensors in memory to outputs."""

from __future__ import annotations

from amaranth.hdl import Array, Const, Module
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out, connect, flipped

from hdl.cascade.cascade_select import CascadeSelect
from hdl.cascade.head_importance import HeadImportance
from hdl.cascade.token_importance import TokenImportance
from hdl.control.controller import Controller
from hdl.control.counters import Counters, counters_layout
from hdl.control.job_checker import JobChecker
from hdl.control.layer_walker import LayerWalker
from hdl.fetch.fetcher import Fetcher
from hdl.fetch.kv_buffer import KVBuffer
from hdl.pruning.value_pruner import ValuePruner
from hdl.pv.prob_times_v import ProbTimesV
from hdl.qk.qk_multiply import QKMultiply
from hdl.softmax.softmax import Softmax
from hdl.spec import payloads
from hdl.spec.config import Config
from hdl.stream.stream_fork import StreamFork
from hdl.stream.stream_queue import StreamQueue

__all__ = ["SpAtten"]


class SpAtten(wiring.Component):
    """SpAtten (Wang, Zhang, Han, HPCA 2021, Figure 8): top of the design; see docs/architecture.md.

    Results of several jobs in flight may alternate row by row (a flat row comes later than its neighbours); each beat
    names its job. A job's status comes after all of its results, a layer's after its selection, too. Jobs of the host
    are taken between layers.

    Members
    -------
    job : In(stream.Signature(job_descriptor))
    layer : In(stream.Signature(layer_descriptor))
    heads : In(stream.Signature(head_entry))     of the layers, in their order
    ids : In(stream.Signature(job_id_entry))     key ids of jobs and layers with list = 1, in their order
    status : Out(stream.Signature(job_status))   one per job or layer: done, or why it was refused
    survivor : Out(stream.Signature(survivor))   heads and tokens of each selection, with their importance
    out : Out(stream.Signature(job_output))      attention outputs
    prob : Out(stream.Signature(job_probs))      attention probabilities
    memory : Out(MemoryPort).array(num_channels)
    window_base : In(address_width)              first word that jobs may read, in every channel; quasi-static
    window_limit : In(address_width + 1)         first word behind it
    counters : Out(counters_layout)
    counters_clear : In(1)
    """

    def __init__(self, config: Config):
        self.config = config
        super().__init__(
            {
                "job": In(stream.Signature(payloads.job_descriptor(config))),
                "layer": In(stream.Signature(payloads.layer_descriptor(config))),
                "heads": In(stream.Signature(payloads.head_entry(config))),
                "ids": In(stream.Signature(payloads.job_id_entry(config))),
                "status": Out(stream.Signature(payloads.job_status(config))),
                "survivor": Out(stream.Signature(payloads.survivor(config))),
                "out": Out(stream.Signature(payloads.job_output(config))),
                "prob": Out(stream.Signature(payloads.job_probs(config))),
                "memory": Out(payloads.MemoryPort(config)).array(config.num_channels),
                "window_base": In(config.address_width),
                "window_limit": In(config.address_width + 1),
                "counters": Out(counters_layout(config)),
                "counters_clear": In(1),
            }
        )

    def elaborate(self, platform):
        m = Module()
        config = self.config
        m.submodules.checker = self._checker = JobChecker(config)
        m.submodules.walker = self._walker = LayerWalker(config)
        m.submodules.controller = self._controller = Controller(config)
        m.submodules.fetcher = self._fetcher = Fetcher(config)
        m.submodules.key_buffer = self._key_buffer = KVBuffer(
            config, slots=config.key_slots, banks_per_lane=config.banks_per_lane
        )
        m.submodules.value_buffer = self._value_buffer = KVBuffer(config, slots=config.value_slots, banks_per_lane=1)
        m.submodules.qk = self._qk = QKMultiply(config)
        m.submodules.softmax = self._softmax = Softmax(config)
        m.submodules.pruner = self._pruner = ValuePruner(config)
        m.submodules.pv = self._pv = ProbTimesV(config)
        m.submodules.tokens = self._tokens = TokenImportance(config)
        m.submodules.head_table = self._heads = HeadImportance(config)
        m.submodules.select = self._select = CascadeSelect(config)
        m.submodules.counters = self._counters = Counters(config)
        self._connect_jobs(m)
        self._connect_status(m)
        self._connect_cascade(m)
        self._connect_fetcher(m)
        self._connect_rows(m)
        self._connect_results(m)
        self._connect_counters(m)
        return m

    def _connect_jobs(self, m):
        """Requests of the layer walker, and between layers the host's jobs, to the checker and on to the controller."""
        checker, controller, walker = self._checker, self._controller, self._walker
        connect(m, flipped(self.layer), walker.layer)
        connect(m, flipped(self.heads), walker.heads)
        connect(m, flipped(self.ids), checker.ids)
        connect(m, checker.accepted, controller.job)
        connect(m, checker.answer, walker.answer)
        m.d.comb += [
            checker.window_base.eq(self.window_base),
            checker.window_limit.eq(self.window_limit),
            checker.list_free.eq(controller.list_free & (~self._tokens.busy).replicate(2)),
            checker.job.valid.eq(walker.request.valid | (self.job.valid & ~walker.busy)),
            walker.request.ready.eq(checker.job.ready),
            self.job.ready.eq(checker.job.ready & ~walker.busy),
            walker.done.eq(controller.layer_done),
            checker.void.eq(walker.void),
        ]
        with m.If(walker.request.valid):
            m.d.comb += checker.job.payload.eq(walker.request.payload)
        with m.Else():
            m.d.comb += checker.job.payload.job.eq(self.job.payload)

    def _connect_status(self, m):
        """Refusals go first, then layers: they are rare, and a completed job can wait."""
        sources = (self._checker.refused, self._walker.status, self._controller.status)
        m.submodules.status_queue = queue = StreamQueue(payloads.job_status(self.config), depth=4)
        earlier = Const(0)
        for source in sources:
            with m.If(source.valid & ~earlier):
                m.d.comb += [queue.i.valid.eq(1), queue.i.payload.eq(source.payload), source.ready.eq(queue.i.ready)]
            earlier = earlier | source.valid
        connect(m, queue.o, flipped(self.status))

    def _connect_cascade(self, m):
        """Importance beside the way of the rows; its selection becomes the next id list."""
        checker, controller, walker, fetcher = self._checker, self._controller, self._walker, self._fetcher
        tokens, heads, select = self._tokens, self._heads, self._select
        connect(m, walker.head_entry, heads.entry)
        connect(m, select.o, flipped(self.survivor))
        # The list is not written while a job uses it, nor importance read while a job adds to it.
        free = controller.list_free.bit_select(walker.select.payload.list, 1)
        m.d.comb += [
            select.command.payload.eq(walker.select.payload),
            select.command.valid.eq(walker.select.valid & free),
            walker.select.ready.eq(select.command.ready & free),
            walker.selected.eq(select.done),
            walker.list_index.eq(~checker.current),
            checker.selected.eq(select.done),
            checker.survivors.eq(select.num_survivors),
            checker.last_id.eq(select.last_id),
            # A new list begins anew.
            heads.clear.eq(walker.void | (checker.id_write.valid & checker.id_write.payload.first)),
            heads.update.eq(select.update),
            heads.count.eq(select.head_count),
            select.head_busy.eq(heads.busy),
            heads.read_en.eq(select.head_read_en),
            heads.read_rank.eq(select.head_rank),
            select.head_id.eq(heads.head),
            select.head_importance.eq(heads.importance),
            tokens.fold.eq(select.fold),
            select.token_busy.eq(tokens.busy),
            tokens.read_en.eq(select.token_read_en),
            tokens.read_word.eq(select.token_word),
            select.token_ids.eq(tokens.ids),
            select.token_importance.eq(tokens.importance),
            tokens.accumulate.eq(controller.accumulate),
            # Checker and selection never write at the same time.
            fetcher.ids.valid.eq(checker.id_write.valid | select.id_write.valid),
            fetcher.ids.payload.eq(checker.id_write.payload),
            checker.id_write.ready.eq(fetcher.ids.ready),
            select.id_write.ready.eq(fetcher.ids.ready),
            tokens.write.valid.eq(fetcher.ids.valid & fetcher.ids.ready),
            tokens.write.payload.eq(fetcher.ids.payload),
        ]
        with m.If(select.id_write.valid):
            m.d.comb += fetcher.ids.payload.eq(select.id_write.payload)

    def _connect_fetcher(self, m):
        controller, fetcher = self._controller, self._fetcher
        for name in ("key", "key_lsb", "value", "gather_command", "query_request"):
            connect(m, getattr(controller, name), getattr(fetcher, name))
        connect(m, fetcher.query, controller.query_elements)
        connect(m, self._pruner.gather, fetcher.gather)
        for writes, buffer in ((fetcher.key_write, self._key_buffer), (fetcher.value_write, self._value_buffer)):
            for bank, write in enumerate(writes):
                connect(m, write, buffer.write[bank])
        for channel, port in enumerate(self.memory):
            connect(m, fetcher.memory[channel], flipped(port))
        m.d.comb += [
            controller.key_lsb_done.eq(fetcher.key_lsb_done),
            self._qk.ready.eq(fetcher.key_ready),
            self._pv.ready.eq(fetcher.value_ready),
        ]

    def _connect_rows(self, m):
        """The way of a row: Q×K, softmax, pruning, prob×V."""
        controller, qk, softmax, pruner, pv = self._controller, self._qk, self._softmax, self._pruner, self._pv
        m.submodules.score_fork = fork = StreamFork(payloads.score_line(self.config), num_outputs=2)
        connect(m, controller.query, qk.query)
        connect(m, qk.read, self._key_buffer.read)
        connect(m, qk.row, controller.row)
        connect(m, qk.line, fork.i)
        connect(m, fork.o[0], softmax.line)
        connect(m, fork.o[1], pruner.score)
        connect(m, controller.softmax_row, softmax.row)
        connect(m, controller.prune_row, pruner.score_row)
        connect(m, softmax.line_out, pruner.line)
        connect(m, softmax.row_out, pruner.row)
        connect(m, pruner.gather_row, controller.gather_row)
        connect(m, pruner.value_line, pv.line)
        # Only when V of the job is commanded, its region is known.
        context = pruner.value_row.payload.tag.context
        commanded = controller.values_commanded.bit_select(context, 1)
        m.d.comb += [
            *(
                pv.row.payload[name].eq(pruner.value_row.payload[name])
                for name in pruner.value_row.payload.shape().members
            ),
            pv.row.payload.slot.eq(Array(controller.value_slot)[context]),
            pv.row.payload.seq.eq(Array(controller.value_seq)[context]),
            pv.row.valid.eq(pruner.value_row.valid & commanded),
            pruner.value_row.ready.eq(pv.row.ready & commanded),
        ]
        connect(m, pv.read, self._value_buffer.read)
        m.d.comb += [
            controller.row_read.eq(qk.row_read),
            controller.row_read_context.eq(qk.row_read_context),
            controller.row_read_low.eq(qk.row_read_low),
            controller.value_done.eq(pv.done),
            controller.value_done_tag.eq(pv.done_tag),
        ]
        m.d.sync += [
            controller.decided.eq(pruner.decided),
            controller.decided_tag.eq(pruner.decided_tag),
            controller.decided_flat.eq(pruner.decided_flat),
        ]

    def _connect_results(self, m):
        controller, out, prob = self._controller, self._pv.o, self._pruner.prob
        job_ids = Array(record.job_id for record in controller.record)
        heads = Array(record.head for record in controller.record)
        tokens, total = self._tokens, self._heads.add
        m.d.comb += [
            self.out.valid.eq(out.valid),
            out.ready.eq(self.out.ready),
            self.out.payload.job_id.eq(job_ids[out.payload.tag.context]),
            self.out.payload.head.eq(heads[out.payload.tag.context]),
            self.out.payload.query.eq(out.payload.tag.query),
            self.out.payload.second.eq(out.payload.tag.second),
            controller.output.eq(out.valid & out.ready & out.payload.last),
            controller.output_context.eq(out.payload.tag.context),
            total.valid.eq(controller.output & controller.accumulate.bit_select(out.payload.tag.context, 1)),
            total.payload.rank.eq(heads[out.payload.tag.context] + out.payload.tag.group),
            total.payload.abs_sum.eq(out.payload.abs_sum),
        ]
        m.d.comb += [self.out.payload[name].eq(out.payload[name]) for name in ("last", "abs_sum", "values")]
        m.d.comb += [
            self.prob.valid.eq(prob.valid),
            prob.ready.eq(self.prob.ready),
            self.prob.payload.job_id.eq(job_ids[prob.payload.a_tag.context]),
            self.prob.payload.head.eq(heads[prob.payload.a_tag.context]),
            self.prob.payload.a_query.eq(prob.payload.a_tag.query),
            self.prob.payload.b_query.eq(prob.payload.b_tag.query),
            controller.probs.eq(prob.valid & prob.ready & prob.payload.a_last & ~prob.payload.a_drop),
            controller.probs_context.eq(prob.payload.a_tag.context),
            tokens.probs.valid.eq(prob.valid & prob.ready),
            tokens.probs.payload.eq(prob.payload),
        ]
        copied = ("start", "a_count", "b_count", "a_drop", "b_drop", "probs")
        m.d.comb += [self.prob.payload[name].eq(prob.payload[name]) for name in copied]

    def _connect_counters(self, m):
        controller, qk, pruner, pv, fetcher = self._controller, self._qk, self._pruner, self._pv, self._fetcher
        events = self._counters.events
        refused = self._checker.refused
        m.d.comb += [
            events.cycles.eq(controller.active | self._walker.busy),
            events.jobs.eq(controller.layer_done | (controller.status.valid & controller.status.ready)),
            events.layers.eq(self._walker.status.valid & self._walker.status.ready),
            events.select_cycles.eq(self._select.busy),
            events.jobs_refused.eq(refused.valid & refused.ready),
            events.rows.eq(controller.decided & ~controller.decided_flat),
            events.flat_rows.eq(controller.decided & controller.decided_flat),
            events.topk_rows.eq(pruner.topk_rows),
            events.topk_busy.eq(pruner.topk_busy),
            events.prune_stall_topk.eq(pruner.stall_topk),
            events.pv_beats.eq(pv.busy),
            events.pv_stall_line.eq(pv.stall_line),
            events.pv_stall_value.eq(pv.stall_value),
            events.pv_stall_out.eq(pv.stall_out),
            events.query_words.eq(fetcher.read_words[payloads.QUERY]),
            events.key_words.eq(fetcher.read_words[payloads.KEY]),
            events.key_lsb_words.eq(fetcher.read_words[payloads.KEY_LSB]),
            events.value_words.eq(fetcher.read_words[payloads.VALUE]),
            self._counters.clear.eq(self.counters_clear),
            self.counters.eq(self._counters.values),
            events.qk_beats.eq(qk.busy),
            events.qk_useful.eq(qk.useful),
            events.qk_stall_query.eq(qk.stall_query),
            events.qk_stall_key.eq(qk.stall_key),
            events.qk_stall_out.eq(qk.stall_out),
        ]
