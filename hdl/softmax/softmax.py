"""Softmax without the division: exponentials of every score, sum and reciprocal of every row."""

from __future__ import annotations

from amaranth.hdl import Cat, Module, Mux, Signal, Value
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

from hdl.softmax.exponential import Exponent, Exponential
from hdl.softmax.part_origin import PartOrigin
from hdl.softmax.row_finish import RowFinish
from hdl.softmax.row_max import RowMax
from hdl.softmax.row_queue import RowQueue, row_factors
from hdl.softmax.segment_sum import SegmentSum
from hdl.spec import payloads
from hdl.spec.config import Config
from hdl.spec.widths import signed
from hdl.stream.stream_fork import StreamFork
from hdl.stream.stream_queue import StreamQueue
from hdl.stream.stream_skid import StreamSkid

__all__ = ["Softmax"]


class Softmax(wiring.Component):
    """Exponentials relative to the row maximum, and per row their sum, its reciprocal and flatness (paper Fig. 8).

    Where jobs can be chained, the exponentials of such a job are relative to a whole octave of the chain, and its
    reciprocals are those of all sums of the chain so far (:class:`PartOrigin`, :class:`SumFold`).

    Lines wait in a queue until the maxima of their rows are known; the first of them leaves ``latency`` cycles after
    the last line of these rows has come. ``row_out`` gives a row ``sum_latency`` cycles after its last line was taken.
    One line a cycle, rows of any length back to back. Bit-exact with :mod:`golden.datapath.integer`: row_max, exponent,
    exp2_neg, exps, reciprocal, is_flat.

    Members
    -------
    line : In(stream.Signature(score_line))
    row : In(stream.Signature(softmax_row))      one per row, in row order, at the latest with the row's first line
    line_out : Out(stream.Signature(exp_line))   every line, with exps UQ1.16
    row_out : Out(stream.Signature(row_sum))     one per row, in row order; lines wait only if ~32 rows are not taken
    """

    DEPTH = Exponent.LATENCY + Exponential.LATENCY
    """Stages of the lanes."""

    def __init__(self, config: Config):
        self.config = config
        super().__init__(
            {
                "line": In(stream.Signature(payloads.score_line(config))),
                "row": In(stream.Signature(payloads.softmax_row(config))),
                "line_out": Out(stream.Signature(payloads.exp_line(config))),
                "row_out": Out(stream.Signature(payloads.row_sum(config))),
            }
        )

    @staticmethod
    def latency_of(config: Config) -> int:
        """Cycles from the last line of a line's rows to the line: the maximum passes a queue in 2, and a row queue."""
        return RowMax.latency_of(config) + 2 + 1 + Softmax.DEPTH

    @staticmethod
    def sum_latency_of(config: Config) -> int:
        """Cycles from a row's last line, as it is taken from ``line_out``, to its sum."""
        return SegmentSum.latency_of(config) + RowFinish.latency_of(config)

    @property
    def latency(self) -> int:
        return self.latency_of(self.config)

    @property
    def sum_latency(self) -> int:
        return self.sum_latency_of(self.config)

    def elaborate(self, platform):
        m = Module()
        m.submodules.window = window = RowQueue(self.config)
        m.submodules.sums = sums = SegmentSum(self.config)
        m.submodules.finish = finish = RowFinish(self.config)
        wiring.connect(m, window.facts, finish.facts)
        wiring.connect(m, finish.o, wiring.flipped(self.row_out))
        self._exponentials(m, window, self._enter(m, window))
        m.d.comb += [
            sums.valid.eq(self.line_out.valid & self.line_out.ready),
            sums.line.eq(self.line_out.payload),
            finish.sum_valid.eq(sums.sum_valid),
            finish.exp_sum.eq(sums.exp_sum),
        ]
        return m

    def _enter(self, m: Module, window: RowQueue) -> stream.Interface:
        """Queues of lines, of maxima and of row parameters; returns the lines."""
        shape = payloads.score_line(self.config)
        m.submodules.fork = fork = StreamFork(shape, num_outputs=2)
        m.submodules.lines = lines = StreamQueue(shape, depth=self.config.line_queue)
        m.submodules.row_max = row_max = RowMax(self.config)
        m.submodules.maxima = maxima = StreamQueue(signed(self.config.score_width), depth=4)
        m.submodules.rows = rows = StreamQueue(payloads.softmax_row(self.config), depth=16)
        wiring.connect(m, wiring.flipped(self.line), fork.i)
        wiring.connect(m, fork.o[0], lines.i)
        wiring.connect(m, fork.o[1], row_max.i)
        wiring.connect(m, row_max.o, maxima.i)
        entry = self._place(m, window) if self.config.chained else window
        wiring.connect(m, maxima.o, entry.maximum)
        wiring.connect(m, wiring.flipped(self.row), rows.i)
        wiring.connect(m, rows.o, entry.row)
        m.submodules.skid = skid = StreamSkid(shape)
        wiring.connect(m, lines.o, skid.i)
        return skid.o

    def _place(self, m: Module, window: RowQueue) -> PartOrigin:
        """Gives rows their octaves; both inputs of the window are taken together."""
        m.submodules.origin = origin = PartOrigin(self.config)
        m.d.comb += [
            window.maximum.payload.eq(origin.o.payload.maximum),
            window.row.payload.eq(origin.o.payload.row),
            window.maximum.valid.eq(origin.o.valid),
            window.row.valid.eq(origin.o.valid),
            origin.o.ready.eq(window.row.ready),
        ]
        return origin

    def _exponentials(self, m: Module, window: RowQueue, lines: stream.Interface) -> None:
        """A register for the line at the head, the lanes, and a queue that carries the rest of the line past them."""
        shape, lanes = payloads.score_line(self.config), range(self.config.lanes)
        head, has_b = Signal(shape, reset_less=True), Signal(reset_less=True)
        in_a = Signal(len(lanes), reset_less=True)
        head_valid, take, en = Signal(), Signal(), Signal()
        valid = Signal(self.DEPTH)
        m.d.comb += [
            en.eq(~valid[-1] | self.line_out.ready),
            take.eq(en & head_valid & Mux(has_b, window.b_valid, window.a_valid)),
            lines.ready.eq(~head_valid | take),
            window.take.eq(take & head.a_last),
            self.line_out.valid.eq(valid[-1]),
        ]
        with m.If(lines.ready):
            line = lines.payload
            m.d.sync += [
                head_valid.eq(lines.valid),
                head.eq(line),
                has_b.eq(line.b_count != 0),
                in_a.eq(Cat(lane < line.a_count for lane in lanes)),
            ]
        with m.If(en):
            m.d.sync += valid.eq(Cat(take, valid))
        used = head.a_count + head.b_count
        for lane in lanes:
            factors = Signal(row_factors(self.config), name=f"factors_{lane}")
            m.d.comb += factors.eq(Mux(in_a[lane], window.rows[0], window.rows[1]))
            exp = self._lane(m, lane, en, factors, head.scores[lane], lane < used)
            m.d.comb += self.line_out.payload.exps[lane].eq(exp)
        m.submodules.carry = carry = StreamQueue(shape, depth=self.DEPTH + 3)
        m.d.comb += [carry.i.valid.eq(take), carry.i.payload.eq(head)]
        m.d.comb += carry.o.ready.eq(valid[-1] & self.line_out.ready)
        m.d.comb += [self.line_out.payload[name].eq(carry.o.payload[name]) for name in shape.members]

    def _lane(self, m: Module, lane: int, en: Value, factors: data.View, score: Value, keep: Value) -> Value:
        m.submodules[f"exponent_{lane}"] = exponent = Exponent(self.config)
        m.submodules[f"exponential_{lane}"] = exponential = Exponential(self.config)
        m.d.comb += [
            exponent.en.eq(en),
            exponent.maximum.eq(factors.maximum),
            exponent.score.eq(score),
            exponent.scale.eq(factors.scale),
            exponent.shift.eq(factors.shift),
            exponent.keep.eq(keep),
            *([exponent.offset.eq(factors.offset)] if self.config.chained else []),
            exponential.en.eq(en),
            exponential.x.eq(exponent.x),
        ]
        return exponential.e
