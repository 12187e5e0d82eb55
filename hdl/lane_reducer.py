"""Sum of the products of lanes that hold the same slice: the adder trees of prob×V."""

from __future__ import annotations

from amaranth.hdl import Module, Mux, Signal, Value, signed
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from hdl import numerics as N
from hdl.config import Config

__all__ = ["LaneReducer"]

_LEVELS_PER_STAGE = 2


def _log2(value: int) -> int:
    return value.bit_length() - 1


class LaneReducer(wiring.Component):
    """Per element, add up the lanes b with equal b mod g, g = min(lanes, 2**log_slices), for two rows at once.

    Lanes are folded in halves (b with b + lanes/2, then with b + lanes/4, …) until g are left, so the sum of slice s
    comes out in lane s; output lanes g and above are undefined. A fold that every served dimension needs is a plain
    adder, one that none needs is no hardware. Lanes in neither mask count as 0.

    Latency :attr:`latency` cycles, initiation interval 1, two adder levels a stage. No handshake: a beat that has
    come in never waits. Paper section IV-E (adder trees of prob×V).

    Members
    -------
    valid : In(1)                the inputs are a beat; outputs of other cycles are undefined
    log_slices : In(3)           log2 of the slices of a V row
    mask_a, mask_b : In(lanes)   lanes of row A, of row B; disjoint
    products : In(signed(operand_width + 17)).array(lanes, width)      by bank and element
    a, b : Out(signed(operand_width + 17 + log2 lanes)).array(num_outputs, width)
                                 by slice and element; ``b`` is undefined for a beat with an empty mask_b
    """

    def __init__(self, config: Config):
        self.config = config
        self.product_width = config.operand_width + N.EXP_WIDTH
        self.sum_width = self.product_width + _log2(config.lanes)
        super().__init__(
            {
                "valid": In(1),
                "log_slices": In(3),
                "mask_a": In(config.lanes),
                "mask_b": In(config.lanes),
                "products": In(signed(self.product_width)).array(config.lanes, self.width),
                "a": Out(signed(self.sum_width)).array(self.num_outputs, self.width),
                "b": Out(signed(self.sum_width)).array(self.num_outputs, self.width),
            }
        )

    @property
    def width(self) -> int:
        """Elements of a slice that can be part of a row."""
        return min(self.config.lane_width, self.config.max_dim)

    @property
    def num_outputs(self) -> int:
        """Most slices that one beat holds."""
        return min(self.config.lanes, self.config.max_slices)

    @property
    def halves(self) -> list[int]:
        """The folds that are built: lanes h … 2h-1 are added to lanes 0 … h-1."""
        fewest = self.config.slices(self.config.dims[0])
        return [1 << k for k in reversed(range(_log2(self.config.lanes))) if 1 << k >= fewest]

    @property
    def latency(self) -> int:
        return max(1, -(-len(self.halves) // _LEVELS_PER_STAGE))

    @property
    def packs(self) -> bool:
        """Whether a line can hold two rows at all; else there is no tree for row B."""
        return self.config.scores_per_line(self.config.dims[0]) > 1

    def elaborate(self, platform):
        m = Module()
        self._tree(m, "a", self.mask_a, self.valid, self.a)
        if self.packs:
            self._tree(m, "b", self.mask_b, self.valid & self.mask_b.any(), self.b)
        return m

    def _tree(self, m: Module, name: str, mask: Signal, valid: Value, out) -> None:
        """One tree; a stage moves only with a beat, so that an idle tree costs neither power nor simulation time."""
        terms = [[Mux(mask[b], product, 0) for product in lane] for b, lane in enumerate(self.products)]
        log_slices = self.log_slices
        for stage in range(self.latency):
            prefix = f"{name}_{stage}"
            for half in self.halves[_LEVELS_PER_STAGE * stage : _LEVELS_PER_STAGE * (stage + 1)]:
                terms = self._fold(terms, half, log_slices)
            next_terms = [
                [
                    Signal(signed(self.sum_width), name=f"{prefix}_sum_{b}_{e}", reset_less=True)
                    for e in range(self.width)
                ]
                for b in range(len(terms))
            ]
            next_slices = Signal(3, name=f"{prefix}_log_slices", reset_less=True)
            next_valid = Signal(name=f"{prefix}_valid")
            m.d.sync += next_valid.eq(valid)
            with m.If(valid):
                m.d.sync += next_slices.eq(log_slices)
                for lane, next_lane in zip(terms, next_terms, strict=True):
                    m.d.sync += [target.eq(term) for target, term in zip(next_lane, lane, strict=True)]
            terms, log_slices, valid = next_terms, next_slices, next_valid
        for lane, out_lane in zip(terms, out, strict=True):
            m.d.comb += [target.eq(term) for target, term in zip(out_lane, lane, strict=True)]

    def _fold(self, terms: list[list], half: int, log_slices: Value) -> list[list]:
        """Add lanes half … 2*half-1 to lanes 0 … half-1 if a row has at most ``half`` slices."""
        low, high, rest = terms[:half], terms[half : 2 * half], terms[2 * half :]
        if self.config.max_slices <= half:
            return [[x + y for x, y in zip(p, q, strict=True)] for p, q in zip(low, high, strict=True)]
        fold = log_slices <= _log2(half)
        low = [[x + Mux(fold, y, 0) for x, y in zip(p, q, strict=True)] for p, q in zip(low, high, strict=True)]
        return low + high + rest
