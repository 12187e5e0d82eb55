"""Frames for the serial line, see docs/protocol.md: flags, escapes, CRC-32, and the buffer of the payload."""

from __future__ import annotations

import enum

from amaranth.hdl import Cat, Module, Mux, Signal
from amaranth.lib import stream, wiring
from amaranth.lib.crc import Processor
from amaranth.lib.memory import Memory
from amaranth.lib.wiring import In, Out

from fpga.link.frame.layouts import CRC_PARAMETERS, answer_layout, buffer_write
from fpga.spec.protocol import CRC_BYTES, ESCAPE, ESCAPE_XOR, FLAG, HEADER_BYTES, MAX_PAYLOAD

__all__ = ["FrameTransmitter"]


class _Part(enum.IntEnum):
    """Parts of a frame, in their order."""

    START = 0
    HEADER = 1
    PAYLOAD = 2
    CRC = 3
    STOP = 4


class FrameTransmitter(wiring.Component):
    """Sends an answer as a frame; holds the buffer of its payload, which keeps its contents for a repetition.

    Members
    -------
    write : In(stream.Signature(buffer_write(), always_ready=True))    a byte of the payload; not while an answer waits
    answer : In(stream.Signature(answer_layout()))                     taken when its last byte has left
    o : Out(stream.Signature(8))                                       bytes for the line
    """

    def __init__(self):
        super().__init__(
            {
                "write": In(stream.Signature(buffer_write(), always_ready=True)),
                "answer": In(stream.Signature(answer_layout())),
                "o": Out(stream.Signature(8)),
            }
        )

    def elaborate(self, platform):
        m = Module()
        m.submodules.memory = self._memory = Memory(shape=8, depth=MAX_PAYLOAD, init=[])
        m.submodules.crc = self._crc = Processor(CRC_PARAMETERS)
        write = self._memory.write_port()
        m.d.comb += [
            write.en.eq(self.write.valid),
            write.addr.eq(self.write.payload.address),
            write.data.eq(self.write.payload.byte),
        ]
        # A byte before escapes; ``sent`` when the line has it.
        self._byte, self._given, self._sent = Signal(8, reset_less=True), Signal(), Signal()
        self._flag = Signal()  # it is a flag
        self._sequence(m)
        self._stuff(m)
        return m

    def _sequence(self, m):
        """Flag, header, payload, CRC, flag, byte by byte; all parts but the payload come out of a shift register."""
        crc = self._crc
        read = self._memory.read_port()
        part = Signal(_Part)
        short, left = Signal(8 * HEADER_BYTES, reset_less=True), Signal(range(MAX_PAYLOAD + 1))
        place = Signal(range(MAX_PAYLOAD))
        payload = part == _Part.PAYLOAD
        m.d.comb += [
            read.addr.eq(place),
            read.en.eq(1),
            crc.data.eq(self._byte),
            self._flag.eq((part == _Part.START) | (part == _Part.STOP)),
        ]
        with m.FSM():
            with m.State("IDLE"):
                m.d.comb += crc.start.eq(1)
                m.d.sync += [part.eq(_Part.START), short.eq(FLAG), left.eq(1), place.eq(0)]
                with m.If(self.answer.valid):
                    m.next = "NEXT"
            with m.State("NEXT"):
                with m.If(left != 0):
                    m.next = "BYTE"
                with m.Elif(part == _Part.STOP):
                    m.d.comb += self.answer.ready.eq(1)
                    m.next = "IDLE"
                with m.Else():
                    self._begin(m, part, short, left)
            with m.State("BYTE"):
                m.d.sync += [self._byte.eq(Mux(payload, read.data, short)), short.eq(short >> 8), left.eq(left - 1)]
                m.d.sync += [place.eq(place + payload), self._given.eq(1)]
                m.next = "WAIT"
            with m.State("WAIT"):
                m.d.comb += crc.valid.eq(self._sent & ~self._flag)
                with m.If(self._sent):
                    m.d.sync += self._given.eq(0)
                    m.next = "NEXT"

    def _begin(self, m, part, short, left):
        """The part after this one."""
        answer = self.answer.payload
        m.d.sync += part.eq(part + 1)
        with m.Switch(part):
            with m.Case(_Part.START):
                m.d.sync += [short.eq(Cat(answer.length, answer.type, answer.seq)), left.eq(HEADER_BYTES)]
            with m.Case(_Part.HEADER):
                m.d.sync += left.eq(answer.length)
            with m.Case(_Part.PAYLOAD):
                m.d.sync += [short.eq(self._crc.crc), left.eq(CRC_BYTES)]
            with m.Case(_Part.CRC):
                m.d.sync += [short.eq(FLAG), left.eq(1)]

    def _stuff(self, m):
        """An escape before a byte that would be taken for a flag or an escape."""
        with m.FSM():
            with m.State("IDLE"):
                m.d.sync += self.o.payload.eq(self._byte)
                with m.If(self._given):
                    m.d.sync += self.o.valid.eq(1)
                    m.next = "BYTE"
                    with m.If(~self._flag & ((self._byte == FLAG) | (self._byte == ESCAPE))):
                        m.d.sync += self.o.payload.eq(ESCAPE)
                        m.next = "ESCAPE"
            with m.State("ESCAPE"):
                with m.If(self.o.ready):
                    m.d.sync += self.o.payload.eq(self._byte ^ ESCAPE_XOR)
                    m.next = "BYTE"
            with m.State("BYTE"):
                with m.If(self.o.ready):
                    m.d.comb += self._sent.eq(1)
                    m.d.sync += self.o.valid.eq(0)
                    m.next = "IDLE"
