"""WRITE and READ: words of the memory."""

from __future__ import annotations

from amaranth.hdl import Cat, Module, Mux, Signal
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In, Out

from fpga.link.command_port import LENGTH_BITS, CommandPort, finish
from fpga.spec.layouts import HostMemory
from fpga.spec.protocol import MAX_PAYLOAD, Command, Error
from fpga.spec.settings import SystemSettings
from hdl.spec.widths import bits_for_count

__all__ = ["MemoryCommand"]

_HEADER = data.StructLayout({"channel": 16, "first": 32, "count": 16})  # of READ; WRITE has no count
_WRITE_BYTES, _READ_BYTES = 6, 8


class MemoryCommand(wiring.Component):
    """Checks the window, then writes or reads word by word through one shift register.

    Members
    -------
    command : In(CommandPort())     WRITE or READ by its type
    memory : Out(HostMemory(config))
    """

    def __init__(self, settings: SystemSettings):
        self.settings = settings
        self.word_bytes = settings.core.channel_width // 8
        if self.word_bytes > MAX_PAYLOAD - _WRITE_BYTES:
            most = 8 << ((MAX_PAYLOAD - _WRITE_BYTES).bit_length() - 1)
            raise ValueError(f"channel_width must be at most {most} for the link, not {settings.core.channel_width!r}")
        super().__init__({"command": In(CommandPort()), "memory": Out(HostMemory(settings.core))})

    def elaborate(self, platform):
        m = Module()
        self._write = Signal()
        self._bad_length = Signal()
        self._words = Signal(16)  # words of the request, then those that are left
        self._header = Signal(_HEADER, reset_less=True)
        self._word = Signal(8 * self.word_bytes, reset_less=True)
        self._left = Signal(bits_for_count(self.word_bytes))  # bytes of the word
        # A flip-flop for each of these states: the word and the memory are far away.
        self._is = {state: Signal(name=f"in_{state.lower()}") for state in ("FILL", "REQUEST", "RESPONSE", "DRAIN")}
        self._measure(m)
        request = self.memory.request
        m.d.comb += [
            request.valid.eq(self._is["REQUEST"]),
            self.memory.response.ready.eq(self._is["RESPONSE"]),
            request.payload.channel.eq(self._header.channel),
            request.payload.address.eq(self._header.first),
            request.payload.write.eq(self._write),
            request.payload.data.eq(self._word),
        ]
        m.d.sync += [self.command.done.eq(0), self.command.answer.valid.eq(0)]
        m.d.sync += self.command.answer.payload.eq(self._word[:8])
        self._shift_word(m)
        with m.FSM():
            self._take_header(m)
            self._check(m)
            self._move(m)
        return m

    def _measure(self, m):
        """Type and length are there long before the start."""
        command = self.command
        rest = Signal(LENGTH_BITS + 1)  # bytes after the header of a WRITE, or less than 0
        part = self.word_bytes.bit_length() - 1
        m.d.sync += [
            self._write.eq(command.type == Command.WRITE),
            rest.eq(command.length - _WRITE_BYTES),
            self._bad_length.eq(
                Mux(
                    self._write,
                    rest[-1] | rest[:part].any() | (rest == 0),
                    command.length != _READ_BYTES,
                )
            ),
        ]
        self._written = rest[part:-1]

    def _take_header(self, m):
        command = self.command
        place = Signal(range(_READ_BYTES))
        with m.State("IDLE"):
            m.d.sync += place.eq(0)
            with m.If(command.start):
                m.next = "HEADER"
                with m.If(self._bad_length):
                    finish(m, command, Error.BAD_LENGTH)
                    m.next = "IDLE"
        with m.State("HEADER"):
            m.d.comb += command.body.ready.eq(1)
            with m.If(command.body.valid):
                m.d.sync += self._header.as_value().word_select(place, 8).eq(command.body.payload)
                m.d.sync += place.eq(place + 1)
                with m.If(place == Mux(self._write, _WRITE_BYTES, _READ_BYTES) - 1):
                    m.next = "WORDS"

    def _check(self, m):
        """A step or two a cycle."""
        settings, header, words = self.settings, self._header, self._words
        end = Signal(33)
        wrong, outside = Signal(), Signal()
        with m.State("WORDS"):
            m.d.sync += words.eq(Mux(self._write, self._written, header.count))
            m.next = "COUNT"
        with m.State("COUNT"):
            m.d.sync += [
                wrong.eq((words == 0) | (words > MAX_PAYLOAD // self.word_bytes)),
                end.eq(header.first + words),
                outside.eq((header.channel >= settings.core.num_channels) | (header.first < settings.window_base)),
            ]
            m.next = "LIMIT"
        with m.State("LIMIT"):
            m.d.sync += outside.eq(outside | (end > settings.window_limit))
            m.next = "DECIDE"
        with m.State("DECIDE"):
            m.d.sync += self._left.eq(self.word_bytes)
            with m.If(wrong):
                finish(m, self.command, Error.BAD_LENGTH)
                m.next = "IDLE"
            with m.Elif(outside):
                finish(m, self.command, Error.OUTSIDE_WINDOW)
                m.next = "IDLE"
            with m.Else():
                self._begin_word(m)

    def _go(self, m, state):
        m.d.sync += [flag.eq(name == state) for name, flag in self._is.items()]
        m.next = state

    def _begin_word(self, m):
        with m.If(self._write):
            self._go(m, "FILL")
        with m.Else():
            self._go(m, "REQUEST")

    def _shift_word(self, m):
        with m.If(self._is["RESPONSE"]):
            m.d.sync += self._word.eq(self.memory.response.payload)
        with m.Elif(self._is["DRAIN"]):
            m.d.sync += self._word.eq(self._word >> 8)
        with m.Elif(self._is["FILL"] & self.command.body.valid):
            m.d.sync += self._word.eq(Cat(self._word[8:], self.command.body.payload))

    def _move(self, m):
        command, memory, left = self.command, self.memory, self._left
        with m.State("FILL"):
            m.d.comb += command.body.ready.eq(1)
            with m.If(command.body.valid):
                m.d.sync += left.eq(left - 1)
                with m.If(left == 1):
                    self._go(m, "REQUEST")
        with m.State("REQUEST"):
            m.d.sync += left.eq(self.word_bytes)
            with m.If(memory.request.ready):
                m.d.sync += [self._header.first.eq(self._header.first + 1), self._words.eq(self._words - 1)]
                with m.If(self._write):
                    self._go(m, "NEXT")
                with m.Else():
                    self._go(m, "RESPONSE")
        with m.State("RESPONSE"):
            with m.If(memory.response.valid):
                self._go(m, "DRAIN")
        with m.State("DRAIN"):
            m.d.sync += [command.answer.valid.eq(1), left.eq(left - 1)]
            with m.If(left == 1):
                m.d.sync += left.eq(self.word_bytes)
                self._go(m, "NEXT")
        with m.State("NEXT"):
            with m.If(self._words == 0):
                finish(m, command)
                m.next = "IDLE"
            with m.Else():
                self._begin_word(m)
