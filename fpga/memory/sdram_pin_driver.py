"""The pins of an SDRAM: commands out, and the beats of words in both directions."""

from __future__ import annotations

from amaranth.hdl import Cat, Module, Mux, Signal
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In, Out

from fpga.spec import sdram_pins as P
from fpga.spec.sdram_pins import SdramCommand, SdramPins

__all__ = ["SdramPinDriver", "sdram_order"]


def sdram_order() -> data.StructLayout:
    """A command with its address."""
    return data.StructLayout({"command": SdramCommand, "address": P.ROW_BITS, "bank": P.BANK_BITS})


class SdramPinDriver(wiring.Component):
    """Registers at the pins, and shift registers of a word's beats.

    Data pins lie on other sides of the chip than those of commands: a register is between them. A flag that left with
    a READ comes back when its word is complete, ``2 + cas_latency + round_trip + beats`` cycles later.

    Members
    -------
    order : In(sdram_order())
    configured : In(1)                the mode register is set: data is not masked
    reading, writing : In(1)          the command of the next cycle is a READ, a WRITE
    of_host : In(1)                   the word that is read is the host's
    data : In(word_width)             word of a write, in the cycle of ``written``
    written : Out(1)                  ``data`` is taken
    word : Out(word_width)            the word read, in the cycle of one of:
    core_word, host_word : Out(1)
    pins : Out(SdramPins)
    """

    def __init__(self, word_width: int, *, cas_latency: int, round_trip: int):
        self.beats = word_width // P.BEAT_WIDTH
        self.latency = 2 + cas_latency + round_trip + self.beats
        super().__init__(
            {
                "order": In(sdram_order()),
                "configured": In(1),
                "reading": In(1),
                "writing": In(1),
                "of_host": In(1),
                "data": In(word_width),
                "written": Out(1),
                "word": Out(word_width),
                "core_word": Out(1),
                "host_word": Out(1),
                "pins": Out(SdramPins()),
            }
        )

    def elaborate(self, platform):
        m = Module()
        self._send(m)
        self._capture(m)
        return m

    def _send(self, m):
        """Commands, and beats of a write with and after theirs, the lowest first."""
        pins, order = self.pins, self.order
        beats, driving, writing = Signal(len(self.data), reset_less=True), Signal(self.beats), Signal()
        command = Signal(SdramCommand, init=SdramCommand.NOP)
        m.d.sync += [command.eq(order.command), pins.a.eq(order.address), pins.ba.eq(order.bank)]
        m.d.sync += writing.eq(self.writing)
        m.d.comb += [
            Cat(pins.we_n, pins.cas_n, pins.ras_n).eq(command),
            pins.cke.eq(1),
            pins.cs_n.eq(0),
            pins.dq_o.eq(beats[: P.BEAT_WIDTH]),
            pins.dq_oe.eq(driving[0]),
            self.written.eq(writing),
        ]
        m.d.sync += [
            pins.dqm.eq(Mux(self.configured, 0b00, 0b11)),
            beats.eq(beats >> P.BEAT_WIDTH),
            driving.eq(driving >> 1),
        ]
        with m.If(writing):
            m.d.sync += [beats.eq(self.data), driving.eq(~0)]

    def _capture(self, m):
        """Every beat is shifted in; a flag that left with the command says when the word is complete."""
        core, host = Signal(self.latency), Signal(self.latency)
        word = Signal(len(self.word), reset_less=True)
        m.d.sync += [
            core.eq(Cat(self.reading & ~self.of_host, core)),
            host.eq(Cat(self.reading & self.of_host, host)),
            word.eq(Cat(word[P.BEAT_WIDTH :], self.pins.dq_i)),
        ]
        m.d.comb += [self.word.eq(word), self.core_word.eq(core[-1]), self.host_word.eq(host[-1])]
