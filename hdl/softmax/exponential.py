"""Exponential of a score relative to its row's maximum, one lane: exponent, then power of two."""

from __future__ import annotations

from amaranth.hdl import Cat, Const, Module, Mux, Signal, Value
from amaranth.lib import data, wiring
from amaranth.lib.memory import Memory
from amaranth.lib.wiring import In, Out

from hdl.spec import numerics as N
from hdl.spec.config import Config
from hdl.spec.widths import signed

__all__ = ["Exponent", "Exponential"]

_CHUNK = 18  # unsigned operand bits of one FPGA multiplier
_LOW = N.X_FRAC - N.EXP_INDEX  # interpolated bits


def delayed(m: Module, value: Value, count: int, name: str) -> list[Value]:
    """``value`` and its copies 1…count cycles later (enabled ones, inside an m.If)."""
    values = [value]
    for stage in range(1, count + 1):
        register = Signal(value.shape(), name=f"{name}_{stage}", reset_less=True)
        m.d.sync += register.eq(values[-1])
        values.append(register)
    return values


class Exponent(wiring.Component):
    """``x = (maximum - score) * scale / 2**shift``, rounded half up, saturating (paper Fig. 8, dequantization).

    LATENCY enabled cycles, initiation interval 1. Bit-exact with :func:`golden.datapath.integer.exponent`. A lane
    without ``keep`` saturates, and the exponential of a saturated x is exactly 0: that is how lanes are masked. Where
    jobs can be chained, ``offset`` is added, from the maximum up to a whole octave of the chain.

    Members
    -------
    en : In(1)                       all registers advance
    maximum, score : In(signed)      signed ``score_width`` bits; maximum >= score if keep
    scale : In(16)                   unsigned mantissa
    shift : In(6)                    right shift, 1…63
    keep : In(1)                     0: x is all ones
    offset : In(12)                  UQ.12; only where jobs can be chained
    x : Out(17)                      UQ5.12
    """

    LATENCY = 6

    def __init__(self, config: Config):
        self.config = config
        super().__init__(
            {
                "en": In(1),
                "maximum": In(signed(config.score_width)),
                "score": In(signed(config.score_width)),
                "scale": In(N.SCALE_WIDTH),
                "shift": In(N.SHIFT_WIDTH),
                "keep": In(1),
                **({"offset": In(N.X_FRAC)} if config.chained else {}),
                "x": Out(N.X_WIDTH),
            }
        )

    def elaborate(self, platform):
        m = Module()
        with m.If(self.en):
            # Shift by one less: the last bit shifted out rounds.
            amount = delayed(m, (self.shift - 1)[: N.SHIFT_WIDTH], 4, "amount")
            keep = delayed(m, self.keep, 3, "keep")
            offset = delayed(m, self.offset, 5, "offset")[-1] if self.config.chained else None
            self._shift(m, self._multiply(m), amount, keep[3], offset)
        return m

    def _multiply(self, m: Module) -> Signal:
        """Stages 1 to 3: difference, partial products, their sum."""
        width = self.config.score_width
        diff = Signal(width, reset_less=True)
        scale = Signal(N.SCALE_WIDTH, reset_less=True)
        m.d.sync += [diff.eq(self.maximum - self.score), scale.eq(self.scale)]
        total = 0
        for low in range(0, width, _CHUNK):
            chunk = diff[low : low + _CHUNK]
            part = Signal(len(chunk) + N.SCALE_WIDTH, name=f"part_{low}", reset_less=True)
            m.d.sync += part.eq(chunk * scale)
            total = total + (part << low)
        product = Signal(width + N.SCALE_WIDTH, reset_less=True)
        m.d.sync += product.eq(total)
        return product

    def _shift(self, m: Module, product: Signal, amount: list[Value], keep: Value, offset: Value | None) -> None:
        """Stages 4 to 6: shift by multiples of 16, by 0…15, round, add the offset and saturate.

        Bits that can only mean overflow are folded into one at once, so that the shifters stay narrow.
        """
        coarse = Signal(N.X_WIDTH + 16, reset_less=True)
        fine = Signal(N.X_WIDTH + 1, reset_less=True)
        over_16, over_1 = Signal(reset_less=True), Signal(reset_less=True)
        by_16 = product >> Cat(Const(0, 4), amount[3][4:])
        by_1 = coarse >> amount[4][:4]
        # Half a step rounds; the offset's steps begin a bit above it.
        rounded = fine + (Cat(Const(1, 1), offset) if offset is not None else 1)
        m.d.sync += [
            coarse.eq(by_16),
            over_16.eq(by_16[len(coarse) :].any() | ~keep),
            fine.eq(by_1),
            over_1.eq(by_1[len(fine) :].any() | over_16),
            self.x.eq(Mux(over_1 | rounded[-1], ~0, rounded[1:])),
        ]


class Exponential(wiring.Component):
    """``e = 2**-x`` by a table of 64 entries and linear interpolation.

    LATENCY enabled cycles, initiation interval 1. Bit-exact with :func:`golden.datapath.integer.exp2_neg`.

    Members
    -------
    en : In(1)    all registers advance
    x : In(17)    UQ5.12
    e : Out(17)   UQ1.16, 65536 for x = 0, 0 for the largest x
    """

    LATENCY = 5

    def __init__(self, config: Config):
        self.config = config
        super().__init__({"en": In(1), "x": In(N.X_WIDTH), "e": Out(N.EXP_WIDTH)})

    def elaborate(self, platform):
        m = Module()
        entry = data.StructLayout({"base": N.EXP_WIDTH, "slope": max(N.EXP_SLOPE).bit_length()})
        init = [{"base": base, "slope": slope} for base, slope in zip(N.EXP_BASE, N.EXP_SLOPE, strict=True)]
        m.submodules.table = table = Memory(shape=entry, depth=len(init), init=init)
        read = table.read_port()
        m.d.comb += [read.en.eq(self.en), read.addr.eq(self.x[_LOW : N.X_FRAC])]

        low = Signal(_LOW, reset_less=True)
        base = Signal(N.EXP_WIDTH, reset_less=True)
        product = Signal(len(read.data.slope) + _LOW, reset_less=True)
        mantissa = Signal(N.EXP_WIDTH, reset_less=True)
        coarse = Signal(N.EXP_WIDTH + 1, reset_less=True)
        correction = (product + (1 << _LOW >> 1)) >> _LOW
        with m.If(self.en):
            whole = delayed(m, self.x[N.X_FRAC :], 4, "whole")
            m.d.sync += [
                low.eq(self.x),
                base.eq(read.data.base),
                product.eq(read.data.slope * low),
                mantissa.eq(base - correction),
                # One bit more than the mantissa: the last bit shifted out rounds, and a shift by 0 adds nothing.
                coarse.eq(Cat(Const(0, 1), mantissa) >> Cat(Const(0, 3), whole[3][3:])),
                self.e.eq(((coarse >> whole[4][:3]) + 1) >> 1),
            ]
        return m
