"""Dense attention on the same multipliers, the measure of the others (docs/rivals.md)."""

from __future__ import annotations

import dataclasses
import math

from sim.rivals.attended import Attended
from sim.rivals.heads import Heads, Integers
from sim.rivals.work import Stages, keys_a_cycle, spent

__all__ = ["Dense"]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Dense:
    """Two arrays: Q·K of a row, then prob·V while the next row is scored."""

    name: str = "dense"
    bits: int = 12
    """of Q, K and V"""

    def attend(self, heads: Heads) -> Attended:
        """Outputs, kept keys and work of heads."""
        integers = Integers.of(heads, self.bits)
        keep = heads.visible.expand(*heads.query.shape[:4], -1)
        weights = integers.scores().masked_fill(~keep, -math.inf).softmax(-1)
        keys = keep.sum(-1) / keys_a_cycle(heads.dim)
        work = spent(heads, Stages(rows=keys, drain=keys), keep, self.bits)
        work.scored = work.exponentials = work.comparisons = work.attended
        work.products = heads.dim * (work.scored + work.kept)
        return Attended(out=integers.weighted(weights), keep=keep, work=work)
