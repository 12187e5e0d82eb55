"""Packed elements of a slice to words of the multipliers' width."""

from __future__ import annotations

from amaranth.hdl import Cat, Const, Module, Mux, ShapeLike, Signal, signed
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

from hdl.config import Config
from hdl.fetch_layouts import granule, packed_slice, slice_elements, word_slice

__all__ = ["BitwidthConverter"]


class BitwidthConverter(wiring.Component):
    """Unpack a slice: element e of ``width`` bits lies at bit ``e * width``; word = element << shift (section IV-B).

    Latency 2, one slice a cycle; stalls as a whole. Shifts are even, as widths are; bits shifted beyond
    ``operand_width`` are lost. Elements from ``granules * 16`` on (``granules * lane_width`` if a lane is narrower
    than 16) are 0. A word has as many bits as the widest element, so slices do not grow here.

    Parameters
    ----------
    tag : shape of what travels beside the slice

    Members
    -------
    i : In(stream.Signature(packed_slice))    width is one of ``plane_widths``
    o : Out(stream.Signature(word_slice))
    """

    LATENCY = 2

    def __init__(self, config: Config, *, tag: ShapeLike = 1):
        self.config = config
        self.elements = slice_elements(config)
        super().__init__(
            {
                "i": In(stream.Signature(packed_slice(config, tag))),
                "o": Out(stream.Signature(word_slice(config, tag))),
            }
        )

    def elaborate(self, platform):
        m = Module()
        config, given = self.config, self.i.payload
        held = Signal(given.shape(), reset_less=True)
        valid, enable = Signal(), Signal()
        unpacked = Signal(data.ArrayLayout(signed(config.operand_width), self.elements), reset_less=True)
        m.d.comb += [enable.eq(~self.o.valid | self.o.ready), self.i.ready.eq(enable)]
        with m.If(enable):
            m.d.sync += [valid.eq(self.i.valid), self.o.valid.eq(valid)]
        with m.If(enable & self.i.valid):
            m.d.sync += [held[name].eq(given[name]) for name in ("shift", "granules", "tag")]
            with m.Switch(given.width):
                for width in config.plane_widths:
                    with m.Case(width):
                        m.d.sync += unpacked.as_value().eq(self.unpack(width))
        with m.If(enable & valid):
            m.d.sync += self.o.payload.tag.eq(held.tag)
            with m.Switch(held.shift):
                for shift in range(0, config.operand_width, 2):
                    with m.Case(shift):
                        m.d.sync += self.o.payload.words.as_value().eq(self.place(unpacked, shift, held.granules))
        return m

    def unpack(self, width):
        given = self.i.payload
        words = []
        for e in range(self.elements):
            bits = given.raw[e * width : (e + 1) * width]
            sign = bits[-1] & given.signed
            words.append(Cat(bits, sign.replicate(self.config.operand_width - width)))
        return Cat(words)

    def place(self, unpacked, shift, granules):
        width, size = self.config.operand_width, granule(self.config)
        parts = []
        for g in range(self.elements // size):
            words = [unpacked[e].as_unsigned()[: width - shift] for e in range(g * size, (g + 1) * size)]
            part = Cat(Cat(Const(0, shift), word) for word in words)
            parts.append(Mux(granules > g, part, Const(0, len(part))))
        return Cat(parts)
