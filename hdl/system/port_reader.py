"""Requests for commands and tables to a read manager."""

from __future__ import annotations

from amaranth.hdl import Module, Mux, Signal
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out, connect, flipped

from hdl.command.read_port import WORDS_WIDTH, ReadPort
from hdl.result.written_word import ADDRESS_WIDTH
from hdl.spec.widths import bits_for_count
from hdl.stream.stream_queue import StreamQueue

__all__ = ["PortReader"]


class PortReader(wiring.Component):
    """Asks a read manager word by word, and keeps the words until they are taken.

    A word is in error if the manager had a fault when it came, or in the cycle after. Latency 1 for a request, 4 for a
    word; one word a cycle.

    Members
    -------
    port : In(ReadPort)
    request : Out(stream.Signature(n))            to the manager: word number, byte address / bytes of a word
    response : In(stream.Signature(word_width, always_ready=True))
    failed : In(1)                                the manager has a fault
    """

    def __init__(self, *, word_width: int, words: int = 64):
        """``words``: most that are asked for and not taken."""
        self.word_width, self.words = word_width, words
        self.log_bytes = (word_width // 8).bit_length() - 1
        super().__init__(
            {
                "port": In(ReadPort(word_width)),
                "request": Out(stream.Signature(ADDRESS_WIDTH - self.log_bytes)),
                "response": In(stream.Signature(word_width, always_ready=True)),
                "failed": In(1),
            }
        )

    def elaborate(self, platform):
        m = Module()
        word = data.StructLayout({"data": self.word_width, "error": 1})
        m.submodules.queue = queue = StreamQueue(word, depth=self.words)
        connect(m, queue.o, flipped(self.port.word))
        left, number = Signal(WORDS_WIDTH), Signal(ADDRESS_WIDTH - self.log_bytes, reset_less=True)
        owed, room = Signal(bits_for_count(self.words)), Signal()
        asked, taken = self.request.valid & self.request.ready, self.port.word.valid & self.port.word.ready
        come, fresh = Signal(self.word_width, reset_less=True), Signal()
        m.d.sync += [come.eq(self.response.payload), fresh.eq(self.response.valid)]
        m.d.comb += [
            room.eq(owed != self.words),
            self.request.valid.eq((left != 0) & room),
            self.request.payload.eq(number),
            self.port.request.ready.eq((left == 0) | ((left == 1) & asked)),
            queue.i.valid.eq(fresh),
            queue.i.payload.data.eq(come),
            queue.i.payload.error.eq(self.failed),
        ]
        with m.If(asked):
            m.d.sync += [left.eq(left - 1), number.eq(number + 1)]
        with m.If(self.port.request.valid & self.port.request.ready):
            m.d.sync += [
                left.eq(self.port.request.payload.words),
                number.eq(self.port.request.payload.address[self.log_bytes :]),
            ]
        with m.If(asked != taken):
            m.d.sync += owed.eq(owed + Mux(asked, 1, -1))
        return m
