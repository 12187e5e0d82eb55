"""Frames from the serial line, see docs/protocol.md: flags, escapes, CRC-32, and the buffer of the payload."""

from __future__ import annotations

from amaranth.hdl import Module, Signal
from amaranth.lib import stream, wiring
from amaranth.lib.crc import Processor
from amaranth.lib.wiring import In, Out

from fpga.link.frame.layouts import CRC_PARAMETERS, request_layout
from fpga.link.frame.parts import FrameParts, PayloadBuffer, Unstuffer
from fpga.spec.protocol import CRC_BYTES, HEADER_BYTES, MAX_PAYLOAD

__all__ = ["FrameReceiver"]


class FrameReceiver(wiring.Component):
    """Finds frames, checks length and CRC, and holds the payload of a good one until the request is taken.

    No byte is taken while a request is on offer. ``body`` gives the payload from its first byte on, as long as the
    request is there, and is withdrawn with it; after the payload it is undefined.

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
        m.submodules.unstuffer = unstuffer = Unstuffer()
        m.submodules.crc = crc = Processor(CRC_PARAMETERS)
        m.submodules.parts = parts = FrameParts()
        m.submodules.buffer = buffer = PayloadBuffer()
        wiring.connect(m, wiring.flipped(self.i), unstuffer.i)
        wiring.connect(m, wiring.flipped(self.body), buffer.body)
        m.d.comb += [
            unstuffer.hold.eq(self.busy),
            crc.data.eq(unstuffer.byte),
            crc.valid.eq(unstuffer.content),
            crc.start.eq(unstuffer.end),
            parts.byte.eq(unstuffer.byte),
            parts.content.eq(unstuffer.content),
            buffer.write.eq(parts.write),
            buffer.write_en.eq(parts.write_en),
            buffer.held.eq(self.request.valid & ~self.request.ready),
        ]
        dropped_before = Signal()
        m.d.sync += [dropped_before.eq(self.drop), self.dropped.eq(self.dropped + dropped_before)]
        self._check(m, unstuffer, parts, crc.match_detected)
        return m

    def _check(self, m, unstuffer, parts, crc_good):
        """At the end of a frame, a comparison a cycle; then the request waits to be taken."""
        request = Signal(request_layout(), reset_less=True)
        header, count = parts.header, parts.count
        good, length_good, something, expected = Signal(), Signal(), Signal(), Signal(17)
        m.d.comb += self.request.payload.eq(request)
        m.d.sync += [
            expected.eq(header.length + (HEADER_BYTES + CRC_BYTES)),
            length_good.eq(count == expected),
            something.eq((count != 0) | unstuffer.aborted),
            self.drop.eq(0),
        ]
        with m.FSM():
            with m.State("RECEIVE"):
                with m.If(unstuffer.end):
                    # The CRC starts anew in this cycle: look at it now.
                    m.d.sync += [good.eq(crc_good & ~unstuffer.aborted), self.busy.eq(1)]
                    m.next = "COMPARE"
            with m.State("COMPARE"):
                m.next = "DECIDE"
            with m.State("DECIDE"):
                m.d.comb += parts.clear.eq(1)
                m.d.sync += [request[name].eq(header[name]) for name in ("type", "seq", "length")]
                m.d.sync += [request.too_long.eq(header.length > MAX_PAYLOAD), request.crc.eq(parts.last)]
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
