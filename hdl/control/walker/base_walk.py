"""Walks the bases of a layer's planes from K/V head to K/V head."""

from __future__ import annotations

from amaranth.hdl import Module, Signal
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In, Out

from hdl.spec import payloads
from hdl.spec.config import Config
from hdl.spec.numerics import LSB_BITS
from hdl.spec.planes import PLANES
from hdl.spec.widths import HEAD_FIELD_WIDTH, SKEW_FIELD_WIDTH

__all__ = ["BaseWalk"]


class BaseWalk(wiring.Component):
    """Multiples of the strides by repeated addition: K/V heads ascend, so the bases go on from the last group's.

    Heads begin in channels of their own, lest all of them wait for the same channel: head k's rows begin k channels
    after those of head 0. A K/V head every cycle.

    Members
    -------
    layer : In(layer_descriptor(config))    taken with ``load``
    load : In(1)                  the planes are those of K/V head 0
    kv_head : In(HEAD_FIELD_WIDTH)    where to go; 0 in the cycle after ``load``, then it only ascends
    bases : Out(StructLayout)     first word of each plane, by its name
    skew : Out(SKEW_FIELD_WIDTH)  channel of row 0
    arrived : Out(1)              they are those of ``kv_head``
    wrapped : Out(1)              a base has passed the end of the address space on its way
    """

    def __init__(self, config: Config):
        self.config = config
        super().__init__(
            {
                "layer": In(payloads.layer_descriptor(config)),
                "load": In(1),
                "kv_head": In(HEAD_FIELD_WIDTH),
                "bases": Out(data.StructLayout({name: config.address_width for name in PLANES})),
                "skew": Out(SKEW_FIELD_WIDTH),
                "arrived": Out(1),
                "wrapped": Out(1),
            }
        )

    def elaborate(self, platform):
        m = Module()
        layer, job = self.layer, self.layer.job
        position = Signal(HEAD_FIELD_WIDTH)
        bases, skew = Signal(self.bases.shape(), reset_less=True), Signal(SKEW_FIELD_WIDTH, reset_less=True)
        strides = Signal(self.bases.shape(), reset_less=True)
        progressive = Signal(reset_less=True)
        m.d.comb += [self.bases.eq(bases), self.skew.eq(skew), self.arrived.eq(position == self.kv_head)]
        with m.If(~self.arrived):
            m.d.sync += [position.eq(position + 1), skew.eq((skew + 1) & (self.config.num_channels - 1))]
            for name in PLANES:
                total = Signal(self.config.address_width + 1, name=f"{name}_total")
                m.d.comb += total.eq(bases[name] + strides[name])
                m.d.sync += bases[name].eq(total)
                with m.If(total[-1] & (progressive if name == "key_lsb" else 1)):
                    m.d.sync += self.wrapped.eq(1)
        with m.If(self.load):
            m.d.sync += [position.eq(0), self.wrapped.eq(0), skew.eq(job.skew)]
            m.d.sync += progressive.eq(job.key_lsb_bits == LSB_BITS)
            m.d.sync += [bases[name].eq(job[f"{name}_base"]) for name in PLANES]
            m.d.sync += [strides[name].eq(layer[f"{name}_stride"]) for name in PLANES]
        return m
