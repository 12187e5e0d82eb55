"""One pass of quick-select: each score is compared with both pivots (paper section IV-B, fig. 9)."""

from __future__ import annotations

from amaranth.hdl import Module, Signal, signed
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In, Out

from hdl.spec.widths import bits_for_count
from hdl.topk.zero_eliminator import prefix_counts

__all__ = ["RESTS", "Partition"]

RESTS = ("above", "from_high", "above_low", "from_low")
"""Scores > and >= the high pivot, > and >= the low pivot."""


class Partition(wiring.Component):
    """Says where the scores of a line go, and counts those of the pass.

    ``rests`` are the rank less the scores of each of RESTS so far: the k-th largest is among them if negative. A line a
    cycle; masks and items for the parts come 1 and 2 cycles after the line, counts have it after 3.

    Members
    -------
    start, rank : In        a pass begins: all counts begin anew, for this rank (k - 1)
    en : In(1)              ``line`` is one of the pass
    line, count, last : In  its scores, how many there are, and whether it is the pass's last
    high, low : In          pivots
    excess : In(count_width)             taken off all rests with every line
    kept : In(n).array(3)                scores that each part stored of a line, a cycle after its mask
    part_en, part_last : Out(1)          masks are those of a line; it is the last one
    greater, middle, less : Out(lanes)   scores of the line that go to each part
    items : Out(line)                    the scores, a cycle after the masks
    rests : Out(signed).array(4)
    stored : Out(count_width).array(3)   scores in each part
    """

    def __init__(self, config, *, score_width: int):
        self.lanes = config.topk_parallelism
        self.count_width = config.count_width
        scores, score = data.ArrayLayout(signed(score_width), self.lanes), signed(score_width)
        lane_count = bits_for_count(self.lanes)
        super().__init__(
            {
                "start": In(1),
                "rank": In(self.count_width),
                "en": In(1),
                "line": In(scores),
                "count": In(lane_count),
                "last": In(1),
                "high": In(score),
                "low": In(score),
                "excess": In(self.count_width),
                "kept": In(lane_count).array(3),
                "part_en": Out(1),
                "part_last": Out(1),
                "greater": Out(self.lanes),
                "middle": Out(self.lanes),
                "less": Out(self.lanes),
                "items": Out(scores),
                "rests": Out(signed(self.count_width + 1)).array(4),
                "stored": Out(self.count_width).array(3),
            }
        )

    def elaborate(self, platform):
        m = Module()
        last = Signal(reset_less=True)
        m.d.sync += [self.part_en.eq(self.en), last.eq(self.last)]
        m.d.comb += self.part_last.eq(last)
        items = [Signal(self.line.shape(), name=f"items_{stage}", reset_less=True) for stage in range(2)]
        m.d.sync += [items[0].eq(self.line), items[1].eq(items[0])]
        m.d.comb += self.items.eq(items[1])
        self._count(m, self._compare(m))
        return m

    def _compare(self, m: Module) -> list[Signal]:
        """Two comparator arrays, and the masks of the three parts; returns the masks of the RESTS."""
        above, from_high, between, below, above_low, from_low = (
            Signal(self.lanes, name=name, reset_less=True)
            for name in ("above", "from_high", "between", "below", "above_low", "from_low")
        )
        high, low = self.high, self.low
        for lane in range(self.lanes):
            valid, score = lane < self.count, self.line[lane]
            m.d.sync += [
                above[lane].eq(valid & (score > high)),
                from_high[lane].eq(valid & (score >= high)),
                above_low[lane].eq(valid & (score > low)),
                from_low[lane].eq(valid & (score >= low)),
                between[lane].eq(valid & (score < high) & (score > low)),
                below[lane].eq(valid & (score < low)),
            ]
        m.d.comb += [self.greater.eq(above), self.middle.eq(between), self.less.eq(below)]
        return [above, from_high, above_low, from_low]

    def _count(self, m: Module, masks: list[Signal]) -> None:
        counted, counts = Signal(), []
        for name, mask in zip(RESTS, masks, strict=True):
            counts.append(Signal(bits_for_count(self.lanes), name=f"{name}_count", reset_less=True))
            m.d.sync += counts[-1].eq(prefix_counts([mask[lane] for lane in range(self.lanes)])[-1])
        m.d.sync += counted.eq(self.part_en)
        rests = [Signal(signed(self.count_width + 1), name=f"{name}_rest", reset_less=True) for name in RESTS]
        stored = [Signal(self.count_width, name=f"stored_{part}", reset_less=True) for part in range(3)]
        m.d.comb += [port.eq(rest) for port, rest in zip(self.rests, rests, strict=True)]
        m.d.comb += [port.eq(total) for port, total in zip(self.stored, stored, strict=True)]
        with m.If(self.start):
            m.d.sync += [rest.eq(self.rank) for rest in rests]
            m.d.sync += [total.eq(0) for total in stored]
        with m.Elif(counted):
            m.d.sync += [rest.eq(rest - count - self.excess) for rest, count in zip(rests, counts, strict=True)]
            m.d.sync += [total.eq(total + kept) for total, kept in zip(stored, self.kept, strict=True)]
