"""The end of softmax: reciprocal and flatness of a row's sum."""

from __future__ import annotations

from amaranth.hdl import Cat, Module, Signal, Value
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out

from hdl.softmax.exponential import delayed
from hdl.softmax.flatness_check import FlatnessCheck
from hdl.softmax.reciprocal import Reciprocal
from hdl.softmax.row_queue import row_facts
from hdl.softmax.sum_fold import SumFold
from hdl.spec import payloads
from hdl.spec.config import Config
from hdl.stream.credit_counter import CreditCounter
from hdl.stream.stream_queue import StreamQueue

__all__ = ["RowFinish"]


class RowFinish(wiring.Component):
    """Reciprocal and flatness of every row. Sums never wait: a row may only enter if there is place for its result.

    Latency :meth:`latency_of` from a sum to its result; a row a cycle, where jobs are not chained. Bit-exact with
    :func:`golden.datapath.integer.reciprocal` and :func:`golden.datapath.integer.is_flat`.

    Members
    -------
    facts : In(stream.Signature(row_facts))         of every row, before its sum; not ready while ROWS rows are inside
    sum_valid, exp_sum : In                      sums in row order
    o : Out(stream.Signature(row_sum))
    """

    ROWS = 32
    """Places for rows from their entry to their result: more than the cycles between."""

    def __init__(self, config: Config):
        self.config = config
        super().__init__(
            {
                "facts": In(stream.Signature(row_facts(config))),
                "sum_valid": In(1),
                "exp_sum": In(config.sum_width),
                "o": Out(stream.Signature(payloads.row_sum(config))),
            }
        )

    @staticmethod
    def latency_of(config: Config) -> int:
        """Cycles from a sum to its result: a queue takes 2 cycles, and where jobs can be chained there is one more."""
        return Reciprocal.LATENCY + StreamQueue.LATENCY * (1 + config.chained)

    def elaborate(self, platform):
        m = Module()
        m.submodules.facts = facts = StreamQueue(row_facts(self.config), depth=self.ROWS)
        m.submodules.results = results = StreamQueue(payloads.row_sum(self.config), depth=self.ROWS)
        wiring.connect(m, results.o, wiring.flipped(self.o))
        m.submodules.credits = credits = CreditCounter(self.ROWS)
        m.d.comb += [
            credits.take.eq(self.facts.valid & credits.some),
            credits.give.eq(self.o.valid & self.o.ready),
            self.facts.ready.eq(credits.some),
            facts.i.valid.eq(credits.take),
            facts.i.payload.eq(self.facts.payload),
        ]
        if self.config.chained:
            self._results(m, *self._fold(m, facts.o), results.i)
        else:
            m.d.comb += facts.o.ready.eq(self.sum_valid)
            self._results(m, self.sum_valid, facts.o.payload, self.exp_sum, self.exp_sum, None, results.i)
        return m

    def _fold(self, m: Module, facts) -> tuple:
        """Sums wait for those of their chain: whether there is one, facts, sum of the job, total, fold."""
        m.submodules.sums = sums = StreamQueue(self.config.sum_width, depth=self.ROWS)
        m.submodules.fold = fold = SumFold(self.config)
        m.d.comb += [
            sums.i.valid.eq(self.sum_valid),  # a place for every row inside: never full
            sums.i.payload.eq(self.exp_sum),
            fold.i.valid.eq(sums.o.valid & facts.valid),
            fold.i.payload.facts.eq(facts.payload),
            fold.i.payload.exp_sum.eq(sums.o.payload),
            sums.o.ready.eq(fold.i.ready & facts.valid),
            facts.ready.eq(fold.i.ready & sums.o.valid),
        ]
        folded = fold.o.payload
        return fold.o.valid, folded.facts, folded.exp_sum, folded.total, folded.fold

    def _results(self, m: Module, come: Value, facts: Value, own: Value, total: Value, fold: Value | None, result):
        m.submodules.reciprocal = reciprocal = Reciprocal(self.config)
        m.submodules.flatness = flatness = FlatnessCheck(self.config)
        stages = reciprocal.LATENCY
        valid = Signal(stages)
        exp_sum = delayed(m, own, stages, "exp_sum")
        tag = delayed(m, facts.tag, stages, "tag")
        # The facts come out of a memory: flatness starts a cycle later, from registers.
        limit = delayed(m, facts.flat_limit, 1, "limit")[-1]
        check = delayed(m, facts.check, 1, "check")[-1]
        flat = delayed(m, flatness.flat, stages - 1 - flatness.LATENCY, "flat")
        m.d.sync += valid.eq(Cat(come, valid))
        m.d.comb += [
            reciprocal.en.eq(1),
            reciprocal.exp_sum.eq(total),
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
        if fold is not None:
            m.d.comb += result.payload.fold.eq(delayed(m, fold, stages, "fold")[-1])
