"""Reconfigurable adder tree: one dot product per lane, or per group of neighbouring lanes (paper section IV-D)."""

from __future__ import annotations

from collections.abc import Sequence

from amaranth.hdl import Module, Mux, Signal, Value, signed
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

from hdl.qk.beat import product_array
from hdl.spec.config import Config

__all__ = ["AdderTree", "adder_tree_latency"]

Sums = list[list[Value]]
"""Partial sums that are still to be added, by lane."""


def _pairs(values: Sequence[Value]) -> list[Value]:
    return [a + b for a, b in zip(values[::2], values[1::2], strict=True)]


def _lane_levels(config: Config) -> int:
    return (config.lane_width - 1).bit_length()


def _group_levels(config: Config) -> int:
    """Levels that add lanes: only as many as the served dimensions need."""
    most_slices = max(config.slices(dim) for dim in config.dims)
    return (min(config.lanes, most_slices) - 1).bit_length()


def adder_tree_latency(config: Config) -> int:
    """Enabled cycles from input to output of an :class:`AdderTree`."""
    return max(1, -(-(_lane_levels(config) + _group_levels(config)) // config.adder_levels))


class AdderTree(wiring.Component):
    """Sum the products of each lane, then of groups of ``g = min(lanes, 2**log_slices)`` neighbouring lanes.

    ``sums[j]`` is the sum of lanes ``j*g … j*g+g-1`` for ``j < lanes/g``; the groups repeat after that, so
    ``sums[j] = sums[j + lanes/g]``. Sums are exact if at most ``max_dim`` products of a group are not zero.

    Initiation interval 1, latency :func:`adder_tree_latency`: a register after every ``adder_levels`` levels, one
    enable for all of them. Paper section IV-D, "reconfigurable adder tree".

    Members
    -------
    i : In(stream)    ``products[lane][element]``, signed 2*operand_width bits; ``log_slices`` of a served dimension
    o : Out(stream)   ``sums[lanes]``, signed score_width bits
    """

    def __init__(self, config: Config):
        self.config = config
        self.latency = adder_tree_latency(config)
        super().__init__({
            "i": In(stream.Signature(data.StructLayout({
                "products": product_array(config),
                "log_slices": 3,
            }))),
            "o": Out(stream.Signature(data.StructLayout({
                "sums": data.ArrayLayout(signed(config.score_width), config.lanes),
            }))),
        })  # fmt: skip

    def elaborate(self, platform):
        m = Module()
        enable = Signal()
        levels, each = _lane_levels(self.config) + _group_levels(self.config), self.config.adder_levels
        valid, log_slices = self.i.valid, self.i.payload.log_slices
        sums: Sums = [[self.i.payload.products[b][e] for e in range(self.config.lane_width)] for b in self._lanes]
        for stage in range(self.latency):
            for level in range(stage * each, min((stage + 1) * each, levels)):
                sums = self._level(level, sums, log_slices)
            valid_next = Signal(name=f"valid_{stage}")
            log_slices_next = Signal(3, name=f"log_slices_{stage}", reset_less=True)
            with m.If(enable):
                m.d.sync += [valid_next.eq(valid), log_slices_next.eq(log_slices)]
                sums = self._register(m, stage, sums)
            valid, log_slices = valid_next, log_slices_next
        m.d.comb += [
            enable.eq(~self.o.valid | self.o.ready),
            self.i.ready.eq(enable),
            self.o.valid.eq(valid),
            *(self.o.payload.sums[b].eq(sums[b][0]) for b in self._lanes),
        ]
        return m

    @property
    def _lanes(self) -> range:
        return range(self.config.lanes)

    def _level(self, level: int, sums: Sums, log_slices: Value) -> Sums:
        step = level - _lane_levels(self.config)
        if step < 0:
            return [_pairs(lane) for lane in sums]
        groups = self.config.lanes >> (step + 1)
        added = _pairs([lane[0] for lane in sums[: 2 * groups]])
        wide = log_slices > step
        return [[Mux(wide, added[b % groups], sums[b][0])] for b in self._lanes]

    def _register(self, m: Module, stage: int, sums: Sums) -> Sums:
        registers: Sums = []
        for b, lane in enumerate(sums):
            registers.append([])
            for index, value in enumerate(lane):
                width = min(Value.cast(value).shape().width, self.config.score_width)
                register = Signal(signed(width), name=f"sum_{stage}_{b}_{index}", reset_less=True)
                m.d.sync += register.eq(value)
                registers[-1].append(register)
        return registers
