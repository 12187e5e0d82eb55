"""Reciprocal of an exp sum."""

from __future__ import annotations

from amaranth.hdl import Module, Signal, Value
from amaranth.lib import data, wiring
from amaranth.lib.memory import Memory
from amaranth.lib.wiring import In, Out

from hdl.softmax.exponential import delayed
from hdl.spec import numerics as N
from hdl.spec.config import Config

__all__ = ["Reciprocal"]

_FRACTION = N.RECIP_INDEX + N.RECIP_LOW


class Reciprocal(wiring.Component):
    """``1 / exp_sum = recip * 2**-16 * 2**-pe`` by a table of 256 entries and linear interpolation.

    LATENCY enabled cycles, initiation interval 1. Bit-exact with :func:`golden.datapath.integer.reciprocal`. No
    division: the sum is shifted to [1, 2) by the place of its leading one.

    Members
    -------
    en : In(1)                    all registers advance
    exp_sum : In(total_width)     UQ with ``total_frac`` fraction bits, at least 1.0
    recip : Out(17)               UQ1.16, in (0.5, 1]
    pe : Out(recip_exp_width)     exponent, 0…total_width - total_frac - 1
    """

    LATENCY = 6

    def __init__(self, config: Config):
        self.config = config
        super().__init__(
            {
                "en": In(1),
                "exp_sum": In(config.total_width),
                "recip": Out(N.RECIP_WIDTH),
                "pe": Out(config.recip_exp_width),
            }
        )

    def elaborate(self, platform):
        m = Module()
        pe = Signal(self.config.recip_exp_width, reset_less=True)
        fraction = self._normalize(m, pe)
        point = self._look_up(m, fraction[N.RECIP_LOW :])
        base = Signal(N.RECIP_WIDTH, reset_less=True)
        product = Signal(len(point.slope) + N.RECIP_LOW, reset_less=True)
        correction = (product + (1 << N.RECIP_LOW >> 1)) >> N.RECIP_LOW
        with m.If(self.en):
            low = delayed(m, fraction[: N.RECIP_LOW], 2, "low")
            m.d.sync += [
                base.eq(point.base),
                product.eq(point.slope * low[2]),
                self.recip.eq(base - correction),
                self.pe.eq(delayed(m, pe, self.LATENCY - 2, "pe")[-1]),
            ]
        return m

    def _normalize(self, m: Module, pe: Signal) -> Signal:
        """Stages 1 and 2: place of the leading one, fraction of the sum shifted by it."""
        exp_sum = Signal.like(self.exp_sum, name="exp_sum_1", reset_less=True)
        fraction = Signal(_FRACTION, reset_less=True)
        with m.If(self.en):
            m.d.sync += [pe.eq(0), exp_sum.eq(self.exp_sum)]
            frac = self.config.total_frac
            for bit in range(1, len(self.exp_sum) - frac):
                with m.If(self.exp_sum[frac + bit]):
                    m.d.sync += pe.eq(bit)
            cut = exp_sum << (_FRACTION - frac) if frac < _FRACTION else exp_sum[frac - _FRACTION :]
            m.d.sync += fraction.eq(cut >> pe)
        return fraction

    def _look_up(self, m: Module, index: Value) -> data.View:
        """Stages 3 and 4: table, and a register after it because block RAM is slow."""
        entry = data.StructLayout({"base": N.RECIP_WIDTH, "slope": max(N.RECIP_SLOPE).bit_length()})
        init = [{"base": base, "slope": slope} for base, slope in zip(N.RECIP_BASE, N.RECIP_SLOPE, strict=True)]
        m.submodules.table = table = Memory(shape=entry, depth=len(init), init=init)
        read = table.read_port()
        point = Signal(entry, reset_less=True)
        m.d.comb += [read.en.eq(self.en), read.addr.eq(index)]
        with m.If(self.en):
            m.d.sync += point.eq(read.data)
        return point
