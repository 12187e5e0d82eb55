"""Lines of weights and their rows come together before prob×V reads V."""

from __future__ import annotations

from amaranth.hdl import Cat, Module, Signal, Value
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out

from hdl.pv.beat import joined_line
from hdl.spec.config import Config
from hdl.spec.payloads import placed_row, value_line
from hdl.stream.stream_queue import StreamQueue

__all__ = ["LineJoiner"]


class LineJoiner(wiring.Component):
    """Offers each line with the facts of its row A, and says whether its V rows are in the buffer.

    Lines and rows pass a queue each, which cuts their ready chains, and meet in a third one; then a register compares
    with ``ready``. A line a cycle; latency 5 cycles from a line to its offer, with ``present`` if its V rows are there.

    Members
    -------
    line : In(stream.Signature(value_line))
    row : In(stream.Signature(placed_row))   one per row, at the latest with the row's first line; up to 8 wait inside
    ready : In(seq_width)         V rows with sequence numbers before it may be read (modulo comparison)
    offered : Out(1)              ``joined`` is a line
    joined : Out(joined_line)     held until it is taken
    present : Out(1)              all its V rows are in the buffer; only while ``offered``
    taken : In(1)                 the line that is offered goes
    waiting : Out(1)              a line or a row is inside, or a row whose last line has not come
    """

    def __init__(self, config: Config):
        self.config = config
        super().__init__(
            {
                "line": In(stream.Signature(value_line(config))),
                "row": In(stream.Signature(placed_row(config))),
                "ready": In(config.seq_width),
                "offered": Out(1),
                "joined": Out(joined_line(config)),
                "present": Out(1),
                "taken": In(1),
                "waiting": Out(1),
            }
        )

    def elaborate(self, platform):
        m = Module()
        m.submodules.lines = lines = StreamQueue(value_line(self.config), depth=4)
        m.submodules.rows = rows = StreamQueue(placed_row(self.config), depth=8)
        m.submodules.queue = queue = StreamQueue(joined_line(self.config), depth=3)
        wiring.connect(m, wiring.flipped(self.line), lines.i)
        wiring.connect(m, wiring.flipped(self.row), rows.i)
        line, row, both = lines.o.payload, rows.o.payload, queue.i.payload
        m.d.comb += [
            lines.o.ready.eq(queue.i.ready & rows.o.valid),
            rows.o.ready.eq(queue.i.ready & lines.o.valid & line.a_last),
            queue.i.valid.eq(lines.o.valid & rows.o.valid),
            both.line.eq(line),
            both.row.eq(row),
            both.end.eq(row.seq + (line.start + line.a_count + line.b_count)),
            both.first.eq(row.slot + (line.start << row.log_slices)),
            both.finish.eq(line.a_last & ~row.drop),
        ]
        fresh = Signal(init=1)  # the last line that was taken ended its row, and began none
        joined = Signal(joined_line(self.config), name="offer", reset_less=True)
        m.d.comb += [
            queue.o.ready.eq(~self.offered | self.taken),
            self.joined.eq(joined),
            self.waiting.eq(self.offered | ~fresh | Cat(inside.level != 0 for inside in (lines, rows, queue)).any()),
        ]
        with m.If(queue.o.ready):
            m.d.sync += [self.offered.eq(queue.o.valid), self.present.eq(self._present(queue.o.payload))]
            m.d.sync += joined.eq(queue.o.payload)
        with m.Elif(self._present(joined)):
            m.d.sync += self.present.eq(1)
        with m.If(self.offered & self.taken):
            m.d.sync += fresh.eq(joined.line.a_last & (joined.line.b_count == 0))
        return m

    def _present(self, joined) -> Value:
        """All V rows of the line are in the buffer; once true it stays so."""
        return (self.ready - joined.end)[: self.config.seq_width].as_signed() >= 0
