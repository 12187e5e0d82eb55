"""The accumulators of prob×V: one for each multiplier, and for each beat of a line."""

from __future__ import annotations

from amaranth.hdl import Array, Module, Mux, Signal, signed
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from hdl.pv.beat import product_shape, rows_share_lines, slice_elements
from hdl.spec.config import Config

__all__ = ["Accumulators"]


class Accumulators(wiring.Component):
    """Adds the beats of a row. When the row ends, all begin anew: with nothing, or in the lanes of row B with its part.

    A beat a cycle; never stalls. Sums have the beat of the same cycle: latency 0. Bit-exact with
    :func:`golden.datapath.integer.accumulate`, lane by lane.

    Members
    -------
    valid : In(1)           the products are those of a beat
    group : In(n)           number of the beat in its line
    mask_b : In(lanes)      banks of row B
    ends_next : In(1)       the beat of the next cycle ends its row
    products : In(signed).array(lanes, slice)
    acc : Out(signed(acc_width)).array(lanes, max_beats * slice)    sums with this beat, by lane, beat and element
    """

    def __init__(self, config: Config):
        self.config = config
        size = slice_elements(config)
        super().__init__(
            {
                "valid": In(1),
                "group": In(range(max(2, config.max_beats))),
                "mask_b": In(config.lanes),
                "ends_next": In(1),
                "products": In(product_shape(config)).array(config.lanes, size),
                "acc": Out(signed(config.acc_width)).array(config.lanes, config.max_beats * size),
            }
        )

    def elaborate(self, platform):
        m = Module()
        # A register of its own: the flip-flops' reset inputs hang on it, so that beginning anew costs no logic.
        begin = Signal(init=1)
        m.d.sync += begin.eq(self.ends_next)
        for b in range(self.config.lanes):
            for e in range(slice_elements(self.config)):
                self._accumulate(m, b, e, begin)
        return m

    def _accumulate(self, m: Module, b: int, e: int, begin: Signal) -> None:
        """An element of a lane, for all beats of a line."""
        shape, size, beats = signed(self.config.acc_width), slice_elements(self.config), self.config.max_beats
        product, of_b = self.products[b][e], self.mask_b[b] & rows_share_lines(self.config)
        accs = [Signal(shape, name=f"acc_{t}_{b}_{e}", reset_less=True) for t in range(beats)]
        total = Signal(shape, name=f"total_{b}_{e}")
        m.d.comb += total.eq((Array(accs)[self.group] if beats > 1 else accs[0]) + Mux(of_b, 0, product))
        for t, target in enumerate(accs):
            active = self.group == t if beats > 1 else 1
            m.d.comb += self.acc[b][t * size + e].eq(Mux(active, total, target))
            with m.If(begin):
                # Only lines of one beat hold two rows.
                m.d.sync += target.eq(Mux(of_b & self.valid, product, 0) if t == 0 else 0)
            with m.Elif(self.valid & active):
                m.d.sync += target.eq(total)
