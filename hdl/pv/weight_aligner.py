"""The weights of a line of prob×V in the order of the banks of the V buffer."""

from __future__ import annotations

from amaranth.hdl import Array, Const, Module, Signal
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from hdl.pv.beat import joined_line
from hdl.spec import numerics as N
from hdl.spec.config import Config

__all__ = ["WeightAligner"]


class WeightAligner(wiring.Component):
    """Gives each bank the weight of its slice: that of key ((b - first) mod lanes) // slices of the line.

    Masks are combinational, weights come a cycle later. A line a cycle.

    Members
    -------
    offered, joined : In             as LineJoiner
    mask_a, mask_b : Out(lanes)      banks with a key of row A, of row B
    weights : Out(17).array(lanes)   UQ1.16, by bank; undefined in banks of neither row
    """

    def __init__(self, config: Config):
        self.config = config
        super().__init__(
            {
                "offered": In(1),
                "joined": In(joined_line(config)),
                "mask_a": Out(config.lanes),
                "mask_b": Out(config.lanes),
                "weights": Out(N.EXP_WIDTH).array(config.lanes),
            }
        )

    def elaborate(self, platform):
        m = Module()
        lanes = self.config.lanes
        lane_bits = lanes.bit_length() - 1
        joined, line = self.joined, self.joined.line
        exps = Signal.like(line.exps, name="exps", reset_less=True)
        with m.If(self.offered):
            m.d.sync += exps.eq(line.exps)
        for b in range(lanes):
            index = Signal(range(max(2, lanes)), name=f"index_{b}", reset_less=True)
            key = (b - joined.first[:lane_bits])[:lane_bits] >> joined.row.log_slices if lane_bits else Const(0, 1)
            m.d.comb += [
                self.mask_a[b].eq(key < line.a_count),
                self.mask_b[b].eq((key >= line.a_count) & (key < line.a_count + line.b_count)),
                self.weights[b].eq(Array(exps[i] for i in range(lanes))[index]),
            ]
            with m.If(self.offered):
                m.d.sync += index.eq(key)
        return m
