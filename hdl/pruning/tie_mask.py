"""Which lanes of a line survive: those above their row's threshold, and ties while any are left."""

from __future__ import annotations

from amaranth.hdl import Module, Mux, Signal
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from hdl.spec.config import Config
from hdl.topk.keep_mask import KeepMask
from hdl.topk.zero_eliminator import prefix_counts

__all__ = ["TieMask"]


class TieMask(wiring.Component):
    """Keep mask of a line of two rows; the ties that are left go from line to line of a row.

    The earliest ties are kept. Those of a row that begins as B start in the boundary line. Combinational; the ties that
    a line takes are gone after ``step``. Bit-exact with :func:`golden.datapath.integer.keep_mask`.

    Members
    -------
    step : In(1)               the line goes
    a_last, has_b : In(1)      row A ends in the line; the line has lanes of row B
    of_a : In(lanes)           the lane is one of row A, else of row B
    greater, equal : In(lanes)    how its score compares with its row's threshold; neither: it does not survive
    a_ties, b_ties : In(count_width)    ties that each row keeps, as in its selection
    keep : Out(lanes)
    """

    def __init__(self, config: Config):
        self.config = config
        lanes = config.lanes
        super().__init__(
            {
                "step": In(1),
                "a_last": In(1),
                "has_b": In(1),
                "of_a": In(lanes),
                "greater": In(lanes),
                "equal": In(lanes),
                "a_ties": In(config.count_width),
                "b_ties": In(config.count_width),
                "keep": Out(lanes),
            }
        )

    def elaborate(self, platform):
        m = Module()
        config = self.config
        goes_on = Signal()  # row A began in an earlier line, ``left`` are its ties
        left = Signal(config.count_width, reset_less=True)
        limits = [Mux(goes_on, left, self.a_ties), self.b_ties]
        masks, rests = [], []
        for name, own, limit in zip("ab", (self.of_a, ~self.of_a), limits, strict=True):
            m.submodules[f"mask_{name}"] = mask = KeepMask(lanes=config.lanes, count_width=config.count_width)
            m.d.comb += [mask.greater.eq(self.greater & own), mask.equal.eq(self.equal & own), mask.ties.eq(limit)]
            masks.append(mask)
            rest = limit - prefix_counts(list(self.equal & own))[-1]
            rests.append(Mux(rest < 0, 0, rest[: config.count_width]))
        with m.If(self.step):
            m.d.sync += [
                goes_on.eq(~self.a_last | self.has_b),
                left.eq(Mux(self.a_last, rests[1], rests[0])),
            ]
        m.d.comb += self.keep.eq(masks[0].keep | masks[1].keep)
        return m
