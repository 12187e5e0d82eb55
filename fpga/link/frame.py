"""Frames on the serial line, see docs/protocol.md: flags, escapes, CRC-32, and the buffers of their payloads."""

from __future__ import annotations

import enum

from amaranth.hdl import Cat, Module, Mux, Signal
from amaranth.lib import data, stream, wiring
from amaranth.lib.crc import Processor
from amaranth.lib.crc.catalog import CRC32_ISO_HDLC
from amaranth.lib.memory import Memory
from amaranth.lib.wiring import In, Out

from fpga.spec.protocol import CRC_BYTES, ESCAPE, ESCAPE_XOR, FLAG, HEADER_BYTES, MAX_PAYLOAD

__all__ = ["CRC_PARAMETERS", "FrameReceiver", "FrameTransmitter", "answer_layout", "buffer_write", "request_layout"]

CRC_PARAMETERS = CRC32_ISO_HDLC(data_width=8)

_HEADER = data.StructLayout({"length": 16, "type": 8, "seq": 16})


class _Part(enum.IntEnum):
    """Parts of a frame, in their order."""

    START = 0
    HEADER = 1
    PAYLOAD = 2
    CRC = 3
    STOP = 4


def request_layout() -> data.StructLayout:
    """A frame with a good CRC."""
    return data.StructLayout(
        {
            "type": 8,
            "seq": 16,
            "length": 16,  # bytes of the payload
            "too_long": 1,  # more than MAX_PAYLOAD: the rest is lost
            "crc": 32,  # of header and payload
        }
    )


def answer_layout() -> data.StructLayout:
    """What is sent before the payload in the answer buffer."""
    return data.StructLayout({"type": 8, "seq": 16, "length": 16})


def buffer_write() -> data.StructLayout:
    """A byte of a payload buffer."""
    return data.StructLayout({"address": range(MAX_PAYLOAD), "byte": 8})


class FrameReceiver(wiring.Component):
    """Finds frames, checks length and CRC, and holds the payload of a good one until the request is taken.

    Every flag ends what came before it and begins anew, so that garbage never costs the frame after it. No byte is
    taken while a request is on offer. ``body`` gives the payload from its first byte on, as long as the request is
    there; it is withdrawn with it, and behind the payload it goes on with rubbish.

    Members
    -------
    i : In(stream.Signature(8))              bytes of the line
    request : Out(stream.Signature(request_layout()))
    body : Out(stream.Signature(8))          payload of the request, a byte every 3 cycles
    drop : Out(1)                            pulse: a bad frame (CRC, length or an escape before the flag)
    dropped : Out(32)                        bad frames since power-on, wraps
    busy : Out(1)                            a frame is being checked or is on offer
    """

    def __init__(self):
        super().__init__(
            {
                "i": In(stream.Signature(8)),
                "request": Out(stream.Signature(request_layout())),
                "body": Out(stream.Signature(8)),
                "drop": Out(1),
                "dropped": Out(32),
                "busy": Out(1),
            }
        )

    def elaborate(self, platform):
        m = Module()
        self._byte, self._content, self._end, self._aborted = Signal(8, reset_less=True), Signal(), Signal(), Signal()
        self._count = Signal(17)  # bytes of the frame so far; stops at its largest value
        self._payload = Signal(range(MAX_PAYLOAD + 1))  # where the next byte goes in the buffer
        self._header = Signal(_HEADER, reset_less=True)
        self._last = Signal(8 * CRC_BYTES, reset_less=True)  # the last four bytes
        m.submodules.memory = self._memory = Memory(shape=8, depth=MAX_PAYLOAD, init=[])
        m.submodules.crc = self._crc = Processor(CRC_PARAMETERS)
        self._unstuff(m)
        self._collect(m)
        self._check(m)
        self._read(m)
        return m

    def _unstuff(self, m):
        """Bytes without escapes (``content``), and ends of frames; not one byte behind an end until it is checked."""
        escaped = Signal()
        byte = self.i.payload
        m.d.sync += [self._content.eq(0), self._end.eq(0)]
        with m.If(self.i.valid & self.i.ready):
            m.d.sync += [self._byte.eq(byte ^ Mux(escaped, ESCAPE_XOR, 0)), escaped.eq(0)]
            with m.If(byte == FLAG):
                m.d.sync += [self._end.eq(1), self._aborted.eq(escaped)]
            with m.Elif((byte == ESCAPE) & ~escaped):
                m.d.sync += escaped.eq(1)
            with m.Else():
                m.d.sync += self._content.eq(1)

    def _collect(self, m):
        """Header, payload and CRC to their places."""
        count, payload, crc = self._count, self._payload, self._crc
        write = self._memory.write_port()
        header, room = Signal(init=1), Signal()
        m.d.comb += [
            header.eq(count < HEADER_BYTES),
            room.eq(payload != MAX_PAYLOAD),
            crc.data.eq(self._byte),
            crc.valid.eq(self._content),
            crc.start.eq(self._end),
            write.addr.eq(payload),
            write.data.eq(self._byte),
            write.en.eq(self._content & ~header & room),
        ]
        with m.If(self._content):
            m.d.sync += self._last.eq(Cat(self._last[8:], self._byte))
            with m.If(~count.all()):
                m.d.sync += count.eq(count + 1)
            with m.If(header):
                m.d.sync += self._header.eq(Cat(self._header.as_value()[8:], self._byte))
            with m.Elif(room):
                m.d.sync += payload.eq(payload + 1)

    def _check(self, m):
        """At the end of a frame, a comparison a cycle; then the request waits to be taken."""
        request = Signal(request_layout(), reset_less=True)
        count = self._count
        good, length_good, something, dropped_before = Signal(), Signal(), Signal(), Signal()
        expected = Signal(17)
        m.d.comb += [self.request.payload.eq(request), self.i.ready.eq(~self.busy & ~self._end)]
        m.d.sync += [
            expected.eq(self._header.length + (HEADER_BYTES + CRC_BYTES)),
            length_good.eq(count == expected),
            something.eq((count != 0) | self._aborted),
            self.drop.eq(0),
            dropped_before.eq(self.drop),
            self.dropped.eq(self.dropped + dropped_before),
        ]
        with m.FSM():
            with m.State("RECEIVE"):
                with m.If(self._end):
                    # The CRC starts anew in this cycle: look at it now.
                    m.d.sync += [good.eq(self._crc.match_detected & ~self._aborted), self.busy.eq(1)]
                    m.next = "COMPARE"
            with m.State("COMPARE"):
                m.next = "DECIDE"
            with m.State("DECIDE"):
                m.d.sync += [
                    request.type.eq(self._header.type),
                    request.seq.eq(self._header.seq),
                    request.length.eq(self._header.length),
                    request.too_long.eq(self._header.length > MAX_PAYLOAD),
                    request.crc.eq(self._last),
                    self._count.eq(0),
                    self._payload.eq(0),
                ]
                with m.If(good & length_good):
                    m.d.sync += self.request.valid.eq(1)
                    m.next = "OFFER"
                with m.Else():
                    m.d.sync += [self.drop.eq(something), self.busy.eq(0)]
                    m.next = "RECEIVE"
            with m.State("OFFER"):
                with m.If(self.request.ready):
                    m.d.sync += [self.request.valid.eq(0), self.busy.eq(0)]
                    m.next = "RECEIVE"

    def _read(self, m):
        """The payload, byte by byte: one cycle for the memory, one for the register behind it."""
        read = self._memory.read_port()
        place, given = Signal(range(MAX_PAYLOAD)), Signal()
        body = Signal(8, reset_less=True)
        m.d.comb += [read.addr.eq(place), read.en.eq(1), self.body.payload.eq(body)]
        with m.If(~self.request.valid | self.request.ready):
            m.d.sync += [place.eq(0), given.eq(0), self.body.valid.eq(0)]
        with m.Elif(self.body.valid):
            with m.If(self.body.ready):
                m.d.sync += [self.body.valid.eq(0), given.eq(0)]
        with m.Elif(given):
            m.d.sync += [body.eq(read.data), self.body.valid.eq(1), place.eq(place + 1)]
        with m.Else():
            m.d.sync += given.eq(1)


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
        """The part behind this one."""
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
