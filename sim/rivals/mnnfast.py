"""MNNFast (Jang et al., ISCA 2019): streaming with a lazy softmax and zero skipping (docs/rivals.md)."""

from __future__ import annotations

import dataclasses
import math

import torch

from sim.rivals.attended import Attended
from sim.rivals.heads import Heads, Integers
from sim.rivals.work import Stages, keys_a_cycle, spent

__all__ = ["MNNFast"]


@dataclasses.dataclass(frozen=True, kw_only=True)
class MNNFast:
    """Keys in their order: each adds its exponential to the sum, and its V row unless its share of the sum is small."""

    name: str = "mnnfast"
    bits: int = 12
    """of Q, K and V"""
    threshold: float = 0.1
    """a V row is skipped if its exponential is below so much of the sum so far, its own included; 0: none"""

    def attend(self, heads: Heads) -> Attended:
        """Outputs, kept keys and work of heads."""
        integers = Integers.of(heads, self.bits)
        shown = heads.visible
        scores = integers.scores().masked_fill(~shown, -math.inf)
        so_far = scores.logcumsumexp(-1)
        least = math.log(self.threshold) if self.threshold else -math.inf
        keep = (scores >= so_far + least) & shown
        # One division at the end: by the sum of all exponentials, those of skipped rows too.
        weights = torch.where(keep, (scores - so_far[..., -1:]).exp(), 0.0)
        keys = heads.lengths.double()[:, None].expand(*heads.query.shape[:4]) / keys_a_cycle(heads.dim)
        work = spent(heads, Stages(rows=keys, drain=torch.zeros_like(keys)), keep, self.bits)
        work.scored = work.exponentials = work.comparisons = work.attended
        work.products = heads.dim * (work.scored + work.kept)
        return Attended(out=integers.weighted(weights), keep=keep, work=work)
