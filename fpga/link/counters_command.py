"""COUNTERS: a snapshot of all counters."""

from __future__ import annotations

from amaranth.hdl import Cat, Module, Mux, Signal
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In, Out

from fpga.link.command_port import CommandPort, finish
from fpga.spec.protocol import MAX_PAYLOAD, Error
from hdl.control.counters import COUNTER_WIDTH, counters_layout
from hdl.spec.config import Config

__all__ = ["CountersCommand"]


class CountersCommand(wiring.Component):
    """Takes all counters in one cycle, in which it may also clear them, and shifts them out, each in 8 bytes.

    Events of the cycle in which the counters are cleared are not counted.

    Members
    -------
    command : In(CommandPort())
    counters : In(counters_layout(config))
    words_read : In(ArrayLayout(48, num_channels))
    dropped : In(32)                 frames dropped; never cleared
    counters_clear : Out(1)          pulse: of ``counters`` and ``words_read``
    """

    VALUE_BYTES = 8

    def __init__(self, config: Config):
        self.num_values = len(counters_layout(config).members) + config.num_channels + 1
        if self.num_values * self.VALUE_BYTES > MAX_PAYLOAD:
            most = MAX_PAYLOAD // self.VALUE_BYTES - (self.num_values - config.num_channels)
            raise ValueError(f"num_channels must be at most {most} for the link, not {config.num_channels!r}")
        super().__init__(
            {
                "command": In(CommandPort()),
                "counters": In(counters_layout(config)),
                "words_read": In(data.ArrayLayout(COUNTER_WIDTH, config.num_channels)),
                "dropped": In(32),
                "counters_clear": Out(1),
            }
        )

    def elaborate(self, platform):
        m = Module()
        command = self.command
        # The shift register lies all over the chip: its enable is a flip-flop, so a byte takes two cycles.
        load, moves, send = Signal(), Signal(), Signal()
        left, place = Signal(range(self.num_values)), Signal(range(self.VALUE_BYTES))
        self._shift(m, load, moves, send, place)
        with m.FSM():
            with m.State("IDLE"):
                m.d.sync += [left.eq(self.num_values - 1), place.eq(0)]
                with m.If(command.start):
                    with m.If(command.length != 1):
                        finish(m, command, Error.BAD_LENGTH)
                    with m.Else():
                        m.next = "CLEAR"
            with m.State("CLEAR"):
                m.d.comb += command.body.ready.eq(1)
                with m.If(command.body.valid):
                    m.d.sync += [load.eq(1), moves.eq(1), self.counters_clear.eq(command.body.payload[0])]
                    m.next = "SNAPSHOT"
            with m.State("SNAPSHOT"):
                m.next = "SEND"
            with m.State("SEND"):
                m.d.comb += send.eq(1)
                m.next = "SHIFT"
            with m.State("SHIFT"):
                m.d.sync += place.eq(place + 1)
                m.next = "SEND"
                with m.If(place == self.VALUE_BYTES - 1):
                    m.d.sync += left.eq(left - 1)
                    with m.If(left == 0):
                        finish(m, command)
                        m.next = "IDLE"
        return m

    def _shift(self, m, load, moves, send, place):
        """All counters when ``load`` and ``moves``; a byte of them, or of the zeros above each, when ``send``."""
        command = self.command
        shifter = Signal(self.num_values * COUNTER_WIDTH, reset_less=True)
        inside = Signal()  # of the counter, not of the zeros above it
        m.d.comb += inside.eq(place < COUNTER_WIDTH // 8)
        m.d.sync += [command.done.eq(0), load.eq(0), moves.eq(send & inside), self.counters_clear.eq(0)]
        m.d.sync += [command.answer.valid.eq(send), command.answer.payload.eq(Mux(inside, shifter[:8], 0))]
        with m.If(moves):
            m.d.sync += shifter.eq(Mux(load, Cat(self.counters, self.words_read, self.dropped), shifter >> 8))
