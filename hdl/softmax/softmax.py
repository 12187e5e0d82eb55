"""Softmax without the division: exponentials of every score, sum and reciprocal of every row."""

from __future__ import annotations

from amaranth.hdl import Cat, Module, Mux, Signal, Value
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

from hdl.softmax.exponential import Exponent, Exponential, delayed
from hdl.softmax.flatness_check import FlatnessCheck
from hdl.softmax.reciprocal import Reciprocal
from hdl.softmax.row_max import RowMax
from hdl.spec import numerics as N
from hdl.spec import payloads
from hdl.spec.config import Config
from hdl.spec.widths import signed
from hdl.stream.stream_fork import StreamFork
from hdl.stream.stream_queue import StreamQueue
from hdl.stream.stream_skid import StreamSkid

__all__ = ["Softmax"]


def _facts(config: Config) -> data.StructLayout:
    """What a row needs when its sum is known."""
    row = payloads.softmax_row(config).members
    return data.StructLayout({name: row[name] for name in ("tag", "flat_limit", "check")})


def _factors(config: Config) -> data.StructLayout:
    """What a row's lines need."""
    return data.StructLayout(
        {
            "maximum": signed(config.score_width),
            "scale": N.SCALE_WIDTH,
            "shift": N.SHIFT_WIDTH,
        }
    )


class _RowWindow(wiring.Component):
    """The rows of the next line: joins maxima with parameters and shows the two oldest rows.

    Three rows deep, so that the inputs need not see ``take`` and still a row a cycle can pass with two visible.

    Members
    -------
    maximum : In(stream.Signature(signed(score_width)))    one per row, in row order
    row : In(stream.Signature(softmax_row))                one per row, in row order
    facts : Out(stream.Signature(_facts))                  of every row that enters; not ready: no row may enter
    a_valid, b_valid : Out(1)                              the oldest row and the next are there
    rows : Out(_factors, 2)                                the oldest row (A) and the next (B)
    take : In(1)                                           drop the oldest row
    """

    def __init__(self, config: Config):
        self.config = config
        super().__init__(
            {
                "maximum": In(stream.Signature(signed(config.score_width))),
                "row": In(stream.Signature(payloads.softmax_row(config))),
                "facts": Out(stream.Signature(_facts(config))),
                "a_valid": Out(1),
                "b_valid": Out(1),
                "rows": Out(data.ArrayLayout(_factors(config), 2)),
                "take": In(1),
            }
        )

    def elaborate(self, platform):
        m = Module()
        enter = Signal()
        valid = Signal(3)  # rows inside: the lowest bits
        kept = Signal(3)  # rows that stay
        free = ~valid[2]
        m.d.comb += [
            enter.eq(self.maximum.valid & self.row.valid & self.facts.ready & free),
            self.maximum.ready.eq(self.row.valid & self.facts.ready & free),
            self.row.ready.eq(self.maximum.valid & self.facts.ready & free),
            self.facts.valid.eq(self.maximum.valid & self.row.valid & free),
            *(self.facts.payload[name].eq(self.row.payload[name]) for name in ("tag", "flat_limit", "check")),
            Cat(self.a_valid, self.b_valid).eq(valid[:2]),
            kept.eq(valid >> self.take),
        ]
        m.d.sync += valid.eq(Mux(enter, (kept << 1) | 1, kept))
        slots = [Signal(_factors(self.config), name=f"slot_{index}", reset_less=True) for index in range(3)]
        m.d.comb += [self.rows[index].eq(slots[index]) for index in range(2)]
        with m.If(self.take):
            m.d.sync += [slots[0].eq(slots[1]), slots[1].eq(slots[2])]
        # A place that stays empty takes what is offered: whether it enters is known late.
        for index, slot in enumerate(slots):
            with m.If(~kept[index]):
                m.d.sync += [
                    slot.maximum.eq(self.maximum.payload),
                    slot.scale.eq(self.row.payload.scale),
                    slot.shift.eq(self.row.payload.shift),
                ]
        return m


class _SegmentSum(wiring.Component):
    """Sum of the exponentials of every row. Never stalls; latency 2 + half the levels of the adder tree.

    Members
    -------
    valid : In(1)                   ``line`` is the next line
    line : In(exp_line)             exps are 0 in lanes that are not valid
    sum_valid : Out(1)              one cycle per row
    exp_sum : Out(sum_width)        UQ.16
    """

    def __init__(self, config: Config):
        self.config = config
        super().__init__(
            {
                "valid": In(1),
                "line": In(payloads.exp_line(config)),
                "sum_valid": Out(1),
                "exp_sum": Out(config.sum_width),
            }
        )

    def elaborate(self, platform):
        m = Module()
        exps = Signal.like(self.line.exps, name="exps", reset_less=True)
        in_a = Signal(self.config.lanes, reset_less=True)
        m.d.sync += [
            exps.eq(self.line.exps),
            in_a.eq(Cat(lane < self.line.a_count for lane in range(self.config.lanes))),
        ]
        a_terms = [Mux(in_a[lane], exp, 0) for lane, exp in enumerate(exps)]
        b_terms = [Mux(in_a[lane], 0, exp) for lane, exp in enumerate(exps)]
        valid, last = self._advance(m, 0, self.valid, self.line.a_last)
        stage = 0
        while len(a_terms) > 1:
            stage += 1
            a_terms, b_terms = self._add(m, a_terms, f"a_{stage}"), self._add(m, b_terms, f"b_{stage}")
            valid, last = self._advance(m, stage, valid, last)

        running = Signal.like(self.exp_sum, name="running")
        total = (running + a_terms[0])[: len(running)]
        m.d.sync += [self.sum_valid.eq(valid & last), self.exp_sum.eq(total)]
        with m.If(valid):
            m.d.sync += running.eq(Mux(last, b_terms[0], total))
        return m

    def _add(self, m: Module, terms: list[Value], name: str) -> list[Value]:
        """One register stage of at most two levels of the tree."""
        for _ in range(min(2, (len(terms) - 1).bit_length())):
            terms = [x + y for x, y in zip(terms[::2], terms[1::2], strict=True)]
        sums = [Signal(term.shape(), name=f"{name}_{index}", reset_less=True) for index, term in enumerate(terms)]
        m.d.sync += [register.eq(term) for register, term in zip(sums, terms, strict=True)]
        return list(sums)

    def _advance(self, m: Module, stage: int, valid: Value, last: Value) -> tuple[Signal, Signal]:
        next_valid = Signal(name=f"valid_{stage}")
        next_last = Signal(name=f"last_{stage}", reset_less=True)
        m.d.sync += [next_valid.eq(valid), next_last.eq(last)]
        return next_valid, next_last


class _RowFinish(wiring.Component):
    """Reciprocal and flatness of every row. Sums never wait: a row may only enter if there is place for its result.

    Members
    -------
    facts : In(stream.Signature(_facts))         of every row, before its sum; not ready while ROWS rows are inside
    sum_valid, exp_sum : In                      sums in row order
    o : Out(stream.Signature(row_sum))
    """

    ROWS = 32  # more than the cycles from a row's entry to its result

    def __init__(self, config: Config):
        self.config = config
        super().__init__(
            {
                "facts": In(stream.Signature(_facts(config))),
                "sum_valid": In(1),
                "exp_sum": In(config.sum_width),
                "o": Out(stream.Signature(payloads.row_sum(config))),
            }
        )

    def elaborate(self, platform):
        m = Module()
        m.submodules.facts = facts = StreamQueue(_facts(self.config), depth=self.ROWS)
        m.submodules.results = results = StreamQueue(payloads.row_sum(self.config), depth=self.ROWS)
        wiring.connect(m, results.o, wiring.flipped(self.o))
        free, some = Signal(range(self.ROWS + 1), init=self.ROWS), Signal(init=1)
        enter, leave = Signal(), Signal()
        m.d.sync += some.eq(leave | (some & ~(enter & (free == 1))))
        with m.If(enter ^ leave):
            m.d.sync += free.eq(free + Mux(leave, 1, -1))
        m.d.comb += [
            enter.eq(self.facts.valid & some),
            leave.eq(self.o.valid & self.o.ready),
            self.facts.ready.eq(some),
            facts.i.valid.eq(enter),
            facts.i.payload.eq(self.facts.payload),
            facts.o.ready.eq(self.sum_valid),
        ]
        self._results(m, facts.o.payload, results.i)
        return m

    def _results(self, m: Module, facts: Value, result) -> None:
        m.submodules.reciprocal = reciprocal = Reciprocal(self.config)
        m.submodules.flatness = flatness = FlatnessCheck(self.config)
        stages = reciprocal.LATENCY
        valid = Signal(stages)
        exp_sum = delayed(m, self.exp_sum, stages, "exp_sum")
        tag = delayed(m, facts.tag, stages, "tag")
        # The facts come out of a memory: flatness starts a cycle later, from registers.
        limit = delayed(m, facts.flat_limit, 1, "limit")[-1]
        check = delayed(m, facts.check, 1, "check")[-1]
        flat = delayed(m, flatness.flat, stages - 1 - flatness.LATENCY, "flat")
        m.d.sync += valid.eq(Cat(self.sum_valid, valid))
        m.d.comb += [
            reciprocal.en.eq(1),
            reciprocal.exp_sum.eq(self.exp_sum),
            flatness.en.eq(1),
            flatness.exp_sum.eq(exp_sum[1]),
            flatness.flat_limit.eq(limit),
            flatness.check.eq(check),
            result.valid.eq(valid[-1]),
            result.payload.tag.eq(tag[-1]),
            result.payload.exp_sum.eq(exp_sum[-1]),
            result.payload.recip.eq(reciprocal.recip),
            result.payload.pe.eq(reciprocal.pe),
            result.payload.flat.eq(flat[-1]),
        ]


class Softmax(wiring.Component):
    """Exponentials relative to the row maximum, and per row their sum, its reciprocal and flatness (paper Fig. 8).

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

    def __init__(self, config: Config):
        self.config = config
        levels = config.lanes.bit_length() - 1
        self.latency = 5 + levels + self.DEPTH
        self.sum_latency = 4 + -(-levels // 2) + Reciprocal.LATENCY
        super().__init__(
            {
                "line": In(stream.Signature(payloads.score_line(config))),
                "row": In(stream.Signature(payloads.softmax_row(config))),
                "line_out": Out(stream.Signature(payloads.exp_line(config))),
                "row_out": Out(stream.Signature(payloads.row_sum(config))),
            }
        )

    def elaborate(self, platform):
        m = Module()
        m.submodules.window = window = _RowWindow(self.config)
        m.submodules.sums = sums = _SegmentSum(self.config)
        m.submodules.finish = finish = _RowFinish(self.config)
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

    def _enter(self, m: Module, window: _RowWindow) -> stream.Interface:
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
        wiring.connect(m, maxima.o, window.maximum)
        wiring.connect(m, wiring.flipped(self.row), rows.i)
        wiring.connect(m, rows.o, window.row)
        m.submodules.skid = skid = StreamSkid(shape)
        wiring.connect(m, lines.o, skid.i)
        return skid.o

    def _exponentials(self, m: Module, window: _RowWindow, lines: stream.Interface) -> None:
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
            factors = Signal(_factors(self.config), name=f"factors_{lane}")
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
            exponential.en.eq(en),
            exponential.x.eq(exponent.x),
        ]
        return exponential.e
