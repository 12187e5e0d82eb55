"""Progressive-quantization decision."""

from __future__ import annotations

from amaranth.hdl import Module
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from hdl.spec.config import Config

__all__ = ["FlatnessCheck"]


class FlatnessCheck(wiring.Component):
    """Whether a row must be recomputed with LSBs: its largest probability is below the threshold (paper section III-D).

    The largest exponential of a row is 1, so the largest probability is 1/sum and the test is ``sum > 1/threshold``.
    LATENCY enabled cycles, initiation interval 1. Bit-exact with :func:`golden.datapath.integer.is_flat`.

    Members
    -------
    en : In(1)                       register advances
    exp_sum : In(sum_width)          UQ.16
    flat_limit : In(sum_width)       1/threshold, UQ.16
    check : In(1)                    0: the row is final, never flat
    flat : Out(1)
    """

    LATENCY = 1

    def __init__(self, config: Config):
        self.config = config
        super().__init__(
            {
                "en": In(1),
                "exp_sum": In(config.sum_width),
                "flat_limit": In(config.sum_width),
                "check": In(1),
                "flat": Out(1),
            }
        )

    def elaborate(self, platform):
        m = Module()
        with m.If(self.en):
            m.d.sync += self.flat.eq(self.check & (self.exp_sum > self.flat_limit))
        return m
