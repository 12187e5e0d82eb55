"""Attention outputs to memory."""

from __future__ import annotations

from amaranth.hdl import Module, Mux, Signal
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out, connect, flipped

from hdl.command.open_commands import ENTRY_WIDTH, open_head, opened_command
from hdl.result.out_formatter import OutFormatter, formatted_elements
from hdl.result.output_pieces import OutputPieces, placed_group
from hdl.result.output_rows import OutputRows, output_row
from hdl.result.word_joiner import WordJoiner
from hdl.result.written_word import written_word
from hdl.spec import payloads
from hdl.spec.config import Config
from hdl.spec.formats import OutFormat
from hdl.spec.widths import DIM_WIDTH, signed
from hdl.stream.stream_queue import StreamQueue

__all__ = ["ResultWriter"]


def _beat(config: Config) -> data.StructLayout:
    values = data.ArrayLayout(signed(config.out_width), config.norm_lanes)
    return data.StructLayout({"values": values, "last": 1})


class ResultWriter(wiring.Component):
    """Puts every output row of the core at its place, in its command's format (docs/commands.md).

    Rows come beat after beat; rows of several commands may alternate. ``opened`` and ``head`` tell of a command before
    its rows. Latency about 14 from a row's first beat; the rate is a beat, or a word, a cycle, and a row in 2 + g
    cycles (:class:`hdl.result.output_rows.OutputRows`).

    Members
    -------
    opened : In(stream.Signature(opened_command, always_ready=True))
    head : In(stream.Signature(open_head, always_ready=True))
    out : In(stream.Signature(job_output))           of the core; job ids are numbers of open commands
    o : Out(stream.Signature(written_word))          ``last`` is with a row's last word
    row : Out(1)                                     pulse: the last beat of a row is taken
    """

    BEATS, ROWS = 8, 3
    """Beats that wait for their row's place, and rows."""

    def __init__(self, config: Config, *, queues: int = 2, word_width: int = 64):
        self.config, self.queues, self.word_width = config, queues, word_width
        super().__init__(
            {
                "opened": In(stream.Signature(opened_command(queues), always_ready=True)),
                "head": In(stream.Signature(open_head(), always_ready=True)),
                "out": In(stream.Signature(payloads.job_output(config))),
                "o": Out(stream.Signature(written_word(word_width))),
                "row": Out(1),
            }
        )

    def elaborate(self, platform):
        m = Module()
        config = self.config
        m.submodules.waiting = waiting = StreamQueue(output_row(config), depth=self.ROWS)
        m.submodules.beats = beats = StreamQueue(_beat(config), depth=self.BEATS)
        m.submodules.rows = rows = OutputRows(config, queues=self.queues)
        m.submodules.formatter = formatter = OutFormatter(config)
        # Formatted elements end a chain of ready; as many groups wait beside the formatter and its queue.
        m.submodules.formatted = formatted = StreamQueue(formatted_elements(config), depth=3)
        m.submodules.groups = groups = StreamQueue(placed_group(), depth=8)
        m.submodules.pieces = pieces = OutputPieces(config, word_width=self.word_width)
        m.submodules.joiner = joiner = WordJoiner(word_width=self.word_width)
        connect(m, flipped(self.opened), rows.opened)
        connect(m, flipped(self.head), rows.head)
        connect(m, waiting.o, rows.i)
        connect(m, groups.o, pieces.group)
        connect(m, formatter.o, formatted.i)
        connect(m, formatted.o, pieces.elements)
        connect(m, pieces.o, joiner.i)
        connect(m, joiner.o, flipped(self.o))
        self._take(m, waiting, beats)
        self._format(m, rows, beats, formatter, groups)
        return m

    def _take(self, m, waiting, beats):
        """Beats to their queue, and the first one's row to its."""
        begins, out = Signal(init=1), self.out
        ready = beats.i.ready & (waiting.i.ready | ~begins)
        m.d.comb += [
            out.ready.eq(ready),
            beats.i.valid.eq(out.valid & ready),
            beats.i.payload.values.eq(out.payload.values),
            beats.i.payload.last.eq(out.payload.last),
            waiting.i.valid.eq(out.valid & ready & begins),
            waiting.i.payload.entry.eq(out.payload.job_id[:ENTRY_WIDTH]),
            waiting.i.payload.head.eq(out.payload.head),
            waiting.i.payload.query.eq(out.payload.query),
            self.row.eq(out.valid & ready & out.payload.last),
        ]
        with m.If(out.valid & ready):
            m.d.sync += begins.eq(out.payload.last)

    def _format(self, m, rows, beats, formatter, groups):
        """A beat with its row to the formatter, its place beside it."""
        row, beat, group = rows.o.payload, beats.o.payload, groups.i.payload
        before = Signal(DIM_WIDTH)  # elements of the row
        both, go = beats.o.valid & rows.o.valid, Signal()
        short = row.format == OutFormat.BF16
        m.d.comb += [
            go.eq(both & formatter.i.ready & groups.i.ready),
            formatter.i.valid.eq(both & groups.i.ready),
            formatter.i.payload.format.eq(row.format),
            formatter.i.payload.exponent.eq(row.exponent),
            formatter.i.payload.values.eq(beat.values),
            groups.i.valid.eq(both & formatter.i.ready),
            group.entry.eq(row.entry),
            group.address.eq(row.address + Mux(short, before << 1, before << 2)),
            group.left.eq(row.dim - before),
            group.short.eq(short),
            group.last.eq(beat.last),
            beats.o.ready.eq(go),
            rows.o.ready.eq(go & beat.last),
        ]
        with m.If(go):
            m.d.sync += before.eq(Mux(beat.last, 0, before + self.config.norm_lanes))
