"""Attention masks as the accelerator can serve them: an id list for all queries, or a causal triangle of one."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

__all__ = ["MaskPart", "mask_parts", "shown_by"]


def shown_by(mask: Tensor) -> Tensor:
    """Bool tensor of a mask that is boolean, or 0 where a key is seen and -inf, or the least number, where it is not.

    ValueError for any other number, which would be a bias, and where a row has nothing but least numbers: what such a
    row sees depends on how its scores are rounded.
    """
    if mask.dtype == torch.bool:
        return mask
    shown, least = mask == 0, mask == torch.finfo(mask.dtype).min
    other = mask[~(shown | least | (mask == -torch.inf))]
    if other.numel():
        raise ValueError(
            f"attn_mask must be boolean, or 0 (seen) and -inf (hidden), not {float(other[0])}: scores get no bias"
        )
    if bool((least.any(-1) & ~shown.any(-1)).any()):
        raise ValueError(
            f"attn_mask must be boolean or -inf where a query sees no key, not {torch.finfo(mask.dtype).min}"
        )
    return shown


class MaskPart(NamedTuple):
    """Queries that attend the same keys, or the first keys and, from query to query, one more."""

    queries: Tensor
    """ascending"""
    keys: Tensor
    """ascending: those that any of the queries sees"""
    causal: bool
    """the last query sees all keys, and each one before it one key less; False: each sees all"""


def mask_parts(shown: Tensor) -> list[MaskPart]:
    """At most two parts of a mask (L, S) bool; queries that see no key are in none. ValueError for any other mask."""
    queries, keys = shown.any(1).nonzero()[:, 0], shown.any(0).nonzero()[:, 0]
    seen = shown[queries][:, keys]
    counts, number = seen.sum(1), len(keys)
    first = int(counts[0]) if len(counts) else number
    stairs = (first + torch.arange(len(queries))).clamp(max=number)
    if not torch.equal(seen, torch.arange(number) < stairs[:, None]):
        raise ValueError(
            "attn_mask must hide the same keys from all queries of a sequence or head, or later keys as is_causal does"
        )
    steps = number - first + 1 if first < number else 0
    parts = [MaskPart(queries[:steps], keys, True), MaskPart(queries[steps:], keys, False)]
    return [part for part in parts if len(part.queries)]
