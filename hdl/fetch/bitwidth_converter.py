"""Packed elements of a slice to words of the multipliers' width."""

from __future__ import annotations

import functools
import operator

from amaranth.hdl import Cat, Const, Module, ShapeLike, Signal, signed
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

from hdl.fetch.fetch_layouts import granule, packed_slice, slice_elements, word_slice
from hdl.spec.config import Config

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
    i : In(stream.Signature(packed_slice))
    o : Out(stream.Signature(word_slice))
    """

    LATENCY = 2

    def __init__(self, config: Config, *, tag: ShapeLike = 1):
        self.config = config
        self.elements = slice_elements(config)
        self.shifts = range(0, config.operand_width, 2)
        super().__init__(
            {
                "i": In(stream.Signature(packed_slice(config, tag))),
                "o": Out(stream.Signature(word_slice(config, tag))),
            }
        )

    def elaborate(self, platform):
        m = Module()
        config, given = self.config, self.i.payload
        tag = Signal(given.tag.shape(), reset_less=True)
        # Decoded beside the unpacking: every bit of a word depends on them.
        shift = Signal(len(self.shifts), reset_less=True)
        keep = Signal(self.elements // granule(config), reset_less=True)
        valid, enable = Signal(), Signal()
        unpacked = Signal(data.ArrayLayout(signed(config.operand_width), self.elements), reset_less=True)
        m.d.comb += [enable.eq(~self.o.valid | self.o.ready), self.i.ready.eq(enable)]
        with m.If(enable):
            m.d.sync += [valid.eq(self.i.valid), self.o.valid.eq(valid)]
        with m.If(enable & self.i.valid):
            m.d.sync += [
                tag.eq(given.tag),
                shift.eq(Cat(given.shift == step for step in self.shifts)),
                keep.eq(Cat(given.granules > g for g in range(len(keep)))),
            ]
            m.d.sync += unpacked.as_value().eq(self.unpack())
        with m.If(enable & valid):
            m.d.sync += [
                self.o.payload.tag.eq(tag),
                self.o.payload.words.as_value().eq(self.place(unpacked, shift, keep)),
            ]
        return m

    def unpack(self):
        given, size = self.i.payload, self.config.operand_width
        widths = self.config.plane_widths
        signs = given.width & given.signed.replicate(len(widths))
        words = []
        for e in range(self.elements):
            parts = []
            for width, choice, sign in zip(widths, given.width, signs, strict=True):
                bits = given.raw[e * width : (e + 1) * width]
                upper = (bits[-1] & sign).replicate(size - width)
                parts.append(Cat(bits & choice.replicate(width), upper))
            words.append(functools.reduce(operator.or_, parts))
        return Cat(words)

    def place(self, unpacked, shift, keep):
        """``shift`` is one-hot."""
        width, size = self.config.operand_width, granule(self.config)
        words = []
        for e, word in enumerate(unpacked):
            shifted = [Cat(Const(0, step), word.as_unsigned()[: width - step]) for step in self.shifts]
            chosen = [value & (shift[i] & keep[e // size]).replicate(width) for i, value in enumerate(shifted)]
            words.append(functools.reduce(operator.or_, chosen))
        return Cat(words)
