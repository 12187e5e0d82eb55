"""Outputs as the host wants them in memory: integers, fp32 or bf16."""

from __future__ import annotations

from amaranth.hdl import Cat, Const, Module, Mux, Signal, signed
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

from hdl.spec.config import Config
from hdl.spec.formats import OutFormat

__all__ = ["OutFormatter", "formatted_elements", "plain_elements"]

_BIAS, _FRACTION, _SHORT = 127, 23, 7
"""Of fp32; bits of its fraction and of that of bf16."""
_EXPONENT = signed(10)
"""Of an exponent before it is limited: -128 + 127 … 127 + 23 + 127 + 1."""


def plain_elements(config: Config) -> data.StructLayout:
    """norm_lanes elements of an output row."""
    values = data.ArrayLayout(signed(config.out_width), config.norm_lanes)
    return data.StructLayout({"format": 2, "exponent": signed(8), "values": values})


def formatted_elements(config: Config) -> data.StructLayout:
    """The same, in 32 bits each; bf16 in the lower 16 bits."""
    return data.StructLayout({"words": data.ArrayLayout(32, config.norm_lanes)})


def _magnitude(config: Config) -> data.StructLayout:
    return data.StructLayout({"sign": 1, "bits": config.out_width, "lead": 5})


class OutFormatter(wiring.Component):
    """``golden.datapath.out_format.formatted``, element by element.

    Latency 2: signs, magnitudes and their leading ones; then exponents, fractions and the rounding. A group a cycle.

    Members
    -------
    i : In(stream.Signature(plain_elements))
    o : Out(stream.Signature(formatted_elements))
    """

    LATENCY = 2

    def __init__(self, config: Config):
        self.config = config
        super().__init__(
            {
                "i": In(stream.Signature(plain_elements(config))),
                "o": Out(stream.Signature(formatted_elements(config))),
            }
        )

    def elaborate(self, platform):
        m = Module()
        lanes = self.config.norm_lanes
        enable, valid = Signal(), Signal()
        head = data.StructLayout({"format": 2, "exponent": signed(8)})
        given = Signal(head, reset_less=True)
        plain = Signal(self.i.payload.values.shape(), reset_less=True)
        parts = Signal(data.ArrayLayout(_magnitude(self.config), lanes), reset_less=True)
        words = Signal(self.o.payload.words.shape(), reset_less=True)
        m.d.comb += [
            enable.eq(~self.o.valid | self.o.ready),
            self.i.ready.eq(enable),
            self.o.payload.words.eq(words),
        ]
        with m.If(enable):
            m.d.sync += [valid.eq(self.i.valid), self.o.valid.eq(valid), plain.eq(self.i.payload.values)]
            m.d.sync += [given[name].eq(self.i.payload[name]) for name in head.members]
            for lane in range(lanes):
                self._measure(m, self.i.payload.values[lane], parts[lane])
                m.d.sync += words[lane].eq(self._word(m, given, plain[lane], parts[lane], lane))
        return m

    @staticmethod
    def _measure(m, value, part):
        """Sign, magnitude and the place of its leading one, 0 of nothing."""
        magnitude = Mux(value < 0, -value, value)[: len(part.bits)]
        lead = Const(0, len(part.lead))
        for place in range(len(part.bits)):
            lead = Mux(magnitude[place], place, lead)
        m.d.sync += [part.sign.eq(value < 0), part.bits.eq(magnitude), part.lead.eq(lead)]

    @staticmethod
    def _word(m, given, plain, part, lane):
        """The element in its format."""
        fraction = Signal(_FRACTION, name=f"fraction_{lane}")
        exponent = Signal(_EXPONENT, name=f"exponent_{lane}")
        rounded = Signal(_SHORT + 1, name=f"rounded_{lane}")  # and a carry
        carried = Signal(_EXPONENT, name=f"carried_{lane}")
        rest = _FRACTION - _SHORT
        kept, half, sticky = fraction[rest:], fraction[rest - 1], fraction[: rest - 1].any()
        m.d.comb += [
            fraction.eq((part.bits << (_FRACTION - part.lead).as_unsigned()[:5])[:_FRACTION]),
            exponent.eq(given.exponent + part.lead + _BIAS),
            rounded.eq(kept + (half & (sticky | kept[0]))),
            carried.eq(exponent + rounded[-1]),
        ]
        nothing = (part.bits == 0) | (exponent <= 0)

        def packed(power, bits):
            """Sign, exponent and fraction; 0 and infinity where the exponent is beyond its range."""
            exact = Mux(power > 254, Cat(Const(0, len(bits)), Const(255, 8)), Cat(bits, power[:8]))
            return Cat(Mux(nothing, 0, exact)[: len(bits) + 8], part.sign)

        word = Signal(32, name=f"word_{lane}")
        with m.Switch(given.format):
            with m.Case(OutFormat.FP32):
                m.d.comb += word.eq(packed(exponent, fraction))
            with m.Case(OutFormat.BF16):
                m.d.comb += word.eq(packed(carried, rounded[:_SHORT]))
            with m.Default():
                m.d.comb += word.eq(plain)
        return word
