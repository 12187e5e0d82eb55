"""Ids and importance of a table of tokens, for the core."""

from __future__ import annotations

from amaranth.hdl import Module, Mux, Signal
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out, connect, flipped

from hdl.command.open_commands import ENTRY_WIDTH
from hdl.command.read_port import WORDS_WIDTH, ReadPort, check_word_width
from hdl.command.record_reader import RecordReader
from hdl.command.token_beats import TokenBeats, token_group
from hdl.spec.config import Config
from hdl.spec.formats import TABLE_HEADER_BYTES
from hdl.spec.payloads import job_id_entry
from hdl.spec.widths import bits_for_count
from hdl.stream.stream_queue import StreamQueue

__all__ = ["TokenReader", "token_request"]


def token_request(config: Config) -> data.StructLayout:
    """All ``count`` tokens of the table at an address, at least one, for an open command."""
    return data.StructLayout({"address": 64, "count": bits_for_count(config.max_tokens), "entry": ENTRY_WIDTH})


class TokenReader(wiring.Component):
    """Reads a table behind its header, to the end of the last group of ``lanes`` tokens.

    Words are asked for piece by piece, each when there is room for it: the core may take its ids late, and no word of
    others waits for them at the port. A beat a cycle, or a word a cycle if that is less; a request is taken when the
    one before it is out. In place of a word that could not be read the core gets zeros, and ``failed`` names the
    command.

    Members
    -------
    request : In(stream.Signature(token_request))
    port : Out(ReadPort)
    ids : Out(stream.Signature(job_id_entry))
    failed : Out(stream.Signature(ENTRY_WIDTH, always_ready=True))    at the latest with the table's last ids
    """

    PIECE, WORDS = 16, 64
    """Most words of a piece, and of those that are asked for and not taken."""

    def __init__(self, config: Config, *, word_width: int):
        self.config, self.word_width = config, check_word_width(word_width)
        super().__init__(
            {
                "request": In(stream.Signature(token_request(config))),
                "port": Out(ReadPort(word_width)),
                "ids": Out(stream.Signature(job_id_entry(config))),
                "failed": Out(stream.Signature(ENTRY_WIDTH, always_ready=True)),
            }
        )

    def elaborate(self, platform):
        m = Module()
        config, group = self.config, token_group(self.config)
        m.submodules.reader = reader = RecordReader(group, word_width=self.word_width)
        m.submodules.beats = beats = TokenBeats(config)
        word = data.StructLayout({"data": self.word_width, "error": 1})
        m.submodules.waiting = waiting = StreamQueue(word, depth=self.WORDS)
        connect(m, flipped(self.port.word), waiting.i)
        connect(m, waiting.o, reader.word)
        connect(m, reader.o, beats.i)
        connect(m, beats.o, flipped(self.ids))
        wanted, left = self.request.payload, Signal(WORDS_WIDTH)  # words that have not been asked for
        groups = (wanted.count + config.lanes - 1) >> (config.lanes.bit_length() - 1)
        words = (groups * group.size + self.word_width - 1) >> (self.word_width.bit_length() - 1)
        m.d.comb += [
            reader.start.valid.eq(self.request.valid & (left == 0)),
            reader.start.payload.eq(groups),
            self.request.ready.eq(reader.start.ready & (left == 0)),
            self.failed.valid.eq(reader.o.valid & reader.o.payload.error),
        ]
        self._ask(m, left, waiting)
        with m.If(self.request.valid & self.request.ready):
            m.d.sync += [
                beats.count.eq(wanted.count),
                self.failed.payload.eq(wanted.entry),
                left.eq(words),
                self.port.request.payload.address.eq(wanted.address + TABLE_HEADER_BYTES),
            ]
        return m

    def _ask(self, m, left, waiting):
        """Piece after piece, while there is room for a whole one."""
        request, log_bytes = self.port.request, (self.word_width // 8).bit_length() - 1
        free, room = Signal(bits_for_count(self.WORDS), init=self.WORDS), Signal(init=1)
        asked, taken = request.valid & request.ready, waiting.o.valid & waiting.o.ready
        after = free - Mux(asked, request.payload.words, 0) + taken
        m.d.sync += [free.eq(after), room.eq(after >= self.PIECE)]
        m.d.comb += [
            request.valid.eq((left != 0) & room),
            request.payload.words.eq(Mux(left > self.PIECE, self.PIECE, left)),
        ]
        with m.If(asked):
            m.d.sync += [
                left.eq(left - request.payload.words),
                request.payload.address.eq(request.payload.address + (request.payload.words << log_bytes)),
            ]
