"""Attention probabilities to memory."""

from __future__ import annotations

from amaranth.hdl import Cat, Const, Module, Mux, Signal
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out, connect, flipped

from hdl.command.open_commands import ENTRY_WIDTH, open_commands, open_head, opened_command
from hdl.result.open_facts import OpenFacts
from hdl.result.output_pieces import check_row_word
from hdl.result.output_rows import OutputRows, output_row, probability_place
from hdl.result.written_word import ADDRESS_WIDTH, written_word
from hdl.spec import payloads
from hdl.spec.config import Config
from hdl.spec.formats import PROBABILITY_BYTES
from hdl.spec.widths import bits_for_count
from hdl.stream.stream_queue import StreamQueue

__all__ = ["ProbabilityWriter"]

_BITS = 8 * PROBABILITY_BYTES


def _wanted():
    return data.StructLayout({"wanted": 1})


class ProbabilityWriter(wiring.Component):
    """Puts the probabilities of commands with the flag ``probabilities`` at their places; others are thrown away.

    One of 1 becomes the largest number of the format (docs/commands.md). A line takes a cycle for each word that a row
    of it touches, and 6 + g more where a row begins (:class:`hdl.result.output_rows.OutputRows`); lines that are thrown
    away take one.

    Members
    -------
    opened : In(stream.Signature(opened_command, always_ready=True))
    head : In(stream.Signature(open_head, always_ready=True))
    prob : In(stream.Signature(job_probs))           of the core; job ids are numbers of open commands
    o : Out(stream.Signature(written_word))          ``last`` is with the last word of a line
    line : Out(1)                                    pulse: a line that is written is taken
    """

    def __init__(self, config: Config, *, queues: int = 2, word_width: int = 64):
        self.config, self.queues, self.word_width = config, queues, check_row_word(word_width)
        super().__init__(
            {
                "opened": In(stream.Signature(opened_command(queues), always_ready=True)),
                "head": In(stream.Signature(open_head(), always_ready=True)),
                "prob": In(stream.Signature(payloads.job_probs(config))),
                "o": Out(stream.Signature(written_word(word_width))),
                "line": Out(1),
            }
        )

    def elaborate(self, platform):
        m = Module()
        sizes = {"queues": self.queues}
        m.submodules.lines = lines = StreamQueue(payloads.job_probs(self.config), depth=3)
        m.submodules.rows = rows = OutputRows(self.config, place=probability_place, **sizes)
        m.submodules.wanted = wanted = OpenFacts(_wanted(), _wanted_of, entries=open_commands(self.config), **sizes)
        for mine, other in ((self.opened, rows.opened), (self.opened, wanted.opened), (self.head, rows.head)):
            connect(m, flipped(mine), other)
        given = self.prob.payload
        m.d.comb += [
            wanted.entry.eq(given.job_id[:ENTRY_WIDTH]),
            lines.i.payload.eq(given),
            lines.i.valid.eq(self.prob.valid & wanted.facts.wanted & (_part(given, "a").live | _part(given, "b").live)),
            self.prob.ready.eq(lines.i.ready),
            self.line.eq(lines.i.valid & lines.i.ready),
        ]
        self._write(m, lines, rows)
        return m

    def _write(self, m, lines, rows):
        """The parts of a line that are written, one after the other, each when the place of its row is known."""
        line = lines.o.payload
        a, b = _part(line, "a"), _part(line, "b")
        later = Signal()  # part A is done
        now, second = Signal(a.shape()), Signal()
        m.d.comb += [second.eq(later | ~a.live), now.eq(Mux(second, b.as_value(), a.as_value()))]
        row, place = rows.i.payload, Signal(data.StructLayout({"row": output_row(self.config), "at": ADDRESS_WIDTH}))
        known = Signal()
        same = known & (place.row.as_value() == row.as_value())
        m.d.comb += [row.entry.eq(line.job_id[:ENTRY_WIDTH]), row.head.eq(line.head), row.query.eq(now.query)]
        over = self._words(m, line, now, second, place.at)
        with m.FSM(name="part"):
            with m.State("WRITE"):
                m.d.comb += self.o.valid.eq(lines.o.valid & same)
                with m.If(lines.o.valid & ~same):
                    m.d.comb += rows.i.valid.eq(1)
                    with m.If(rows.i.ready):
                        m.next = "FIND"
            with m.State("FIND"):
                m.d.comb += rows.o.ready.eq(1)
                with m.If(rows.o.valid):
                    m.d.sync += [place.row.eq(row), place.at.eq(rows.o.payload.address)]
                    m.next = "WRITE"
        done = over & (second | ~b.live)  # the word is the line's last
        m.d.comb += [
            self.o.payload.entry.eq(row.entry),
            self.o.payload.last.eq(done),
            lines.o.ready.eq(self.o.valid & self.o.ready & done),
        ]
        with m.If(self.o.valid & self.o.ready & over):
            m.d.sync += later.eq(~done)
        with m.If(rows.o.valid & rows.o.ready):
            m.d.sync += known.eq(1)
        with m.If(self.opened.valid):  # whose number may be that of the place
            m.d.sync += known.eq(0)

    def _words(self, m, line, part, second, at):
        """The word of the part that is offered, and whether it is its last one."""
        lanes, size = self.config.lanes, self.word_width // _BITS
        log, low = size.bit_length() - 1, (self.word_width // 8).bit_length() - 1
        write, before = self.o.payload.write, part.start[:log]
        elements = [Mux(value[_BITS], 2**_BITS - 1, value[:_BITS]) for value in line.probs]
        first = Mux(second, line.a_count, 0)
        count = -(-(size - 1 + lanes) // size)  # most words of a part
        piece, end = Signal(bits_for_count(count)), before + part.count
        here = Signal(lanes * _BITS)
        spread, mask = Signal(count * self.word_width), Signal(count * size)
        m.d.comb += [
            here.eq(Cat(elements) >> (first * _BITS)),
            spread.eq(here << (before * _BITS)),
            mask.eq(((1 << part.count) - 1) << before),
            write.word.eq(at[low:] + part.start[log:] + piece),
            write.data.eq(spread.word_select(piece, self.word_width)),
            write.strobes.eq(Cat(bit.replicate(PROBABILITY_BYTES) for bit in mask.word_select(piece, size))),
        ]
        over = end <= (piece + 1) * size
        with m.If(self.o.valid & self.o.ready):
            m.d.sync += piece.eq(Mux(over, 0, piece + 1))
        return over


def _wanted_of(command, plan):
    return {"wanted": command.flags.probabilities}


def _part(line, row):
    """Part A or B of a line: its query, the key of its first lane, its lanes; whether they are written."""
    query, count = line[f"{row}_query"], line[f"{row}_count"]
    shape = data.StructLayout({"query": len(query), "start": len(line.start), "count": len(count), "live": 1})
    start = line.start if row == "a" else Const(0, len(line.start))
    live = (count != 0) & ~line[f"{row}_drop"]
    return data.View(shape, Cat(query, start, count, live))
