"""A3 (Ham et al., HPCA 2020): base, conservative and aggressive (docs/rivals.md)."""

from __future__ import annotations

import dataclasses
import math

import torch
from torch import Tensor

from sim.rivals.attended import Attended
from sim.rivals.candidates import Search, search
from sim.rivals.heads import Heads, Integers
from sim.rivals.work import MULTIPLIERS, Stages, Work, bits_of, keys_a_cycle, spent

__all__ = ["A3"]

_ROW, _LATENCY = 9, 27
"""Cycles more than n that a row of base takes, and more than 3 n until its output is there."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class A3:
    """Three stages (dot products, exponents, output) after an optional greedy search for candidates."""

    name: str
    bits: int = 8
    """of Q, K and V"""
    share: float | None = None
    """iterations of the search by keys; None: base, which scores all keys"""
    percent: float = 0.0
    """post-scoring: least weight of a key that is kept, in percent of the largest"""

    def attend(self, heads: Heads) -> Attended:
        """Outputs, kept keys and work of heads."""
        integers = Integers.of(heads, self.bits)
        found = None if self.share is None else self._search(heads, integers)
        scored = heads.visible.expand(*heads.query.shape[:4], -1) if found is None else found.candidates
        scores = integers.scores().masked_fill(~scored, -math.inf)
        keep = scored
        if found is not None:
            keep = scores >= scores.amax(-1, keepdim=True) - math.log(100 / self.percent)
        weights = scores.masked_fill(~keep, -math.inf).softmax(-1)
        work = self._base(heads, scored) if found is None else self._approximate(heads, found, keep)
        return Attended(out=integers.weighted(weights), keep=keep, work=work)

    def _search(self, heads: Heads, integers: Integers) -> Search:
        """Candidates (B, K, S, r, n), and products popped (B, K, S, r)."""
        batch, kv_heads, steps, rows, _ = heads.query.shape
        lengths = heads.lengths.repeat_interleave(rows)
        found = search(
            integers.query.flatten(2, 3).flatten(0, 1).long(),
            integers.key.flatten(0, 1).long(),
            lengths,
            self.iterations(lengths),
        )
        shape = (batch, kv_heads, steps, rows)
        return Search(*(part.view(*shape, *part.shape[2:]) for part in (found.greedy, found.candidates, found.steps)))

    def iterations(self, lengths: Tensor) -> Tensor:
        """Of the search among so many keys."""
        assert self.share is not None
        return (lengths.double() * self.share).floor().long().clamp(min=1)

    # Work ------------------------------------------------------------------------------------------------------

    def _base(self, heads: Heads, scored: Tensor) -> Work:
        keys = scored.sum(-1) / keys_a_cycle(heads.dim)
        work = spent(heads, Stages(rows=keys + _ROW, drain=2 * keys + _LATENCY - _ROW), scored, self.bits)
        self._count(work, heads.dim, work.attended)
        return work

    def _approximate(self, heads: Heads, found: Search, keep: Tensor) -> Work:
        width = keys_a_cycle(heads.dim)
        iterations = self.iterations(heads.lengths)[:, None].expand(*heads.query.shape[:4]).double()
        candidates, kept = (mask.sum(-1) / width for mask in (found.candidates, keep))
        slowest = torch.stack((iterations, candidates, kept)).amax(0)
        levels = torch.tensor([bits_of(int(length)) for length in heads.lengths], dtype=torch.float64)
        elements = heads.lengths.double() * heads.dim
        # A head's K is sorted once for all its rows; in generation the sorted columns are a cache that is read.
        stages = Stages(
            rows=slowest,
            drain=iterations + candidates + 2 * kept + _LATENCY - slowest,
            sort=None if heads.generation else elements * levels / MULTIPLIERS,
        )
        cached = (elements + heads.dim) * (self.bits + levels) / 8 if heads.generation else None
        work = spent(heads, stages, keep, self.bits, sorted_bytes=cached)
        self._count(work, heads.dim, int(found.candidates.sum()))
        work.search_steps = int(found.steps.sum())
        # A popped product is replaced by its column's next one, and the largest of all columns found in a tree.
        work.comparisons += work.search_steps * bits_of(heads.dim)
        loads = heads.query.shape[0] * heads.query.shape[1]
        merged = heads.dim * levels if heads.generation else elements * levels
        work.comparisons += loads * int(merged.sum())
        return work

    def _count(self, work: Work, dim: int, scored: int) -> None:
        work.scored, work.products, work.exponentials = scored, dim * (scored + work.kept), work.kept
        work.comparisons = 2 * scored if self.share is not None else scored
