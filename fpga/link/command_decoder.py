"""Requests to the blocks that execute them, and their answers back."""

from __future__ import annotations

from amaranth.hdl import Module, Signal
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out

from fpga.link.command_port import CommandPort
from fpga.link.frame.layouts import answer_layout, buffer_write, request_layout
from fpga.spec.protocol import ANSWER, MAX_PAYLOAD, Command, Error

__all__ = ["GROUPS", "CommandDecoder"]

GROUPS = (
    (Command.VERSION,),
    (Command.RESET,),
    (Command.WRITE, Command.READ),
    (Command.PUSH,),
    (Command.PULL,),
    (Command.COUNTERS,),
    (Command.RESULTS,),
)
"""Commands of each port of the decoder."""


class CommandDecoder(wiring.Component):
    """Executes one request at a time; a request with the CRC of the one before it gets the same answer again.

    A repeated request is not executed: the answer is still in the transmitter's buffer. The CRC covers the sequence
    number, so that the next request has another one. After power-on there is nothing to repeat. A request is taken
    when it has been executed, before its answer is sent.

    Members
    -------
    request : In(stream.Signature(request_layout()))
    body : In(stream.Signature(8))                                       its payload
    answer : Out(stream.Signature(answer_layout()))
    write : Out(stream.Signature(buffer_write(), always_ready=True))     payload of the answer
    commands : Out(CommandPort()).array(len(GROUPS))
    busy : Out(1)       a request is being executed or answered
    failed : Out(1)     pulse: the answer is an error
    """

    def __init__(self):
        super().__init__(
            {
                "request": In(stream.Signature(request_layout())),
                "body": In(stream.Signature(8)),
                "answer": Out(stream.Signature(answer_layout())),
                "write": Out(stream.Signature(buffer_write(), always_ready=True)),
                "commands": Out(CommandPort()).array(len(GROUPS)),
                "busy": Out(1),
                "failed": Out(1),
            }
        )

    def elaborate(self, platform):
        m = Module()
        self._group, self._known = Signal(range(len(GROUPS))), Signal()
        self._repeated = Signal()
        self._start, self._done, self._error = Signal(), Signal(), Signal(8)
        self._count = Signal(range(MAX_PAYLOAD + 1))  # bytes of the answer
        self._code = Signal(8, reset_less=True)
        self._answer = Signal(answer_layout(), reset_less=True)
        m.d.comb += self.answer.payload.eq(self._answer)
        self._connect(m)
        self._write(m)
        m.d.sync += [self._start.eq(0), self.failed.eq(0)]
        with m.FSM():
            self._decide(m)
            self._finish(m)
        return m

    def _connect(self, m):
        """One block is at work; the others take no bytes and give none."""
        request = self.request.payload
        with m.Switch(request.type):
            for number, group in enumerate(GROUPS):
                with m.Case(*map(int, group)):
                    m.d.sync += [self._group.eq(number), self._known.eq(1)]
            with m.Default():
                m.d.sync += self._known.eq(0)
        for number, port in enumerate(self.commands):
            m.d.comb += [
                port.start.eq(self._start & (self._group == number)),
                port.type.eq(request.type),
                port.length.eq(request.length),
                port.body.payload.eq(self.body.payload),
                port.body.valid.eq(self.body.valid),
            ]
        with m.Switch(self._group):
            for number, port in enumerate(self.commands):
                with m.Case(number):
                    m.d.comb += [self.body.ready.eq(port.body.ready), self._done.eq(port.done)]
                    m.d.comb += self._error.eq(port.error)

    def _write(self, m):
        """The answer to the buffer; an error begins it anew."""
        write = self.write
        m.d.sync += [write.valid.eq(0), write.payload.address.eq(self._count)]
        with m.Switch(self._group):
            for number, port in enumerate(self.commands):
                with m.Case(number):
                    m.d.sync += [write.valid.eq(port.answer.valid), write.payload.byte.eq(port.answer.payload)]
                    m.d.sync += self._count.eq(self._count + port.answer.valid)

    def _decide(self, m):
        request, answer = self.request.payload, self._answer
        last, any_before = Signal(32, reset_less=True), Signal()
        m.d.sync += self._repeated.eq(any_before & (request.crc == last))
        with m.State("IDLE"):
            with m.If(self.request.valid):
                m.d.sync += self.busy.eq(1)
                m.next = "COMPARE"
        with m.State("COMPARE"):
            m.next = "DECIDE"
        with m.State("DECIDE"):
            with m.If(self._repeated):
                m.next = "TAKE"
            with m.Else():
                m.d.sync += [last.eq(request.crc), any_before.eq(1), self._count.eq(0)]
                m.d.sync += [answer.type.eq(request.type | ANSWER), answer.seq.eq(request.seq)]
                with m.If(request.too_long):
                    m.d.sync += self._code.eq(Error.TOO_LONG)
                    m.next = "CODE"
                with m.Elif(~self._known):
                    m.d.sync += self._code.eq(Error.UNKNOWN_COMMAND)
                    m.next = "CODE"
                with m.Else():
                    m.d.sync += self._start.eq(1)
                    m.next = "RUN"

    def _finish(self, m):
        write, answer = self.write, self._answer
        with m.State("RUN"):
            m.d.sync += self._code.eq(self._error)
            with m.If(self._done):
                m.next = "LENGTH"
                with m.If(self._error != 0):
                    m.next = "CODE"
        with m.State("CODE"):
            m.d.sync += [write.valid.eq(1), write.payload.address.eq(0), write.payload.byte.eq(self._code)]
            m.d.sync += [self.failed.eq(1), answer.type.eq(Command.ERROR)]
            m.next = "TYPE"
        with m.State("TYPE"):
            m.d.sync += [
                write.valid.eq(1),
                write.payload.address.eq(1),
                write.payload.byte.eq(self.request.payload.type),
            ]
            m.d.sync += self._count.eq(2)
            m.next = "LENGTH"
        with m.State("LENGTH"):
            m.d.sync += answer.length.eq(self._count)
            m.next = "TAKE"
        with m.State("TAKE"):
            m.d.comb += self.request.ready.eq(1)
            m.d.sync += self.answer.valid.eq(1)
            m.next = "SEND"
        with m.State("SEND"):
            with m.If(self.answer.ready):
                m.d.sync += [self.answer.valid.eq(0), self.busy.eq(0)]
                m.next = "IDLE"
