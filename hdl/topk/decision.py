"""Where the k-th largest score is after a pass of quick-select."""

from __future__ import annotations

from amaranth.hdl import Module, Value, signed
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

__all__ = ["Decision"]

_GREATER, _MIDDLE, _LESS = range(3)


class Decision(wiring.Component):
    """The k-th largest is a pivot, or in one of the three parts: the signs of ``rests`` tell. Combinational.

    Members
    -------
    rests : In(signed).array(4)     as Partition
    rank : In(count_width)          rank in the pass, k - 1
    high, low : In(score)           pivots
    stored : In(count_width).array(3)    scores in each part
    bases : In(address).array(3)         first line of each part
    found : Out(1)                  the k-th largest is a pivot …
    threshold : Out(score)          … this one,
    ties : Out(n)                   … and so many scores equal to it belong to the top k
    part : Out(3)                   one bit: it is in this part …
    part_rank, part_size, part_base : Out     … which has it at this rank, so many scores, and this first line
    """

    def __init__(self, config, *, score_width: int, depth: int):
        count, score = config.count_width, signed(score_width)
        super().__init__(
            {
                "rests": In(signed(count + 1)).array(4),
                "rank": In(count),
                "high": In(score),
                "low": In(score),
                "stored": In(count).array(3),
                "bases": In(range(depth)).array(3),
                "found": Out(1),
                "threshold": Out(score),
                "ties": Out(count),
                "part": Out(3),
                "part_rank": Out(count),
                "part_size": Out(count),
                "part_base": Out(range(depth)),
            }
        )

    def elaborate(self, platform):
        m = Module()
        above, from_high, above_low, from_low = self.rests
        in_above, in_high, in_middle, in_low = (rest < 0 for rest in self.rests)
        m.d.comb += self.found.eq((in_high & ~in_above) | (in_low & ~in_middle))
        with m.If(in_above):
            self._descend(m, _GREATER, self.rank)
        with m.Elif(in_high):
            m.d.comb += [self.threshold.eq(self.high), self.ties.eq(above + 1)]
        with m.Elif(in_middle):
            self._descend(m, _MIDDLE, from_high)
        with m.Elif(in_low):
            m.d.comb += [self.threshold.eq(self.low), self.ties.eq(above_low + 1)]
        with m.Else():
            self._descend(m, _LESS, from_low)
        return m

    def _descend(self, m: Module, part: int, rank: Value) -> None:
        m.d.comb += [
            self.part[part].eq(1),
            self.part_rank.eq(rank),
            self.part_size.eq(self.stored[part]),
            self.part_base.eq(self.bases[part]),
        ]
