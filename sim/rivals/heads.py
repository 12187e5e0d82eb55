"""What a system of the comparison is given (docs/rivals.md)."""

from __future__ import annotations

import dataclasses

import torch
from torch import Tensor

from golden.layers.quantize import quantize, unit_of

__all__ = ["Heads", "Integers"]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Heads:
    """Attention of a layer: B sequences, K K/V heads, S steps that each load K and V anew, r query rows a step.

    A whole prompt or sentence is one step with all its rows; generation has a step a token, with the query heads that
    share the K/V head as its rows. Tensors are float64.
    """

    query: Tensor
    """(B, K, S, r, D)"""
    key: Tensor
    """(B, K, n, D)"""
    value: Tensor
    """(B, K, n, D)"""
    lengths: Tensor
    """(S,) int64: the rows of a step attend the first so many keys"""
    scaling: float
    """factor of the dot products"""
    generation: bool
    """K has grown by a key since the step before, so that nothing made of K beforehand is there"""

    @property
    def dim(self) -> int:
        """Elements of a row, D."""
        return self.query.shape[-1]

    @property
    def visible(self) -> Tensor:
        """(S, 1, n) bool: keys that a step attends."""
        return (torch.arange(self.key.shape[2]) < self.lengths[:, None])[:, None]

    @property
    def rows(self) -> int:
        """Query rows of all steps, heads and sequences."""
        return self.query[..., 0].numel()

    @property
    def dense_products(self) -> int:
        """Products of Q·K and prob·V of dense attention."""
        batch, heads, _, rows, dim = self.query.shape
        return 2 * dim * batch * heads * rows * int(self.lengths.sum())


@dataclasses.dataclass(frozen=True)
class Integers:
    """Operands as linear symmetric integers of ``bits`` bits, a unit for each K/V head: float64 integer tensors."""

    query: Tensor
    key: Tensor
    value: Tensor
    scale: Tensor
    """(B, K, 1, 1, 1) of an integer dot product, to scores"""
    value_unit: Tensor
    """(B, K, 1, 1, 1)"""

    @classmethod
    def of(cls, heads: Heads, bits: int) -> Integers:
        query_unit = unit_of(heads.query.flatten(2, 3), bits)
        key_unit, value_unit = unit_of(heads.key, bits), unit_of(heads.value, bits)
        return cls(
            query=quantize(heads.query, query_unit[:, :, None], bits).double(),
            key=quantize(heads.key, key_unit, bits).double(),
            value=quantize(heads.value, value_unit, bits).double(),
            scale=(query_unit * key_unit * heads.scaling)[..., None],
            value_unit=value_unit[..., None],
        )

    def scores(self) -> Tensor:
        """(B, K, S, r, n) of all keys, those that no row of the step attends as well."""
        return self.query @ self.key.transpose(-1, -2)[:, :, None] * self.scale

    def weighted(self, weights: Tensor) -> Tensor:
        """(B, K, S, r, D) sums of V rows by weights (B, K, S, r, n)."""
        return weights @ self.value[:, :, None] * self.value_unit
