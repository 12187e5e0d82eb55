"""Pivots of a quick-select pass: the scores of two ranks in a line (paper section IV-B)."""

from __future__ import annotations

from amaranth.hdl import Module, Mux, Signal, Value, signed
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In, Out

from hdl.spec.widths import bits_for_count
from hdl.topk.zero_eliminator import prefix_counts

__all__ = ["PivotSelect"]


class PivotSelect(wiring.Component):
    """Pick the scores of two ranks from a line: all pairs are compared, the wins counted, the ranks matched.

    Latency 3: a line stays for three cycles. In the third one ``en`` is high, with the ranks, and ``high`` and ``low``
    load.
    Equal scores rank in the order of their lanes; lanes from ``count`` on rank last.

    Members
    -------
    en : In(1)
    scores : In(P scores)
    count : In(n)
    high_rank, low_rank : In(n)     0 is the largest
    high, low : Out(score)          held until the next ``en``
    """

    def __init__(self, *, score_width: int, parallelism: int):
        self.parallelism = parallelism
        shape = signed(score_width)
        rank_width = max(1, parallelism.bit_length() - 1)
        super().__init__(
            {
                "en": In(1),
                "scores": In(data.ArrayLayout(shape, parallelism)),
                "count": In(bits_for_count(parallelism)),
                "high_rank": In(rank_width),
                "low_rank": In(rank_width),
                "high": Out(shape),
                "low": Out(shape),
            }
        )

    def elaborate(self, platform):
        m = Module()
        lanes = range(self.parallelism)
        first = {}
        for j in lanes:
            for i in range(j):
                first[i, j] = Signal(name=f"first_{i}_{j}", reset_less=True)
                m.d.sync += first[i, j].eq((self.scores[i] >= self.scores[j]) | (j >= self.count))
        ranks = []
        for lane in lanes:
            ahead = [first[i, lane] for i in range(lane)] + [~first[lane, j] for j in range(lane + 1, len(lanes))]
            rank = Signal(len(self.high_rank), name=f"rank{lane}", reset_less=True)
            m.d.sync += rank.eq(prefix_counts(ahead)[-1])
            ranks.append(rank)
        with m.If(self.en):
            for target, rank in ((self.high, self.high_rank), (self.low, self.low_rank)):
                chosen = 0
                for lane in lanes:
                    chosen = chosen | Mux(ranks[lane] == rank, Value.cast(self.scores[lane]).as_unsigned(), 0)
                m.d.sync += target.eq(chosen)
        return m
