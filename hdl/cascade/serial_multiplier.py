"""Multiplies by shifting and adding, a bit a cycle."""

from __future__ import annotations

from amaranth.hdl import Module, Mux, Signal
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

__all__ = ["SerialMultiplier"]


class SerialMultiplier(wiring.Component):
    """``factor * weight`` without its ``weight_width`` lowest bits; ``weight_width`` cycles a product.

    Members
    -------
    load : In(1)                  take the operands
    factor : In(factor_width)
    weight : In(weight_width)
    step : In(1)                  one bit; from the cycle after ``load`` on, until ``last``
    last : Out(1)                 with ``step``: the product is there a cycle later
    product : Out(factor_width)   holds until the next ``load``
    """

    def __init__(self, *, factor_width: int, weight_width: int):
        self.weight_width = weight_width
        super().__init__(
            {
                "load": In(1),
                "factor": In(factor_width),
                "weight": In(weight_width),
                "step": In(1),
                "last": Out(1),
                "product": Out(factor_width),
            }
        )

    def elaborate(self, platform):
        m = Module()
        factor, product = (Signal(self.factor.shape(), name=name, reset_less=True) for name in ("factor", "product"))
        weight = Signal(self.weight_width, reset_less=True)
        left = Signal(range(self.weight_width), reset_less=True)
        m.d.comb += [self.last.eq(left == 0), self.product.eq(product)]
        with m.If(self.load):
            m.d.sync += [factor.eq(self.factor), weight.eq(self.weight)]
            m.d.sync += [product.eq(0), left.eq(self.weight_width - 1)]
        with m.Elif(self.step):
            m.d.sync += [product.eq((product + Mux(weight[0], factor, 0)) >> 1), weight.eq(weight >> 1)]
            m.d.sync += left.eq(left - 1)
        return m
