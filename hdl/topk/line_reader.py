"""The line of scores that quick-select works on: from the input, or from a stored part."""

from __future__ import annotations

from amaranth.hdl import Module, Mux, Signal, signed
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

from hdl.spec.payloads import select_line
from hdl.spec.widths import bits_for_count

__all__ = ["QUEUE_SOURCE", "LineReader"]

QUEUE_SOURCE = 1 << 3
"""``source`` of the input; 1 << n is that of part n."""


class LineReader(wiring.Component):
    """Holds one line, which others sort or compare, and the address of the next one in the memories of the parts.

    A line of the input is there in the cycle after ``take``. A line of a part is read with ``read`` and taken with
    ``shift`` a cycle later, so it is there after 2 cycles; a line a cycle, with both high.

    Members
    -------
    i : In(stream.Signature(select_line))    the input's lines; ``ready`` counts only with ``take``
    parts : In(scores of a line).array(3)    read data of the parts
    source : In(4)          where scores come from: one bit, a part or QUEUE_SOURCE
    take : In(1)            take a line of the input, if one is there
    first : In(1)           with ``take``: also if the line held is the last of its row
    read : In(1)            a line is read from the part: the address goes on
    shift : In(1)           take the line that was read
    gather : In(lanes)      these lanes take a score of the line that was read: the line becomes a full sample
    jump, target : In       the address becomes ``target``
    restart, size : In      a part of ``size`` scores is read from now on
    drop : In(1)            the line held is not valid from the next cycle on
    line, count, last : Out     the scores, how many there are, and whether they are the last of the row or part
    valid : Out(1)
    address : Out           of the line that ``read`` reads
    """

    def __init__(self, config, *, score_width: int, depth: int):
        self.lanes = config.topk_parallelism
        self.depth = depth
        self.select_line = select_line(config, score_width)
        scores = data.ArrayLayout(signed(score_width), self.lanes)
        address = range(depth)
        super().__init__(
            {
                "i": In(stream.Signature(self.select_line)),
                "parts": In(scores).array(3),
                "source": In(4),
                "take": In(1),
                "first": In(1),
                "read": In(1),
                "shift": In(1),
                "gather": In(self.lanes),
                "jump": In(1),
                "target": In(address),
                "restart": In(1),
                "size": In(config.count_width),
                "drop": In(1),
                "line": Out(scores),
                "count": Out(bits_for_count(self.lanes)),
                "last": Out(1),
                "valid": Out(1),
                "address": Out(address),
            }
        )

    def elaborate(self, platform):
        m = Module()
        self._hold_line(m)
        count, last = Signal(self.count.shape(), name="held_count", reset_less=True), Signal(reset_less=True)
        left = Signal(self.size.shape(), reset_less=True)  # scores of the part that were not taken yet
        short = left <= self.lanes
        m.d.comb += [
            self.i.ready.eq(self.take & (self.first | ~(self.valid & last))),
            self.count.eq(count),
            self.last.eq(last),
        ]
        with m.If(self.shift):
            m.d.sync += [self.valid.eq(1), last.eq(short)]
            m.d.sync += [count.eq(Mux(short, left, self.lanes)), left.eq(left - self.lanes)]
        with m.If(self.restart):
            m.d.sync += left.eq(self.size)
        # After the last line of a row the line may be anything, but is not valid.
        with m.If(self.take):
            m.d.sync += [self.valid.eq(self.i.valid), last.eq(self.i.p.last), count.eq(self.i.p.count)]
        with m.If(self.gather.any()):
            m.d.sync += [self.valid.eq(1), count.eq(self.lanes)]
        with m.If(self.drop):
            m.d.sync += self.valid.eq(0)
        return m

    def _hold_line(self, m: Module) -> None:
        line, address = (
            Signal(self.line.shape(), name="held", reset_less=True),
            Signal(self.address.shape(), reset_less=True),
        )
        m.d.comb += [self.line.eq(line), self.address.eq(address)]
        for lane in range(self.lanes):
            # One short way from the memories to the line, for they answer late.
            ways = [part[lane] for part in self.parts] + [self.i.p.scores[lane]]
            chosen = [Mux(bit, way.as_unsigned(), 0) for bit, way in zip(self.source, ways, strict=True)]
            with m.If(self.take | self.shift | self.gather[lane]):
                m.d.sync += line[lane].eq((chosen[0] | chosen[1]) | (chosen[2] | chosen[3]))
        with m.If(self.jump):
            m.d.sync += address.eq(self.target)
        with m.Elif(self.read):
            m.d.sync += address.eq(address + 1)
