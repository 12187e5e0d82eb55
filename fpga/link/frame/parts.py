"""Stages of a receiver of frames: escapes, the parts of a frame, and the buffer of its payload."""

from __future__ import annotations

from amaranth.hdl import Cat, Module, Mux, Signal
from amaranth.lib import stream, wiring
from amaranth.lib.memory import Memory
from amaranth.lib.wiring import In, Out

from fpga.link.frame.layouts import HEADER, buffer_write
from fpga.spec.protocol import CRC_BYTES, ESCAPE, ESCAPE_XOR, FLAG, HEADER_BYTES, MAX_PAYLOAD

__all__ = ["FrameParts", "PayloadBuffer", "Unstuffer"]


class Unstuffer(wiring.Component):
    """Bytes of frames without their escapes, and the ends of frames. Latency 1.

    Every flag ends what came before it and begins anew, so that noise on the line never costs the frame after it.

    Members
    -------
    i : In(stream.Signature(8))    bytes of the line
    hold : In(1)                   take none
    byte : Out(8)
    content : Out(1)               pulse: ``byte`` belongs to a frame
    end : Out(1)                   pulse: the frame is over; no byte is taken in this cycle
    aborted : Out(1)               with ``end``: it was within an escape
    """

    def __init__(self):
        super().__init__(
            {
                "i": In(stream.Signature(8)),
                "hold": In(1),
                "byte": Out(8),
                "content": Out(1),
                "end": Out(1),
                "aborted": Out(1),
            }
        )

    def elaborate(self, platform):
        m = Module()
        escaped, plain = Signal(), Signal(8, reset_less=True)
        byte = self.i.payload
        m.d.comb += [self.i.ready.eq(~self.hold & ~self.end), self.byte.eq(plain)]
        m.d.sync += [self.content.eq(0), self.end.eq(0)]
        with m.If(self.i.valid & self.i.ready):
            m.d.sync += [plain.eq(byte ^ Mux(escaped, ESCAPE_XOR, 0)), escaped.eq(0)]
            with m.If(byte == FLAG):
                m.d.sync += [self.end.eq(1), self.aborted.eq(escaped)]
            with m.Elif((byte == ESCAPE) & ~escaped):
                m.d.sync += escaped.eq(1)
            with m.Else():
                m.d.sync += self.content.eq(1)
        return m


class FrameParts(wiring.Component):
    """Header, CRC and size of a frame as its bytes come, and its payload as writes of a buffer.

    Members
    -------
    byte : In(8)
    content : In(1)                              ``byte`` belongs to the frame
    clear : In(1)                                the next byte is the first one of a frame
    write : Out(buffer_write())                  a byte of the payload
    write_en : Out(1)
    header : Out(StructLayout)                   length, type and seq, the first bytes
    last : Out(32)                               the last four bytes
    count : Out(17)                              bytes so far; stops at its largest value
    """

    def __init__(self):
        super().__init__(
            {
                "byte": In(8),
                "content": In(1),
                "clear": In(1),
                "write": Out(buffer_write()),
                "write_en": Out(1),
                "header": Out(HEADER),
                "last": Out(8 * CRC_BYTES),
                "count": Out(17),
            }
        )

    def elaborate(self, platform):
        m = Module()
        payload = Signal(range(MAX_PAYLOAD + 1))  # where the next byte goes in the buffer
        in_header, room = Signal(init=1), Signal()
        header, last = Signal(HEADER, reset_less=True), Signal(8 * CRC_BYTES, reset_less=True)
        m.d.comb += [
            in_header.eq(self.count < HEADER_BYTES),
            room.eq(payload != MAX_PAYLOAD),
            self.write.address.eq(payload),
            self.write.byte.eq(self.byte),
            self.write_en.eq(self.content & ~in_header & room),
            self.header.eq(header),
            self.last.eq(last),
        ]
        with m.If(self.content):
            m.d.sync += last.eq(Cat(last[8:], self.byte))
            with m.If(~self.count.all()):
                m.d.sync += self.count.eq(self.count + 1)
            with m.If(in_header):
                m.d.sync += header.eq(Cat(header.as_value()[8:], self.byte))
            with m.Elif(room):
                m.d.sync += payload.eq(payload + 1)
        with m.If(self.clear):
            m.d.sync += [self.count.eq(0), payload.eq(0)]
        return m


class PayloadBuffer(wiring.Component):
    """The payload of a request, read byte by byte: one cycle for the memory, one for the register after it.

    Members
    -------
    write : In(buffer_write())
    write_en : In(1)
    held : In(1)                         the request is there; else ``body`` is withdrawn
    body : Out(stream.Signature(8))      from the first byte on, a byte every 3 cycles; undefined after the payload
    """

    def __init__(self):
        super().__init__(
            {
                "write": In(buffer_write()),
                "write_en": In(1),
                "held": In(1),
                "body": Out(stream.Signature(8)),
            }
        )

    def elaborate(self, platform):
        m = Module()
        m.submodules.memory = memory = Memory(shape=8, depth=MAX_PAYLOAD, init=[])
        write, read = memory.write_port(), memory.read_port()
        place, given = Signal(range(MAX_PAYLOAD)), Signal()
        body = Signal(8, reset_less=True)
        m.d.comb += [
            write.addr.eq(self.write.address),
            write.data.eq(self.write.byte),
            write.en.eq(self.write_en),
            read.addr.eq(place),
            read.en.eq(1),
            self.body.payload.eq(body),
        ]
        with m.If(~self.held):
            m.d.sync += [place.eq(0), given.eq(0), self.body.valid.eq(0)]
        with m.Elif(self.body.valid):
            with m.If(self.body.ready):
                m.d.sync += [self.body.valid.eq(0), given.eq(0)]
        with m.Elif(given):
            m.d.sync += [body.eq(read.data), self.body.valid.eq(1), place.eq(place + 1)]
        with m.Else():
            m.d.sync += given.eq(1)
        return m
