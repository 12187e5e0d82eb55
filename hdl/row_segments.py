"""Cuts the score lines of pruned rows out of the stream of all score lines."""

from __future__ import annotations

from amaranth.hdl import Module, Mux, Signal, Value
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

from hdl import layouts
from hdl.config import Config
from hdl.row_window import RowWindow
from hdl.stream_queue import StreamQueue

__all__ = ["RowSegments", "row_segment"]


def row_segment(config: Config) -> data.StructLayout:
    """Part of a pruned row: the lanes of one line that belong to it."""
    return data.StructLayout(
        {
            "group": layouts.lane_group(layouts.signed(config.score_width), config.lanes),
            "k": config.count_width,  # V rows to keep, the same in every segment of the row
        }
    )


class RowSegments(wiring.Component):
    """Splits score lines into segments A and B and lets those of pruned rows through, moved to lane 0.

    A line of rows that are not pruned passes by in one cycle, a line with one segment takes one cycle, and a line
    whose two rows are both pruned takes two. Rows that are pruned are bound by their top-k engine, which works for
    longer than that one cycle on every row. Latency 3.

    Members
    -------
    line : In(stream.Signature(score_line(config)))
    row : In(stream.Signature(prune_row(config)))     in row order; a line waits for the rows that it carries
    o : Out(stream.Signature(row_segment(config)))
    """

    LATENCY = 3

    def __init__(self, config: Config):
        self.config = config
        super().__init__(
            {
                "line": In(stream.Signature(layouts.score_line(config))),
                "row": In(stream.Signature(layouts.prune_row(config))),
                "o": Out(stream.Signature(row_segment(config))),
            }
        )

    def elaborate(self, platform):
        m = Module()
        fact = data.StructLayout({"prune": 1, "k": self.config.count_width})
        m.submodules.window = window = RowWindow(fact)
        m.submodules.queue = queue = StreamQueue(self.line.payload.shape(), depth=3)
        line, known = queue.o.payload, Signal()
        wiring.connect(m, wiring.flipped(self.line), queue.i)
        m.d.comb += [
            window.i.payload.prune.eq(self.row.payload.prune),
            window.i.payload.k.eq(self.row.payload.k),
            window.i.valid.eq(self.row.valid),
            self.row.ready.eq(window.i.ready),
            known.eq(queue.o.valid & window.a_valid & ((line.b_count == 0) | window.b_valid)),
        ]

        second = Signal()  # segment A of this line is out, B is next
        use_b, both, any_, step, done = Signal(), Signal(), Signal(), Signal(), Signal()
        enable = ~self.o.valid | self.o.ready
        m.d.comb += [
            use_b.eq(second | ~window.a.prune),
            both.eq(window.a.prune & window.b.prune & (line.b_count != 0)),
            any_.eq(window.a.prune | (window.b.prune & (line.b_count != 0))),
            step.eq(known & (enable | ~any_)),
            done.eq(step & ~(both & ~second)),
            queue.o.ready.eq(done),
            window.advance.eq(done & line.a_last),
        ]
        with m.If(step):
            m.d.sync += second.eq(~done)
        with m.If(enable):
            m.d.sync += self.o.valid.eq(known & any_)
            m.d.sync += self.segment(line, window, use_b)
        return m

    def segment(self, line, window: RowWindow, use_b: Value):
        """Registers of the output: segment B (``use_b``) shifted down by the lanes of A, or segment A."""
        o = self.o.payload
        scores = Value.cast(line.scores)
        for index, bit in enumerate(line.a_count):
            scores = Mux(use_b & bit, scores[self.config.score_width << index :], scores)
        return [
            Value.cast(o.group.items).eq(scores),
            o.group.count.eq(Mux(use_b, line.b_count, line.a_count)),
            o.group.last.eq(line.a_last & ~use_b),
            o.k.eq(Mux(use_b, window.b.k, window.a.k)),
        ]
