"""Cuts the score lines of pruned rows out of the stream of all score lines."""

from __future__ import annotations

from amaranth.hdl import Module, Mux, Signal, Value
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

from hdl.pruning.row_window import RowWindow
from hdl.spec import payloads
from hdl.spec.config import Config
from hdl.spec.widths import signed
from hdl.stream.stream_queue import StreamQueue

__all__ = ["RowSegments", "row_segment"]


def row_segment(config: Config) -> data.StructLayout:
    """Part of a pruned row: the lanes of one line that belong to it."""
    return data.StructLayout(
        {
            "group": payloads.lane_group(signed(config.score_width), config.lanes),
            "k": config.count_width,  # V rows to keep, the same in every segment of the row
        }
    )


class RowSegments(wiring.Component):
    """Splits score lines into segments A and B and lets those of pruned rows through, moved to lane 0.

    A line of rows that are not pruned passes by in one cycle, a line with one segment takes one cycle, and a line
    whose two rows are both pruned takes two. Rows that are pruned are bound by their top-k engine, which works for
    longer than that one cycle on every row. Latency 4.

    Members
    -------
    line : In(stream.Signature(score_line(config)))
    row : In(stream.Signature(prune_row(config)))     in row order; a line waits for the rows that it carries
    o : Out(stream.Signature(row_segment(config)))
    """

    LATENCY = 4

    def __init__(self, config: Config):
        self.config = config
        super().__init__(
            {
                "line": In(stream.Signature(payloads.score_line(config))),
                "row": In(stream.Signature(payloads.prune_row(config))),
                "o": Out(stream.Signature(row_segment(config))),
            }
        )

    def elaborate(self, platform):
        m = Module()
        fact = data.StructLayout({"prune": 1, "k": self.config.count_width})
        m.submodules.window = window = RowWindow(fact)
        entry = data.StructLayout({"line": self.line.payload.shape(), "has_b": 1})
        m.submodules.queue = queue = StreamQueue(entry, depth=3)
        line, has_b, known = queue.o.payload.line, queue.o.payload.has_b, Signal()
        m.d.comb += [
            queue.i.valid.eq(self.line.valid),
            queue.i.payload.line.eq(self.line.payload),
            queue.i.payload.has_b.eq(self.line.payload.b_count != 0),
            self.line.ready.eq(queue.i.ready),
            window.i.payload.prune.eq(self.row.payload.prune),
            window.i.payload.k.eq(self.row.payload.k),
            window.i.valid.eq(self.row.valid),
            self.row.ready.eq(window.i.ready),
            known.eq(queue.o.valid & window.a_valid & (~has_b | window.b_valid)),
        ]

        m.submodules.out = out = StreamQueue(self.o.payload.shape(), depth=3)
        wiring.connect(m, out.o, wiring.flipped(self.o))
        second = Signal()  # segment A of this line is out, B is next
        both, any_, final, done = Signal(), Signal(), Signal(), Signal()
        m.d.comb += [
            both.eq(window.a.prune & window.b.prune & has_b),
            any_.eq(window.a.prune | (window.b.prune & has_b)),
            final.eq(known & (second | ~both)),
            done.eq(final & (out.i.ready | ~any_)),
            queue.o.ready.eq(done),
            window.advance.eq(final & line.a_last & (out.i.ready | ~any_)),
            out.i.valid.eq(known & any_),
            *self.segment(out.i.payload, line, window, second | ~window.a.prune),
        ]
        with m.If(known & out.i.ready):
            m.d.sync += second.eq(both & ~second)
        return m

    def segment(self, o, line, window: RowWindow, use_b: Value):
        """What ``o`` gets: segment B (``use_b``) shifted down by the lanes of A, or segment A."""
        scores = Value.cast(line.scores)
        for index, bit in enumerate(line.a_count):
            scores = Mux(use_b & bit, scores[self.config.score_width << index :], scores)
        return [
            Value.cast(o.group.items).eq(scores),
            o.group.count.eq(Mux(use_b, line.b_count, line.a_count)),
            o.group.last.eq(line.a_last & ~use_b),
            o.k.eq(Mux(use_b, window.b.k, window.a.k)),
        ]
