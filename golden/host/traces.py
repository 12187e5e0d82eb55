"""What a session reports of each layer: tables, heads, costs, and errors against float attention."""

from __future__ import annotations

import dataclasses

from torch import Tensor
from torch.nn import functional

from golden.layers.traffic import Traffic

__all__ = ["LayerTrace", "TableTrace", "Totals", "dense_attention"]


@dataclasses.dataclass(kw_only=True)
class TableTrace:
    """A table of tokens in a layer: the whole layer's, or that of one K/V head. Integers are int64."""

    ids: Tensor
    """(B, n) tokens attended, ascending"""
    importance: Tensor
    """(B, n) UQ16.16 after the layer"""
    keep: Tensor
    """(B, n) bool: tokens that survive the layer's selection"""


@dataclasses.dataclass(kw_only=True)
class Totals:
    """Sums over rows, heads and sequences."""

    traffic: Traffic = dataclasses.field(default_factory=Traffic)
    """bytes"""
    macs: int = 0
    """multiply-accumulates of Q·K and prob·V"""
    dense_macs: int = 0
    """the same of dense attention with every token and head"""
    rows: int = 0
    """query rows of surviving heads"""
    flat_rows: int = 0
    """rows recomputed with the LSB plane"""

    def add(self, other: Totals) -> None:
        """Take up what ``other`` has counted."""
        self.traffic.add(other.traffic)
        for name in ("macs", "dense_macs", "rows", "flat_rows"):
            setattr(self, name, getattr(self, name) + getattr(other, name))


@dataclasses.dataclass(kw_only=True)
class LayerTrace(Totals):
    """One layer's attention as it ran, for B sequences of H query heads."""

    layer: int
    """number of the layer, from 0"""
    step: int
    """0: the prompt (an encoder's only step)"""
    tables: list[TableTrace] = dataclasses.field(default_factory=list)
    """one; in the scope "head" one of each K/V head"""
    heads: Tensor
    """(B, H) bool: query heads computed"""
    head_importance: Tensor
    """(B, H) int64 after the layer, in units that all heads of a sequence share"""
    head_keep: Tensor
    """(B, H) bool"""
    max_error: float | None = None
    """largest absolute error of the output against dense float attention of the same inputs, if asked for"""
    relative_error: float | None = None
    """L2 norm of the error over that of the float output"""

    def measure(self, out: Tensor, want: Tensor) -> None:
        """Errors of an output against that of float attention, float64 of equal shape."""
        error = out - want
        self.max_error = float(error.abs().max())
        self.relative_error = float(error.norm() / want.norm().clamp(min=1e-300))


def dense_attention(
    query: Tensor, key: Tensor, value: Tensor, *, scaling: float, causal: bool, mask: Tensor | None = None
) -> Tensor:
    """Float attention (B, H, q, D) of query (B, H, q, D) with key and value (B, K, n, D); H is a multiple of K.

    causal: a prompt of q = n tokens; a single query attends all n keys in any case. mask: (q, n) bool in its place.
    """
    whole = causal and query.shape[2] > 1 and mask is None
    return functional.scaled_dot_product_attention(
        query, key, value, attn_mask=mask, is_causal=whole, scale=scaling, enable_gqa=True
    )
