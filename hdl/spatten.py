"""The accelerator: attention of whole heads, from jobs and packed tensors in memory to outputs."""

from __future__ import annotations

from amaranth.hdl import Module
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out, connect, flipped

from hdl.cascade.cascade_select import CascadeSelect
from hdl.cascade.head_importance import HeadImportance
from hdl.cascade.token_importance import TokenImportance
from hdl.control.controller import Controller
from hdl.control.counters import Counters, counters_layout
from hdl.control.job_checker import JobChecker
from hdl.control.job_results import JobResults
from hdl.control.layer_walker import LayerWalker
from hdl.control.row_placer import RowPlacer
from hdl.control.status_merge import StatusMerge
from hdl.fetch.fetcher import Fetcher
from hdl.fetch.kv_buffer import KVBuffer
from hdl.pruning.value_pruner import ValuePruner
from hdl.pv.prob_times_v import ProbTimesV
from hdl.qk.qk_multiply import QKMultiply
from hdl.softmax.softmax import Softmax
from hdl.spec import payloads
from hdl.spec.config import Config
from hdl.spec.planes import PLANES
from hdl.stream.stream_fork import StreamFork

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
    window_limit : In(address_width + 1)         first word after them
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
        m.submodules.checker = JobChecker(config)
        m.submodules.walker = LayerWalker(config)
        m.submodules.controller = Controller(config)
        m.submodules.fetcher = Fetcher(config)
        m.submodules.key_buffer = KVBuffer(config, slots=config.key_slots, banks_per_lane=config.banks_per_lane)
        m.submodules.value_buffer = KVBuffer(config, slots=config.value_slots, banks_per_lane=1)
        m.submodules.qk = QKMultiply(config)
        m.submodules.score_fork = StreamFork(payloads.score_line(config), num_outputs=2)
        m.submodules.softmax = Softmax(config)
        m.submodules.pruner = ValuePruner(config)
        m.submodules.placer = RowPlacer(config)
        m.submodules.pv = ProbTimesV(config)
        m.submodules.tokens = TokenImportance(config)
        m.submodules.head_table = HeadImportance(config)
        m.submodules.select = CascadeSelect(config)
        m.submodules.results = JobResults(config)
        m.submodules.statuses = StatusMerge(config)
        m.submodules.counters = Counters(config)
        self._connect_jobs(m)
        self._connect_memory(m)
        self._connect_answers(m)
        _connect_lists(m)
        _connect_cascade(m)
        _connect_fetcher(m)
        _connect_rows(m)
        _connect_results(m)
        _connect_counters(m)
        return m

    def _connect_jobs(self, m):
        """Requests of the layer walker, and between layers the host's jobs, to the checker and on to the controller."""
        blocks = m.submodules
        checker, controller, walker = blocks.checker, blocks.controller, blocks.walker
        connect(m, flipped(self.layer), walker.layer)
        connect(m, flipped(self.heads), walker.heads)
        connect(m, flipped(self.ids), checker.ids)
        connect(m, checker.accepted, controller.job)
        connect(m, checker.answer, walker.answer)
        m.d.comb += [
            checker.list_free.eq(controller.list_free & (~blocks.tokens.busy).replicate(2)),
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

    def _connect_memory(self, m):
        blocks = m.submodules
        for channel, port in enumerate(self.memory):
            connect(m, blocks.fetcher.memory[channel], flipped(port))
        m.d.comb += [
            blocks.checker.window_base.eq(self.window_base),
            blocks.checker.window_limit.eq(self.window_limit),
        ]

    def _connect_answers(self, m):
        """Results, answers and counters to the host."""
        blocks = m.submodules
        connect(m, blocks.results.out, flipped(self.out))
        connect(m, blocks.results.prob, flipped(self.prob))
        connect(m, blocks.select.o, flipped(self.survivor))
        connect(m, blocks.checker.refused, blocks.statuses.refused)
        connect(m, blocks.walker.status, blocks.statuses.layer)
        connect(m, blocks.controller.status, blocks.statuses.job)
        connect(m, blocks.statuses.o, flipped(self.status))
        m.d.comb += [self.counters.eq(blocks.counters.values), blocks.counters.clear.eq(self.counters_clear)]


def _connect_lists(m):
    """A new list of the host, or the survivors of a selection, to the fetcher and to the importance of tokens."""
    blocks = m.submodules
    checker, select, tokens, fetcher = blocks.checker, blocks.select, blocks.tokens, blocks.fetcher
    m.d.comb += [
        blocks.walker.list_index.eq(~checker.current),
        checker.selected.eq(select.done),
        checker.survivors.eq(select.num_survivors),
        checker.last_id.eq(select.last_id),
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


def _connect_cascade(m):
    """Importance beside the way of the rows, and its selection."""
    blocks = m.submodules
    checker, controller, walker = blocks.checker, blocks.controller, blocks.walker
    tokens, heads, select, prob = blocks.tokens, blocks.head_table, blocks.select, blocks.pruner.prob
    connect(m, walker.head_entry, heads.entry)
    connect(m, blocks.results.head_sum, heads.add)
    # The list is not written while a job uses it, nor importance read while a job adds to it.
    free = controller.list_free.bit_select(walker.select.payload.list, 1)
    m.d.comb += [
        select.command.payload.eq(walker.select.payload),
        select.command.valid.eq(walker.select.valid & free),
        walker.select.ready.eq(select.command.ready & free),
        walker.selected.eq(select.done),
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
        tokens.probs.valid.eq(prob.valid & prob.ready),
        tokens.probs.payload.eq(prob.payload),
    ]


def _connect_fetcher(m):
    """What is loaded, and to where."""
    blocks = m.submodules
    controller, fetcher = blocks.controller, blocks.fetcher
    for name in ("key", "key_lsb", "value", "gather_command", "query_request"):
        connect(m, getattr(controller, name), getattr(fetcher, name))
    connect(m, fetcher.query, controller.query_elements)
    connect(m, blocks.pruner.gather, fetcher.gather)
    for writes, buffer in ((fetcher.key_write, blocks.key_buffer), (fetcher.value_write, blocks.value_buffer)):
        for bank, write in enumerate(writes):
            connect(m, write, buffer.write[bank])
    m.d.comb += [
        controller.key_lsb_done.eq(fetcher.key_lsb_done),
        blocks.qk.ready.eq(fetcher.key_ready),
        blocks.pv.ready.eq(fetcher.value_ready),
    ]


def _connect_rows(m):
    """The way of a row: Q×K, softmax, pruning, prob×V."""
    blocks = m.submodules
    controller, qk, softmax, pruner, pv = blocks.controller, blocks.qk, blocks.softmax, blocks.pruner, blocks.pv
    fork, placer = blocks.score_fork, blocks.placer
    connect(m, controller.query, qk.query)
    connect(m, qk.read, blocks.key_buffer.read)
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
    connect(m, pruner.value_row, placer.i)
    connect(m, placer.o, pv.row)
    connect(m, pv.read, blocks.value_buffer.read)
    m.d.comb += [
        placer.commanded.eq(controller.values_commanded),
        *(mine.eq(slot) for mine, slot in zip(placer.slot, controller.value_slot, strict=True)),
        *(mine.eq(seq) for mine, seq in zip(placer.seq, controller.value_seq, strict=True)),
    ]


def _connect_results(m):
    """Results, and what the controller is told of rows."""
    blocks = m.submodules
    controller, results, qk, pruner, pv = blocks.controller, blocks.results, blocks.qk, blocks.pruner, blocks.pv
    connect(m, pv.o, results.output)
    connect(m, pruner.prob, results.probs)
    connect(m, results.output_left, controller.output)
    connect(m, results.probs_left, controller.probs)
    m.d.comb += [
        results.accumulate.eq(controller.accumulate),
        *(mine.eq(record) for mine, record in zip(results.record, controller.record, strict=True)),
        controller.row_read.valid.eq(qk.row_read),
        controller.row_read.payload.context.eq(qk.row_read_context),
        controller.row_read.payload.low.eq(qk.row_read_low),
        controller.value_done.valid.eq(pv.done),
        controller.value_done.payload.eq(pv.done_tag),
    ]
    m.d.sync += [
        controller.decided.valid.eq(pruner.decided),
        controller.decided.payload.tag.eq(pruner.decided_tag),
        controller.decided.payload.flat.eq(pruner.decided_flat),
    ]


def _connect_counters(m):
    """What is counted."""
    blocks = m.submodules
    controller, walker, fetcher, events = blocks.controller, blocks.walker, blocks.fetcher, blocks.counters.events
    decided, refused = controller.decided, blocks.checker.refused
    m.d.comb += [
        events.cycles.eq(controller.active | walker.busy),
        events.jobs.eq(controller.layer_done | (controller.status.valid & controller.status.ready)),
        events.jobs_refused.eq(refused.valid & refused.ready),
        events.layers.eq(walker.status.valid & walker.status.ready),
        events.select_cycles.eq(blocks.select.busy),
        events.rows.eq(decided.valid & ~decided.payload.flat),
        events.flat_rows.eq(decided.valid & decided.payload.flat),
        events.qk_beats.eq(blocks.qk.busy),
        events.topk_rows.eq(blocks.pruner.topk_rows),
        events.topk_busy.eq(blocks.pruner.topk_busy),
        events.prune_stall_topk.eq(blocks.pruner.stall_topk),
        events.pv_beats.eq(blocks.pv.read.en),
    ]
    for prefix, block, names in (
        ("qk", blocks.qk, ("useful", "stall_query", "stall_key", "stall_out")),
        ("pv", blocks.pv, ("stall_line", "stall_value", "stall_out")),
    ):
        m.d.comb += [events[f"{prefix}_{name}"].eq(getattr(block, name)) for name in names]
    for plane in PLANES:
        m.d.comb += events[f"{plane}_words"].eq(fetcher.read_words[getattr(payloads, plane.upper())])
