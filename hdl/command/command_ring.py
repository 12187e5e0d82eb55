"""A ring of commands in memory, read ahead."""

from __future__ import annotations

from amaranth.hdl import Module, Mux, Signal
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out, connect, flipped

from hdl.command.read_port import ReadPort, check_word_width
from hdl.command.record_reader import RecordFetcher
from hdl.spec.formats import COMMAND_BYTES
from hdl.stream.stream_queue import StreamQueue

__all__ = ["COUNT_WIDTH", "CommandRing", "slot"]

COUNT_WIDTH = 16
"""Bits of a count of commands, which goes on around 0."""


def slot() -> data.StructLayout:
    """A command as it lies in its ring."""
    return data.StructLayout(
        {
            "number": COUNT_WIDTH,  # commands of the ring before it, modulo 2^16
            "command": 8 * COMMAND_BYTES,
            "more": 1,  # the next command had been announced when this one was asked for, and both answers have room
            "error": 1,  # it could not be read
        }
    )


class CommandRing(wiring.Component):
    """Reads commands ``head`` … ``tail`` - 1 of a ring of 2**log_size slots, each as soon as there is room for it.

    Both numbers count commands since the ring was enabled, modulo 2^16; command n lies in slot n mod 2**log_size. The
    host writes a command, then ``tail``. A slot may be written again when ``head`` is beyond its command: its copy is
    here. At most ``AHEAD`` commands are on their way or wait; without ``enable`` no more are read, and ``head`` is 0
    again when those that were have left.

    A command leaves only if the ring of completions has room for its answer, one for each that has left, or if answers
    need none.

    Members
    -------
    enable : In(1)
    run : In(1)         commands are read
    flush : In(1)       answers need no room
    base : In(64)       byte address of slot 0, a multiple of 64; this and the sizes are constant while enabled
    log_size : In(4)    0…15
    tail : In(16)
    log_completions : In(4)    entries of the ring of completions, 2**log_completions, 0…15
    completion_head : In(16)   completions that the host has read
    head : Out(16)
    number : Out(16)    commands that have left
    idle : Out(1)       nothing is on its way, and nothing waits
    reading : Out(1)    something is on its way
    spare : Out(1)      the command after the one on offer has been asked for, and has room for its answer
    port : Out(ReadPort)
    o : Out(stream.Signature(slot))
    """

    AHEAD = 8

    def __init__(self, *, word_width: int):
        self.word_width = check_word_width(word_width)
        super().__init__(
            {
                "enable": In(1),
                "run": In(1),
                "flush": In(1),
                "base": In(64),
                "log_size": In(4),
                "tail": In(COUNT_WIDTH),
                "log_completions": In(4),
                "completion_head": In(COUNT_WIDTH),
                "head": Out(COUNT_WIDTH),
                "number": Out(COUNT_WIDTH),
                **dict.fromkeys(("idle", "reading", "spare"), Out(1)),
                "port": Out(ReadPort(word_width)),
                "o": Out(stream.Signature(slot())),
            }
        )

    def elaborate(self, platform):
        m = Module()
        shape, sizes = 8 * COMMAND_BYTES, {"word_width": self.word_width, "ahead": self.AHEAD}
        m.submodules.fetcher = fetcher = RecordFetcher(shape, **sizes)
        m.submodules.more = StreamQueue(1, depth=self.AHEAD)  # of the commands on their way
        entry = data.StructLayout({name: slot()[name].shape for name in ("command", "more", "error")})
        m.submodules.waiting = waiting = StreamQueue(entry, depth=self.AHEAD)
        connect(m, fetcher.port, flipped(self.port))
        number, leave = self.number, Signal()  # of the command that leaves next
        inside = self._ask(m, number, leave)
        room, two, unread = Signal(), Signal(), Signal(COUNT_WIDTH)
        size = 1 << self.log_completions
        m.d.sync += [room.eq(self.flush | (unread < size)), two.eq(unread + 1 < size)]
        m.d.comb += [
            unread.eq(number - self.completion_head + leave),
            self.head.eq(number + waiting.level),
            self.o.valid.eq(waiting.o.valid & room),
            waiting.o.ready.eq(self.o.ready & room),
            self.o.payload.number.eq(number),
            *(self.o.payload[name].eq(waiting.o.payload[name]) for name in entry.members),
            leave.eq(self.o.valid & self.o.ready),
            self.spare.eq(two & (inside > 1)),
        ]
        return m

    def _ask(self, m, number, leave):
        """Requests for the commands up to ``tail``, while there is room for them; how many have not left."""
        fetcher, waiting, request = m.submodules.fetcher, m.submodules.waiting, m.submodules.fetcher.request
        more = m.submodules.more
        asked, inside = Signal(COUNT_WIDTH), Signal(range(self.AHEAD + 1))
        go, next_ = Signal(), Signal(COUNT_WIDTH)
        mask = (1 << self.log_size) - 1
        m.d.comb += [
            waiting.i.valid.eq(fetcher.o.valid),
            fetcher.o.ready.eq(waiting.i.ready),
            waiting.i.payload.command.eq(fetcher.o.payload.record),
            waiting.i.payload.more.eq(more.o.payload),
            more.i.valid.eq(go),
            more.i.payload.eq((next_ != self.tail) & (self.log_completions != 0)),
            more.o.ready.eq(fetcher.o.valid & waiting.i.ready),
            waiting.i.payload.error.eq(fetcher.o.payload.error),
            request.valid.eq(self.enable & self.run & (asked != self.tail) & (inside < self.AHEAD)),
            request.payload.address.eq(self.base + ((asked & mask) << 6)),
            request.payload.words.eq(8 * COMMAND_BYTES // self.word_width),
            request.payload.records.eq(1),
            go.eq(request.valid & request.ready),
            self.idle.eq(inside == 0),
            self.reading.eq(inside != waiting.level),
            next_.eq(asked + 1),
        ]
        with m.If(leave):
            m.d.sync += number.eq(number + 1)
        with m.If(go):
            m.d.sync += asked.eq(next_)
        with m.Elif(~self.enable & self.idle):
            m.d.sync += [asked.eq(0), number.eq(0)]
        with m.If(go != leave):
            m.d.sync += inside.eq(inside + Mux(go, 1, -1))
        return inside
