"""PULL: results to the host."""

from __future__ import annotations

from amaranth.hdl import Cat, Module, Mux, Signal
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In

from fpga.link.command_port import LENGTH_BITS, CommandPort, finish
from fpga.link.result_queue import record_byte, record_sizes
from fpga.spec.protocol import MAX_PAYLOAD, Error
from hdl.spec.config import Config

__all__ = ["PullCommand"]


class PullCommand(wiring.Component):
    """Answers with whole records as long as there are some and the next one fits.

    Members
    -------
    command : In(CommandPort())
    record : In(stream.Signature(record_byte()))    of ResultQueue
    """

    def __init__(self, config: Config):
        self.sizes = record_sizes(config)
        super().__init__({"command": In(CommandPort()), "record": In(stream.Signature(record_byte()))})

    def elaborate(self, platform):
        m = Module()
        command, record = self.command, self.record
        left = Signal(16)  # bytes of the answer that are free
        m.d.sync += [command.done.eq(0), command.answer.valid.eq(0), command.answer.payload.eq(record.payload.byte)]
        with m.FSM():
            self._take_limit(m, left)
            self._copy(m, left)
        return m

    def _take_limit(self, m, left):
        command = self.command
        high = Signal()  # the second byte comes
        with m.State("IDLE"):
            m.d.sync += high.eq(0)
            with m.If(command.start):
                with m.If(command.length != 2):
                    finish(m, command, Error.BAD_LENGTH)
                with m.Else():
                    m.next = "LIMIT"
        with m.State("LIMIT"):
            m.d.comb += command.body.ready.eq(1)
            with m.If(command.body.valid):
                m.d.sync += [left.eq(Cat(left[8:], command.body.payload)), high.eq(1)]
                with m.If(high):
                    m.next = "CLAMP"
        with m.State("CLAMP"):
            m.d.sync += left.eq(Mux(left > MAX_PAYLOAD, MAX_PAYLOAD, left))
            m.next = "LOOK"

    def _copy(self, m, left):
        """Record by record; whether the next one fits is settled in three cycles."""
        command, record = self.command, self.record
        size, there, fits = Signal(LENGTH_BITS), Signal(), Signal()
        with m.State("LOOK"):
            m.d.sync += there.eq(record.valid)
            with m.Switch(record.payload.byte[:2]):
                for number, number_size in enumerate(self.sizes):
                    with m.Case(number):
                        m.d.sync += size.eq(number_size)
            m.next = "COMPARE"
        with m.State("COMPARE"):
            m.d.sync += fits.eq(there & (size <= left))
            m.next = "DECIDE"
        with m.State("DECIDE"):
            with m.If(fits):
                m.d.sync += left.eq(left - size)
                m.next = "COPY"
            with m.Else():
                finish(m, command)
                m.next = "IDLE"
        with m.State("COPY"):
            m.d.comb += record.ready.eq(1)
            m.d.sync += command.answer.valid.eq(record.valid)
            with m.If(record.valid & record.payload.last):
                m.next = "LOOK"
