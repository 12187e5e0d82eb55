"""Multiplication of finished sums by 1/Σe, rounding and saturation."""

from __future__ import annotations

import itertools

from amaranth.hdl import Cat, Module, Mux, Signal, Value, signed
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from hdl.spec import numerics as N
from hdl.spec.config import Config

__all__ = ["Scaler"]

_LOW_BITS = 16


class Scaler(wiring.Component):
    """``round(acc / 2**pe * recip / 2**24)``, rounded half up and saturated, in each of ``norm_lanes`` lanes.

    The accumulator shifted by pe has only operand_width + 17 bits: weights are exps of this row, so ``|acc|`` <=
    Σe * 2**(operand_width-1), and pe is defined by Σe < 2**(17+pe). The multiplier is that narrow, and is built of two
    partial products that fit an 18x18 multiplier.

    LATENCY cycles, initiation interval 1; never stalls, and registers move only with a beat. Bit-exact with
    :func:`golden.datapath.integer.normalize`.

    Members
    -------
    valid : In(1)                                       the inputs are those of a beat
    accs : In(signed(scaled_width)).array(norm_lanes)   Q.16
    recip : In(17)                                      UQ1.16
    pe : In(recip_exp_width)
    o_valid : Out(1)
    values : Out(signed(out_width)).array(norm_lanes)   Q(operand_width).8
    busy : Out(1)                                       a beat is inside
    """

    LATENCY = 4

    def __init__(self, config: Config):
        self.config = config
        lanes = config.norm_lanes
        super().__init__(
            {
                "valid": In(1),
                "accs": In(signed(config.scaled_width)).array(lanes),
                "recip": In(N.RECIP_WIDTH),
                "pe": In(config.recip_exp_width),
                "o_valid": Out(1),
                "values": Out(signed(config.out_width)).array(lanes),
                "busy": Out(1),
            }
        )

    def elaborate(self, platform):
        m = Module()
        valid = [self.valid, *(Signal(name=f"valid_{k}") for k in range(1, self.LATENCY + 1))]
        m.d.sync += [later.eq(earlier) for earlier, later in itertools.pairwise(valid)]
        m.d.comb += [self.o_valid.eq(valid[-1]), self.busy.eq(Cat(valid[1:]).any())]
        narrow = signed(self.config.operand_width + N.EXP_WIDTH)
        shifted = self._register(m, valid[0], "shifted", [acc >> self.pe for acc in self.accs], narrow)
        # Beside the values, with the same enable, so that both can be registers of the multipliers.
        (recip,) = self._register(m, valid[0], "recip", [self.recip])
        low = self._register(m, valid[1], "low", [value[:_LOW_BITS] * recip for value in shifted])
        high = self._register(m, valid[1], "high", [value[_LOW_BITS:].as_signed() * recip for value in shifted])
        # The 16 low bits of the product cannot carry into the result.
        drop = 2 * N.EXP_FRAC - N.OUT_FRAC - _LOW_BITS
        sums = [(h + (1 << drop - 1)) + x[_LOW_BITS:] for h, x in zip(high, low, strict=True)]
        rounded = self._register(m, valid[2], "rounded", [x >> drop for x in sums], signed(self.config.out_width + 2))
        values = self._register(m, valid[3], "value", [self._saturate(x) for x in rounded])
        m.d.comb += [port.eq(value) for port, value in zip(self.values, values, strict=True)]
        return m

    @staticmethod
    def _register(m: Module, enable: Value, name: str, exprs: list[Value], shape=None) -> list[Signal]:
        """Registers of one stage."""
        registers = [
            Signal(shape or Value.cast(expr).shape(), name=f"{name}_{j}", reset_less=True)
            for j, expr in enumerate(exprs)
        ]
        with m.If(enable):
            m.d.sync += [register.eq(expr) for register, expr in zip(registers, exprs, strict=True)]
        return registers

    def _saturate(self, value: Signal) -> Value:
        width = self.config.out_width
        top = value[width - 1 :]
        limit = Cat((~value[-1]).replicate(width - 1), value[-1])
        return Mux(top.all() | ~top.any(), value[:width], limit).as_signed()
