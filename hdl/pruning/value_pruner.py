"""Local value pruning: the V rows that matter little to a query are left out (paper sections III-C and IV)."""

from __future__ import annotations

from amaranth.hdl import Module, Mux, Signal
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

from hdl.pruning.line_filter import LineFilter, filter_row
from hdl.pruning.probability import Probability
from hdl.pruning.row_window import RowWindow
from hdl.pruning.threshold_finder import ThresholdFinder
from hdl.pruning.value_compactor import ValueCompactor
from hdl.spec import payloads
from hdl.spec.config import Config
from hdl.spec.widths import bits_for_count
from hdl.stream.stream_fork import StreamFork
from hdl.stream.stream_queue import StreamQueue

__all__ = ["ValuePruner"]


class ValuePruner(wiring.Component):
    """Keeps the k largest lanes of each row of exponentials, by the scores they were made of.

    Score lines (a copy of what softmax gets) go to the top-k engines while softmax works; the exp lines wait here until
    the sums and thresholds of their rows are known, at most ``line_queue`` of them. Every line also becomes a line of
    probabilities. A row that is not gathered passes with its geometry and exponentials of 0 in its pruned lanes; of a
    gathered row (alone in its lines, ``start`` a multiple of S) the survivors are pushed together, and keep masks say
    which V rows to fetch. A flat row is dropped: weights 0 and ``value_row.drop``, or, if gathered, nothing at all.

    One line a cycle. With sum and threshold there, a line becomes a value line or keep mask in ``LATENCY`` cycles and
    probabilities after ``PROB_LATENCY``; compaction of gathered rows adds :attr:`ValueCompactor.latency`. A
    line that waits becomes a value line ``SUM_LATENCY`` cycles after its row's sum or threshold.

    Members
    -------
    score : In(stream.Signature(score_line(config)))      copy of softmax's input; held back only if the engines are
                                                          busy, or by ``ROWS`` unfinished rows
    score_row : In(stream.Signature(prune_row(config)))   in row order, at the latest with the row's first score line
    line : In(stream.Signature(exp_line(config)))         the same lines from softmax
    row : In(stream.Signature(row_sum(config)))           one per row
    value_line : Out(stream.Signature(value_line(config)))
    value_row : Out(stream.Signature(value_row(config)))  not later than the row's first value line
    gather_row : Out(stream.Signature(row_tag(config)))   gathered rows that are not flat, before their gather lines
    gather : Out(stream.Signature(gather_line(config)))
    prob : Out(stream.Signature(prob_line(config)))
    decided, decided_tag, decided_flat : Out              pulse when a row sum is taken, and what it said
    topk_busy : Out(n)                                    engines at work
    topk_rows : Out(1)                                    pulse per threshold found
    stall_topk : Out(1)                                   lines wait for nothing but a threshold
    """

    ROWS = 32
    """Rows between their parameters and their sum and threshold: covers softmax's latency with rows of one line."""
    LATENCY = 2 + LineFilter.LATENCY + 2 + 2
    PROB_LATENCY = LATENCY - 2 + Probability.LATENCY
    SUM_LATENCY = LATENCY + 1
    """Cycles from a row's sum, or its threshold, to the value line of a line that waited for it."""
    _ROW_QUEUE = 8

    def __init__(self, config: Config):
        self.config = config
        super().__init__(
            {
                "score": In(stream.Signature(payloads.score_line(config))),
                "score_row": In(stream.Signature(payloads.prune_row(config))),
                "line": In(stream.Signature(payloads.exp_line(config))),
                "row": In(stream.Signature(payloads.row_sum(config))),
                "value_line": Out(stream.Signature(payloads.value_line(config))),
                "value_row": Out(stream.Signature(payloads.value_row(config))),
                "gather_row": Out(stream.Signature(payloads.row_tag(config))),
                "gather": Out(stream.Signature(payloads.gather_line(config))),
                "prob": Out(stream.Signature(payloads.prob_line(config))),
                "decided": Out(1),
                "decided_tag": Out(payloads.row_tag(config)),
                "decided_flat": Out(1),
                "topk_busy": Out(bits_for_count(config.num_topk_engines)),
                "topk_rows": Out(1),
                "stall_topk": Out(1),
            }
        )

    @property
    def value_depth(self) -> int:
        """Value lines that may wait while their V rows are fetched: as many as there are words in flight."""
        return max(8, self.config.outstanding)

    def elaborate(self, platform):
        m = Module()
        m.submodules.finder = finder = ThresholdFinder(self.config)
        m.submodules.window = window = RowWindow(filter_row(self.config))
        m.submodules.filter = line_filter = LineFilter(self.config)
        entry = data.StructLayout({"line": self.line.payload.shape(), "has_b": 1})
        m.submodules.lines = lines = StreamQueue(entry, depth=self.config.line_queue)
        m.submodules.kept = kept = StreamQueue(line_filter.o.payload.shape(), depth=3)
        wiring.connect(m, wiring.flipped(self.score), finder.line)
        wiring.connect(m, line_filter.o, kept.i)
        m.d.comb += [
            self.topk_busy.eq(finder.busy),
            self.topk_rows.eq(finder.done),
            lines.i.valid.eq(self.line.valid),
            lines.i.payload.line.eq(self.line.payload),
            lines.i.payload.has_b.eq(self.line.payload.b_count != 0),
            self.line.ready.eq(lines.i.ready),
        ]

        waiting = self.join_rows(m, finder, window)
        known = Signal()
        m.d.comb += [
            known.eq(window.a_valid & (~lines.o.payload.has_b | window.b_valid)),
            line_filter.i.payload.line.eq(lines.o.payload.line),
            line_filter.i.payload.a.eq(window.a),
            line_filter.i.payload.b.eq(window.b),
            line_filter.i.valid.eq(lines.o.valid & known),
            lines.o.ready.eq(line_filter.i.ready & known),
            window.advance.eq(lines.o.valid & lines.o.ready & lines.o.payload.line.a_last),
        ]
        m.d.sync += self.stall_topk.eq(lines.o.valid & ~known & waiting)
        self.hand_out(m, kept.o)
        return m

    def join_rows(self, m: Module, finder: ThresholdFinder, window: RowWindow) -> Signal:
        """Bring sum, threshold and parameters of each row together; returns that only the threshold is missing."""
        m.submodules.fork = fork = StreamFork(self.score_row.payload.shape(), num_outputs=2)
        m.submodules.facts = facts = StreamQueue(self.score_row.payload.shape(), depth=self.ROWS)
        m.submodules.sums = sums = StreamQueue(self.row.payload.shape(), depth=8)
        wiring.connect(m, wiring.flipped(self.score_row), fork.i)
        wiring.connect(m, fork.o[0], finder.row)
        wiring.connect(m, fork.o[1], facts.i)
        wiring.connect(m, wiring.flipped(self.row), sums.i)
        m.d.sync += [
            self.decided.eq(self.row.valid & self.row.ready),
            self.decided_tag.eq(self.row.payload.tag),
            self.decided_flat.eq(self.row.payload.flat),
        ]

        fact, row_sum = facts.o.payload, sums.o.payload
        there, waiting, room, step = Signal(), Signal(), Signal(), Signal()
        m.d.comb += [
            there.eq(facts.o.valid & sums.o.valid & (~fact.prune | finder.o.valid)),
            waiting.eq(facts.o.valid & sums.o.valid & fact.prune & ~finder.o.valid),
            step.eq(there & room),
            facts.o.ready.eq(step),
            sums.o.ready.eq(step),
            finder.o.ready.eq(step & fact.prune),
            window.i.valid.eq(step),
            window.i.payload.prune.eq(fact.prune),
            window.i.payload.selection.eq(finder.o.payload),
            window.i.payload.facts.gather.eq(fact.gather),
            window.i.payload.facts.log_slices.eq(fact.log_slices),
        ]
        m.d.comb += [window.i.payload.facts[name].eq(row_sum[name]) for name in ("tag", "recip", "pe", "flat")]
        gathered = Signal.like(fact.log_slices, name="gathered", reset_less=True)  # of the last row that is compacted
        m.d.comb += window.i.payload.facts.resized.eq(fact.gather & (fact.log_slices != gathered))
        with m.If(step & fact.gather & ~row_sum.flat):
            m.d.sync += gathered.eq(fact.log_slices)
        m.d.comb += room.eq(window.i.ready & self.hand_out_rows(m, fact, row_sum, step))
        return waiting

    def hand_out_rows(self, m: Module, fact, row_sum, step: Signal) -> Signal:
        """Rows to the blocks that follow, a few cycles before their first lines; returns that there is room for one."""
        m.submodules.value_rows = value_rows = StreamQueue(self.value_row.payload.shape(), depth=self._ROW_QUEUE)
        m.submodules.gather_rows = gather_rows = StreamQueue(self.gather_row.payload.shape(), depth=self._ROW_QUEUE)
        wiring.connect(m, value_rows.o, wiring.flipped(self.value_row))
        wiring.connect(m, gather_rows.o, wiring.flipped(self.gather_row))
        entry = value_rows.i.payload
        m.d.comb += [entry[name].eq(row_sum[name]) for name in ("tag", "recip", "pe", *payloads.fold(self.config))]
        m.d.comb += [entry[name].eq(fact[name]) for name in ("log_slices", "dim")]
        m.d.comb += [
            entry.drop.eq(row_sum.flat),
            value_rows.i.valid.eq(step & ~(fact.gather & row_sum.flat)),
            gather_rows.i.payload.eq(row_sum.tag),
            gather_rows.i.valid.eq(step & fact.gather & ~row_sum.flat),
        ]
        return value_rows.i.ready & gather_rows.i.ready

    def hand_out(self, m: Module, kept):
        """Each line to probabilities and, as it is or compacted, to the value lines; keep masks to the fetcher."""
        m.submodules.probability = probability = Probability(self.config)
        m.submodules.compactor = compactor = ValueCompactor(self.config)
        m.submodules.values = values = StreamQueue(self.value_line.payload.shape(), depth=self.value_depth)
        m.submodules.masks = masks = StreamQueue(self.gather.payload.shape(), depth=16)
        wiring.connect(m, probability.o, wiring.flipped(self.prob))
        wiring.connect(m, values.o, wiring.flipped(self.value_line))
        wiring.connect(m, masks.o, wiring.flipped(self.gather))

        line, entry = kept.payload, values.i.payload
        gathers, direct, step = Signal(), Signal(), Signal()
        m.d.comb += [
            gathers.eq(line.a.gather & ~line.a.flat),
            direct.eq(~line.a.gather),
            # Value lines keep the order of rows: none overtakes a gathered row that is being compacted.
            kept.ready.eq(
                probability.i.ready
                & (~gathers | (compactor.i.ready & masks.i.ready))
                & (~direct | (compactor.empty & values.i.ready))
            ),
            step.eq(kept.valid & kept.ready),
            probability.i.payload.eq(line),
            probability.i.valid.eq(step),
            compactor.i.payload.eq(line),
            compactor.i.valid.eq(step & gathers),
            masks.i.payload.start.eq(line.start),
            masks.i.payload.keep.eq(line.keep),
            masks.i.payload.last.eq(line.a_last),
            masks.i.valid.eq(step & gathers),
            compactor.o.ready.eq(values.i.ready),
            values.i.valid.eq(compactor.o.valid | (step & direct)),
        ]
        with m.If(compactor.o.valid):
            m.d.comb += entry.eq(compactor.o.payload)
        with m.Else():
            m.d.comb += [entry[name].eq(line[name]) for name in payloads.line_shape(self.config)]
            m.d.comb += [
                entry.exps[lane].eq(Mux(line.keep[lane], line.exps[lane], 0)) for lane in range(self.config.lanes)
            ]
