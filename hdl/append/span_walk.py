"""Where rows lie in the channels."""

from __future__ import annotations

import functools
import operator

from amaranth.hdl import Cat, Const, Module, Mux, Signal
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out

from hdl.append.append_layouts import Tensor, append_request, append_row, one_of, row_span, units_width
from hdl.spec.config import Config
from hdl.spec.numerics import LSB_BITS

__all__ = ["SpanWalk"]


class SpanWalk(wiring.Component):
    """The place of every row in its plane, and in the LSB plane if its K is split: one span, or two.

    Latency 5; a span every 5 cycles, and 1 more for a row.

    Members
    -------
    request : In(append_request)    holds while rows come
    i : In(stream.Signature(append_row))
    o : Out(stream.Signature(row_span))
    """

    def __init__(self, config: Config):
        self.config = config
        super().__init__(
            {
                "request": In(append_request()),
                "i": In(stream.Signature(append_row(config))),
                "o": Out(stream.Signature(row_span(config))),
            }
        )

    def elaborate(self, platform):
        m = Module()
        command, plan = self.request.command, self.request.plan
        row, given = Signal(append_row(self.config), reset_less=True), self.i.payload
        tensors, lsb = Signal(len(Tensor), reset_less=True), Signal()  # of the row; lsb: the LSB plane's turn
        split = Signal(reset_less=True)
        self._place(m, row, *self._plane(m, tensors, lsb), paired=tensors[Tensor.KEY] & command.flags.paired)
        m.d.comb += [
            self.o.payload.lsb.eq(lsb),
            self.o.payload.last.eq(row.last & ~split),
            self.o.payload.channel.eq(self._channel(row)),
        ]
        with m.FSM(name="walk"):
            with m.State("TAKE"):
                m.d.comb += self.i.ready.eq(1)
                m.d.sync += [
                    row.eq(given),
                    tensors.eq(Cat(given.tensor == tensor for tensor in Tensor)),
                    lsb.eq(0),
                    split.eq((given.tensor == Tensor.KEY) & (plan.key_lsb_bits == LSB_BITS)),
                ]
                with m.If(self.i.valid):
                    m.next = "PLANE"
            with m.State("PLANE"):
                m.next = "CHUNKS"
            with m.State("CHUNKS"):
                m.next = "PRODUCTS"
            with m.State("PRODUCTS"):
                m.next = "PLACE"
            with m.State("PLACE"):
                m.next = "OFFER"
            with m.State("OFFER"):
                m.d.comb += self.o.valid.eq(1)
                with m.If(self.o.ready):
                    m.d.sync += [tensors.eq(0), lsb.eq(1), split.eq(0)]
                    m.next = "TAKE"
                    with m.If(split):
                        m.next = "PLANE"
        return m

    def _channel(self, row):
        """Heads of a pair begin in the channel of the first."""
        if self.config.num_channels == 1:
            return 0
        head = Cat(row.head[0] & ~self.request.command.flags.paired, row.head[1:])
        return (row.row + self.request.plan.skew + head)[: self.config.channel_bits]

    def _plane(self, m, tensors, lsb):
        """Of the plane, a cycle later: word of head 0, words from head to head, and bits of an element."""
        plan, command = self.request.plan, self.request.command
        low = (self.config.channel_width // 8).bit_length() - 1
        planes = [
            (tensors[Tensor.KEY], plan.key, plan.key_stride, plan.key_bits),
            (tensors[Tensor.VALUE], plan.value, plan.value_stride, plan.value_bits),
            (tensors[Tensor.QUERY], command.query, plan.query_stride, plan.query_bits),
            (lsb, plan.key_lsb, plan.key_lsb_stride, Const(LSB_BITS, 5)),
        ]
        words = slice(low, low + self.config.address_width)
        offset, stride = (
            Signal(self.config.address_width, name=name, reset_less=True) for name in ("offset", "stride")
        )
        width = Signal(5, reset_less=True)
        m.d.sync += [
            offset.eq(one_of(*((bit, value[words]) for bit, value, _, _ in planes))),
            stride.eq(one_of(*((bit, value[words]) for bit, _, value, _ in planes))),
            width.eq(one_of(*((bit, value[:5]) for bit, _, _, value in planes))),
        ]
        return offset, stride, width

    def _place(self, m, row, offset, stride, width, *, paired):
        """In three cycles: offset + head · stride + (row // C) · chunks of a row, of a pair's second head those beside.

        In rows of a pair there are places for a row of either head: even ones and odd ones.
        """
        config, span = self.config, self.o.payload
        units, log_channels = units_width(config), (config.num_channels - 1).bit_length()
        heads, rows = Signal(config.address_width, reset_less=True), Signal(units, reset_less=True)
        total, chunks = Signal(units, reset_less=True), Signal(len(span.chunks), reset_less=True)
        number = row.row[log_channels:]
        sixteens, pairs = self.request.plan.dim[4:8], width[1:]  # 16 elements of two bits are a chunk
        used = functools.reduce(operator.or_, config.dims) // 16
        m.d.comb += [span.chunks.eq(chunks), span.place.eq(total)]
        m.d.sync += [
            # A small product, by adding; bits that no D has are left out.
            chunks.eq(
                sum((Mux(bit, pairs << at, 0) for at, bit in enumerate(sixteens) if used >> at & 1), start=Const(0))
            ),
            heads.eq(offset + (stride * Mux(paired, row.head >> 1, row.head))),
            rows.eq(Mux(paired, Cat(row.head[0], number), number) * chunks),
            total.eq((heads << (units - config.address_width)) + rows),
        ]
