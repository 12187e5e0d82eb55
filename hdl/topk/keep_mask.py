"""Keep mask: which scores of a group survive a threshold with a limited number of ties."""

from __future__ import annotations

from amaranth.hdl import Module, Mux, Signal
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from hdl.spec.widths import bits_for_count
from hdl.topk.zero_eliminator import prefix_counts

__all__ = ["KeepMask"]


class KeepMask(wiring.Component):
    """Keep all scores above the threshold, and the earliest ``ties`` of those equal to it.

    Purely combinational; the user compares the scores (and registers the comparisons), and subtracts ``used`` from
    ``ties`` for the row's next group. Bit-exact with :func:`golden.datapath.integer.keep_mask`.

    Members
    -------
    greater : In(lanes)       bit i: score i is above the threshold
    equal : In(lanes)         bit i: score i equals the threshold (never together with greater)
    ties : In(count_width)    equal scores that may still be kept
    keep : Out(lanes)         bit i: score i survives
    used : Out(n)             equal scores kept, 0…lanes
    """

    def __init__(self, *, lanes: int, count_width: int):
        if not isinstance(lanes, int) or lanes < 1:
            raise ValueError(f"lanes must be a positive integer, not {lanes!r}")
        if not isinstance(count_width, int) or count_width < 1:
            raise ValueError(f"count_width must be a positive integer, not {count_width!r}")
        self.lanes = lanes
        self.count_width = count_width
        super().__init__(
            {
                "greater": In(lanes),
                "equal": In(lanes),
                "ties": In(count_width),
                "keep": Out(lanes),
                "used": Out(bits_for_count(lanes)),
            }
        )

    def elaborate(self, platform):
        m = Module()
        before = prefix_counts([self.equal[lane] for lane in range(self.lanes)])
        # The wide count is cut to a small one first, so that every lane compares only a few bits.
        limit = Signal(bits_for_count(self.lanes))
        m.d.comb += limit.eq(Mux(self.ties >= self.lanes, self.lanes, self.ties))
        for lane in range(self.lanes):
            m.d.comb += self.keep[lane].eq(self.greater[lane] | (self.equal[lane] & (before[lane] < limit)))
        m.d.comb += self.used.eq(Mux(before[-1] < limit, before[-1], limit))
        return m
