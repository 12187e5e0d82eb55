"""Ranks of the pivots of a quick-select pass (paper section IV-B)."""

from __future__ import annotations

from amaranth.hdl import Cat, Module, Mux, Signal, Value, signed
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from hdl.spec import select_policy

__all__ = ["PivotRanks"]


class PivotRanks(wiring.Component):
    """Ranks, in a sorted sample, of the two pivots around the k-th largest of ``size`` candidates.

    Latency 4 from the cycle in which rank or size is new; both stay while the ranks are used. Bit-exact with
    :func:`hdl.spec.select_policy.pivot_ranks`: the expected rank is floor((k-1)(P+1)/size), found by a division of
    log2(P) bits in two stages, and a correction.

    Members
    -------
    rank : In(count_width)    k - 1, so 0…size-1
    size : In(count_width)
    high : Out(n)             rank of the upper pivot, 0 is the largest
    low : Out(n)              rank of the lower pivot
    """

    def __init__(self, *, parallelism: int, count_width: int):
        self.parallelism = parallelism
        self.levels = parallelism.bit_length() - 1
        rank_width = max(1, self.levels)
        super().__init__(
            {
                "rank": In(count_width),
                "size": In(count_width),
                "high": Out(rank_width),
                "low": Out(rank_width),
            }
        )

    def elaborate(self, platform):
        m = Module()
        rest, quotient = self.rank, Value.cast(0)
        for stage, bits in enumerate((self.levels - self.levels // 2, self.levels // 2)):
            for _ in range(bits):
                double = rest << 1
                fits = double >= self.size
                rest = Mux(fits, double - self.size, double)[: len(self.rank)]
                quotient = Cat(fits, quotient)
            held_rest = Signal(len(self.rank), name=f"rest_{stage}", reset_less=True)
            held_quotient = Signal(self.levels + 1, name=f"quotient_{stage}", reset_less=True)
            m.d.sync += [held_rest.eq(rest), held_quotient.eq(quotient)]
            rest, quotient = held_rest, held_quotient[: self.levels]
        position = Signal(range(self.parallelism + 1), reset_less=True)
        m.d.sync += position.eq(held_quotient + (rest + self.rank >= self.size))

        top = self.parallelism - 1
        wide = Signal()
        above, below = Signal(signed(self.levels + 3)), Signal(signed(self.levels + 3))
        m.d.comb += [
            wide.eq(self.size >= select_policy.WIDE_LINES * self.parallelism),
            above.eq(position - 1 - wide),
            below.eq(position + wide),
        ]
        with m.If(self.size <= self.parallelism):
            m.d.sync += [self.high.eq(self.rank), self.low.eq(self.rank)]
        with m.Else():
            m.d.sync += [self.high.eq(Mux(above < 0, 0, above)), self.low.eq(Mux(below > top, top, below))]
        return m
