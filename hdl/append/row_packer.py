"""Integers of rows to the bits of their planes."""

from __future__ import annotations

from amaranth.hdl import Cat, Const, Module, Mux, Signal
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out

from hdl.append.append_layouts import CHUNK_WIDTH, Tensor, quantized_element
from hdl.spec.config import Config
from hdl.spec.numerics import LSB_BITS
from hdl.spec.widths import ELEMENT_BITS_WIDTH

__all__ = ["RowPacker"]

_PART = CHUNK_WIDTH // 2
"""Bits that are complete at once: an element is no wider."""


class RowPacker(wiring.Component):
    """Puts elements side by side, the first one lowest; of a split K the upper bits and the LSBs each for themselves.

    Rows are whole chunks, so the next one begins with a chunk. Latency 1 from the last element of a chunk; an element
    a cycle, unless a chunk waits.

    Members
    -------
    split : In(1)    elements of K have LSB_BITS of an LSB plane; changes only when nothing is inside
    i : In(stream.Signature(quantized_element))
    msb, lsb : Out(stream.Signature(CHUNK_WIDTH))
    """

    LATENCY = 1

    def __init__(self, config: Config):
        self.config = config
        super().__init__(
            {
                "split": In(1),
                "i": In(stream.Signature(quantized_element(config))),
                "msb": Out(stream.Signature(CHUNK_WIDTH)),
                "lsb": Out(stream.Signature(CHUNK_WIDTH)),
            }
        )

    def elaborate(self, platform):
        m = Module()
        take, split = Signal(), Signal()
        element = self.i.payload
        m.d.comb += [
            take.eq(self.i.valid & self.i.ready),
            split.eq(self.split & (element.tensor == Tensor.KEY)),
        ]
        for output in (self.msb, self.lsb):
            with m.If(output.ready):
                m.d.sync += output.valid.eq(0)
        completes = self._upper(m, element, split, take)
        self._lower(m, element, take & split)
        waits = (completes & self.msb.valid & ~self.msb.ready) | (self.lsb.valid & ~self.lsb.ready)
        m.d.comb += self.i.ready.eq(~waits)
        return m

    def _upper(self, m, element, split, take):
        """Elements of a varying width, of which a rest of less than a part is kept; whether this one ends a chunk."""
        rest, place = Signal(_PART - 2), Signal(4)  # place: its bits
        first, second = Signal(_PART, reset_less=True), Signal()
        value, joined = Signal(len(element.integer)), Signal(2 * _PART - 2)
        width, end = Signal(ELEMENT_BITS_WIDTH), Signal(5)
        m.d.comb += [
            value.eq(Mux(split, element.integer >> LSB_BITS, element.integer)),
            width.eq(element.bits - Mux(split, LSB_BITS, 0)),
            joined.eq((value << Cat(Const(0, 1), place[1:])) | rest),  # widths are even
            end.eq(place + width),
        ]
        with m.If(take):
            m.d.sync += [place.eq(end), rest.eq(Mux(end[4], joined >> _PART, joined))]
        with m.If(take & end[4]):
            m.d.sync += second.eq(~second)
            with m.If(second):
                m.d.sync += [self.msb.valid.eq(1), self.msb.payload.eq(Cat(first, joined[:_PART]))]
            with m.Else():
                m.d.sync += first.eq(joined)
        return end[4] & second

    def _lower(self, m, element, take):
        count = Signal(range(CHUNK_WIDTH // LSB_BITS))
        chunk = Signal(CHUNK_WIDTH, reset_less=True)
        m.d.comb += self.lsb.payload.eq(chunk)
        with m.If(take):
            m.d.sync += [
                count.eq(count + 1),
                chunk.eq(Cat(chunk[LSB_BITS:], element.integer[:LSB_BITS])),
                self.lsb.valid.eq(count.all()),
            ]
