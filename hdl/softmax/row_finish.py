"""The end of softmax: reciprocal and flatness of a row's sum."""

from __future__ import annotations

from amaranth.hdl import Cat, Module, Signal, Value
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out

from hdl.softmax.exponential import delayed
from hdl.softmax.flatness_check import FlatnessCheck
from hdl.softmax.reciprocal import Reciprocal
from hdl.softmax.row_queue import row_facts
from hdl.spec import payloads
from hdl.spec.config import Config
from hdl.stream.credit_counter import CreditCounter
from hdl.stream.stream_queue import StreamQueue

__all__ = ["RowFinish"]


class RowFinish(wiring.Component):
    """Reciprocal and flatness of every row. Sums never wait: a row may only enter if there is place for its result.

    LATENCY cycles from a sum to its result; a row a cycle. Bit-exact with :func:`golden.datapath.integer.reciprocal`
    and :func:`golden.datapath.integer.is_flat`.

    Members
    -------
    facts : In(stream.Signature(row_facts))         of every row, before its sum; not ready while ROWS rows are inside
    sum_valid, exp_sum : In                      sums in row order
    o : Out(stream.Signature(row_sum))
    """

    ROWS = 32
    """Places for rows from their entry to their result: more than the cycles between."""
    LATENCY = Reciprocal.LATENCY + 2
    """The result queue takes 2 cycles."""

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
