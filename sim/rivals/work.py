"""What attention costs a system: operations, bytes and cycles, which add up over layers."""

from __future__ import annotations

import dataclasses
import math

import torch
from torch import Tensor

from sim.rivals.heads import Heads

__all__ = ["BYTES_A_CYCLE", "MULTIPLIERS", "Stages", "Work", "bits_of", "keys_a_cycle", "spent"]

MULTIPLIERS = 64
"""Of Q×K, and as many of prob×V: 128 in all, as in the paper's Table III."""
BYTES_A_CYCLE = 64
"""64 GB/s at 1 GHz."""


def keys_a_cycle(dim: int) -> float:
    """Rows of K (or V) of D elements that 64 multipliers take in a cycle."""
    return MULTIPLIERS / dim


@dataclasses.dataclass(kw_only=True)
class Work:
    """Sums over rows, heads, steps and sequences. A kept key is a V row that an output uses."""

    rows: int = 0
    attended: int = 0
    """keys that dense attention would score"""
    scored: int = 0
    """keys with an exact score"""
    kept: int = 0
    products: int = 0
    """of Q·K and prob·V that were made"""
    dense_products: int = 0
    exponentials: int = 0
    search_steps: int = 0
    """products popped by a greedy search"""
    comparisons: int = 0
    """of scores, products and sorted elements"""
    query_bytes: float = 0.0
    key_bytes: float = 0.0
    value_bytes: float = 0.0
    sorted_bytes: float = 0.0
    """sorted columns of K with their row ids, read and written"""
    compute_cycles: float = 0.0
    """of the rows in their pipelines, filling and draining once a layer and step"""
    memory_cycles: float = 0.0
    sort_cycles: float = 0.0
    cycles: float = 0.0
    """of each layer and step the largest of these three"""
    cycles_unsorted: float = 0.0
    """the same if sorting cost neither cycles nor bytes"""

    @property
    def bytes(self) -> float:
        """All that is moved."""
        return self.query_bytes + self.key_bytes + self.value_bytes + self.sorted_bytes

    @property
    def gops(self) -> float:
        """Effective GOP/s at 1 GHz: two operations for each product of dense attention, over the time."""
        return 2 * self.dense_products / self.cycles

    def add(self, other: Work) -> None:
        """Take up what ``other`` has counted."""
        for field in dataclasses.fields(self):
            setattr(self, field.name, getattr(self, field.name) + getattr(other, field.name))


@dataclasses.dataclass(frozen=True, kw_only=True)
class Stages:
    """Cycles of a system's pipeline."""

    rows: Tensor
    """(B, K, S, r) cycles for which a row holds up the next one: those of its slowest stage"""
    drain: Tensor
    """(B, K, S, r) cycles after that until the row's output is there"""
    sort: Tensor | None = None
    """(S,) cycles in which a head's K is sorted; None: not at all"""


def spent(heads: Heads, stages: Stages, keep: Tensor, bits: int, *, sorted_bytes: Tensor | None = None) -> Work:
    """The work of heads as far as it is the same for all systems; counts of scores and operations are the caller's.

    Memory, sorting and computing of a layer's heads overlap completely; a layer of a step waits for the one before.
    sorted_bytes: (S,) of each head's sorted columns.
    """
    batch, kv_heads, _, rows, dim = heads.query.shape
    row = dim * bits / 8
    extra = torch.zeros(len(heads.lengths)) if sorted_bytes is None else sorted_bytes
    plain = kv_heads * row * (rows + 2 * heads.lengths.double())
    sort = torch.zeros(len(heads.lengths)) if stages.sort is None else kv_heads * stages.sort
    compute = stages.rows.double().sum((1, 3)) + stages.drain[:, -1, :, -1]
    memory = (plain + kv_heads * extra.double()).expand(batch, -1) / BYTES_A_CYCLE
    longest = torch.maximum(compute, memory)
    loads = batch * kv_heads * float(heads.lengths.sum())
    return Work(
        rows=heads.rows,
        attended=batch * kv_heads * rows * int(heads.lengths.sum()),
        kept=int(keep.sum()),
        dense_products=heads.dense_products,
        query_bytes=heads.rows * row,
        key_bytes=loads * row,
        value_bytes=loads * row,
        sorted_bytes=batch * kv_heads * float(extra.sum()),
        compute_cycles=float(compute.sum()),
        memory_cycles=float(memory.sum()),
        sort_cycles=batch * float(sort.sum()),
        cycles=float(torch.maximum(longest, sort.double().expand(batch, -1)).sum()),
        cycles_unsorted=float(torch.maximum(compute, plain.expand(batch, -1) / BYTES_A_CYCLE).sum()),
    )


def bits_of(number: int) -> int:
    """Bits of a number below ``number``."""
    return max(1, math.ceil(math.log2(number)))
