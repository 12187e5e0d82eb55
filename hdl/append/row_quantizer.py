"""Elements in bf16 or fp16 to integers, by constants of their channels."""

from __future__ import annotations

from amaranth.hdl import Cat, Const, Module, Mux, Signal, signed
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

from hdl.append.append_layouts import plain_element, quantized_element
from hdl.spec.config import Config
from hdl.spec.formats import APPEND_OFFSET_FRAC, APPEND_SHIFT_BIAS

__all__ = ["RowQuantizer"]

_SIGNIFICAND, _OFFSET = 11, 16
_RIGHT = signed(9)
"""Of a right shift of the product: 0 - 30 + 6 … 63 - 1 + 118."""


def _low_bits(config: Config) -> int:
    """Bits by which every product is shifted at least.

    The leading one of a product of normal numbers is bit 20 or 21: shifted by less, it is beyond every range whatever
    the offset is. Products of subnormal ones, which may be smaller, are always shifted by more (APPEND_SHIFT_BIAS).
    """
    ends = (1 << config.operand_width - 1 + APPEND_OFFSET_FRAC) + (1 << APPEND_OFFSET_FRAC)
    return 2 * _SIGNIFICAND - 1 - (ends + (1 << _OFFSET - 1)).bit_length()


def _shape(**fields: int) -> data.StructLayout:
    return data.StructLayout({**fields, "bits": 5, "tensor": 2})


class RowQuantizer(wiring.Component):
    """``golden.datapath.append.appended``, element by element.

    Latency 6: parts, product, two of the shift, offset, rounding and range. An element a cycle.

    Members
    -------
    half : In(1)    elements are fp16, else bf16; changes only when nothing is inside
    i : In(stream.Signature(plain_element))
    o : Out(stream.Signature(quantized_element))
    """

    LATENCY = 6

    def __init__(self, config: Config):
        self.config = config
        self.low = _low_bits(config)
        self.width = 2 * _SIGNIFICAND - self.low  # of a value, in units of an offset
        super().__init__(
            {
                "half": In(1),
                "i": In(stream.Signature(plain_element())),
                "o": Out(stream.Signature(quantized_element(config))),
            }
        )

    def elaborate(self, platform):
        m = Module()
        enable, valid = Signal(), Signal(self.LATENCY)
        m.d.comb += [enable.eq(~valid[-1] | self.o.ready), self.i.ready.eq(enable), self.o.valid.eq(valid[-1])]
        with m.If(enable):
            m.d.sync += valid.eq(Cat(self.i.valid, valid))
            self._range(m, self._add(m, self._fine(m, self._coarse(m, self._multiply(m, self._parts(m))))))
        return m

    @staticmethod
    def _stage(m, before, name, **fields):
        """Registers of a stage: new fields, each (value, width), and those of the one before that are kept (None)."""
        widths = {key: len(before[key]) if field is None else field[1] for key, field in fields.items()}
        register = Signal(_shape(**widths), name=name, reset_less=True)
        for key, field in fields.items():
            m.d.sync += register[key].eq(before[key] if field is None else field[0])
        m.d.sync += [register[key].eq(before[key]) for key in ("bits", "tensor")]
        return register

    def _parts(self, m):
        item, half = self.i.payload, self.half
        word, constant = item.word, item.constant
        field, fraction = Signal(8), Signal(10)
        ends, least = Signal(), Signal()  # all ones: not finite; zeros: subnormal
        m.d.comb += [
            field.eq(Mux(half, word[10:15], word[7:15])),
            fraction.eq(Mux(half, word[:10], word[:7] << 3)),
            ends.eq(word[10:15].all() & (half | word[7:10].all())),
            least.eq(field == 0),
        ]
        right = Signal(_RIGHT)
        # The units of the two formats, as of a significand of 11 bits and in those of an offset.
        unit = Mux(half, 21 - APPEND_SHIFT_BIAS - self.low, 133 - APPEND_SHIFT_BIAS - self.low)
        m.d.comb += right.eq(constant.shift + unit - (field | least))
        return self._stage(
            m,
            item,
            "parts",
            negative=(word[15], 1),
            special=(ends, 1),
            nan=(ends & (fraction != 0), 1),
            significand=(Cat(fraction, ~least), _SIGNIFICAND),
            factor=(Cat(constant.mantissa, Const(1, 1)), _SIGNIFICAND),
            right=(right, len(right)),
            offset=(constant.offset, _OFFSET),
        )

    def _multiply(self, m, parts):
        right = parts.right
        huge = right[-1] | parts.special
        far = ~right[-1] & right[5:8].any()
        return self._stage(
            m,
            parts,
            "product",
            negative=None,
            huge=(huge, 1),
            nan=None,
            far=(far, 1),
            value=(parts.significand * parts.factor, 2 * _SIGNIFICAND),
            right=(right[:5], 5),
            offset=None,
        )

    def _coarse(self, m, product):
        """By 8, 16, 24 and more: what is dropped leaves a mark."""
        value, low, steps = product.value[self.low :], product.value[: self.low].any(), product.right[3:]
        shifted, dropped = Signal(self.width), Signal()
        m.d.comb += [shifted.eq(value), dropped.eq(low)]
        with m.If(product.far | (steps == 3)):
            m.d.comb += [shifted.eq(0), dropped.eq(low | value.any())]
        with m.Elif(steps == 2):
            m.d.comb += [shifted.eq(value[16:]), dropped.eq(low | value[:16].any())]
        with m.Elif(steps == 1):
            m.d.comb += [shifted.eq(value[8:]), dropped.eq(low | value[:8].any())]
        return self._stage(
            m,
            product,
            "coarse",
            negative=None,
            huge=None,
            nan=None,
            value=(shifted, self.width),
            dropped=(dropped, 1),
            right=(product.right[:3], 3),
            offset=None,
        )

    def _fine(self, m, coarse):
        value, dropped = coarse.value, coarse.dropped
        for bit in (2, 1, 0):
            step = 1 << bit
            dropped = dropped | (coarse.right[bit] & value[:step].any())
            value = Mux(coarse.right[bit], value >> step, value)[: self.width]
        return self._stage(
            m,
            coarse,
            "fine",
            negative=None,
            huge=None,
            nan=None,
            value=(value, self.width),
            dropped=(dropped, 1),
            offset=None,
        )

    def _add(self, m, fine):
        value = Signal(signed(self.width + 2))  # a sign and a carry
        negative = fine.negative
        turned = Cat(fine.value ^ negative.replicate(self.width), negative, negative).as_signed()
        m.d.comb += value.eq(turned + fine.offset.as_signed() + negative)
        return self._stage(
            m, fine, "sum", negative=None, huge=None, nan=None, dropped=(fine.dropped, 1), value=(value, len(value))
        )

    def _range(self, m, total):
        """Rounded to the nearest, of two to the even one; then what is beyond the range becomes its end."""
        low, value = total.value[:APPEND_OFFSET_FRAC], total.value[APPEND_OFFSET_FRAC:]
        half, rest = low[-1], low[:-1].any()
        # What was dropped makes the value larger, or smaller if it was negative.
        up = half & (rest | Mux(total.dropped, ~total.negative, value[0]))
        rounded = Signal(signed(len(value) + 1))
        m.d.comb += rounded.eq(value.as_signed() + up)
        bits, out = total.bits, self.o.payload
        width = len(out.integer)
        mask, top = Signal(width), Signal(len(rounded))
        beyond, end = Signal(), Signal()
        m.d.comb += [
            mask.eq(Cat(bits > place for place in range(width))),
            top.eq(mask[1:]),
            beyond.eq(((rounded ^ rounded[-1].replicate(len(rounded))) & ~top).any() | total.huge),
            end.eq(Mux(total.huge, total.negative, rounded[-1])),  # the lower one
        ]
        limit = Mux(end, mask & ~top, top)[:width]
        m.d.sync += [
            out.integer.eq(Mux(total.nan, 0, Mux(beyond, limit, rounded[:width] & mask))),
            out.saturated.eq(beyond),
            out.bits.eq(bits),
            out.tensor.eq(total.tensor),
        ]
