"""APPEND commands between the commands and the bus."""

from __future__ import annotations

from amaranth.hdl import Module, Mux, Signal
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out, connect, flipped

from hdl.append.append_check import AppendCheck
from hdl.append.append_layouts import SATURATED_WIDTH
from hdl.append.append_unit import AppendUnit
from hdl.command.command_check import window
from hdl.command.open_commands import ENTRY_WIDTH, open_append
from hdl.command.read_port import ReadPort
from hdl.result.written_word import ADDRESS_WIDTH, written_word
from hdl.spec.config import Config
from hdl.spec.formats import Code

__all__ = ["AppendStage"]

_REQUEST = ("command", "plan")


class AppendStage(wiring.Component):
    """Checks an APPEND, then lets :class:`hdl.append.append_unit.AppendUnit` do it; of a wrong one nothing is done.

    Latency 26 to the unit's request. A command is taken with its code when all that it writes has left by ``o``.

    Members
    -------
    i : In(stream.Signature(open_append))
    code : Out(8)               of the command that is taken: 0, READ_ERROR, MALFORMED or OUTSIDE
    readable : In(window)       of its queue; constant while a command is on offer
    base : In(64).array(channels)       byte address of word 0 of each channel
    port : Out(ReadPort)
    o : Out(stream.Signature(written_word))      each word is ``last``
    word : Out(1)               pulse: one has left
    opened : In(stream.Signature(ENTRY_WIDTH, always_ready=True))    a command, of whatever kind, begins
    entry : In(ENTRY_WIDTH), saturated : Out(32)    elements of that open command that were beyond their range
    """

    def __init__(self, config: Config, *, word_width: int):
        self.config, self.word_width = config, word_width
        super().__init__(
            {
                "i": In(stream.Signature(open_append())),
                "code": Out(8),
                "readable": In(window()),
                "base": In(ADDRESS_WIDTH).array(config.num_channels),
                "port": Out(ReadPort(word_width)),
                "o": Out(stream.Signature(written_word(word_width))),
                "word": Out(1),
                "opened": In(stream.Signature(ENTRY_WIDTH, always_ready=True)),
                "entry": In(ENTRY_WIDTH),
                "saturated": Out(SATURATED_WIDTH),
            }
        )

    def elaborate(self, platform):
        m = Module()
        m.submodules.check = check = AppendCheck(self.config)
        m.submodules.unit = unit = AppendUnit(self.config, word_width=self.word_width)
        connect(m, unit.port, flipped(self.port))
        given, out = self.i.payload, self.o
        m.d.comb += [
            *(request[name].eq(given[name]) for request in (check.request, unit.request.payload) for name in _REQUEST),
            check.readable.eq(self.readable),
            *(mine.eq(base) for mine, base in zip(unit.channel_base, self.base, strict=True)),
            out.valid.eq(unit.o.valid),
            unit.o.ready.eq(out.ready),
            out.payload.write.eq(unit.o.payload),
            out.payload.entry.eq(given.entry),
            out.payload.last.eq(1),
            self.word.eq(out.valid & out.ready),
        ]
        with m.FSM(name="append"):
            with m.State("IDLE"):
                m.d.comb += check.start.eq(self.i.valid)
                with m.If(self.i.valid):
                    m.next = "CHECK"
            with m.State("CHECK"):
                with m.If(check.done & (check.code == 0)):
                    m.next = "WORK"
                with m.Elif(check.done):
                    m.d.comb += [self.i.ready.eq(1), self.code.eq(check.code)]
                    m.next = "IDLE"
            with m.State("WORK"):
                m.d.comb += [
                    unit.request.valid.eq(1),
                    unit.done.ready.eq(1),
                    self.i.ready.eq(unit.request.ready),
                    self.code.eq(Mux(unit.done.payload.failed, Code.READ_ERROR, 0)),
                ]
                with m.If(unit.request.ready):
                    m.next = "IDLE"
        self._saturated(m, unit.done)
        return m

    def _saturated(self, m, done):
        """That of the last command, until another one has its entry."""
        count, entry, known = Signal(SATURATED_WIDTH, reset_less=True), Signal(ENTRY_WIDTH, reset_less=True), Signal()
        m.d.comb += self.saturated.eq(Mux(known & (self.entry == entry), count, 0))
        with m.If(self.opened.valid & (self.opened.payload == entry)):
            m.d.sync += known.eq(0)
        with m.If(done.valid & done.ready):
            m.d.sync += [count.eq(done.payload.saturated), entry.eq(self.i.payload.entry), known.eq(1)]
