"""Cumulative importance of tokens and heads, and the cascade selection (paper sections III-A and III-B), bit-exact.

Importances are int64 tensors holding unsigned 32-bit values that saturate; formats in docs/numerics.md. All functions
take any leading dimensions.
"""

from __future__ import annotations

import torch
from torch import Tensor

from golden.datapath import integer
from hdl.spec import numerics as N

__all__ = ["LIMIT", "PINNED", "accumulate", "decayed", "head_update", "select", "select_tokens"]

LIMIT = 2**N.IMPORTANCE_WIDTH - 1
"""Where an importance saturates."""
PINNED = 2**N.IMPORTANCE_WIDTH
"""Value of a pinned token in the selection: above every importance."""


def accumulate(importance: Tensor, probs: Tensor) -> Tensor:
    """Add probabilities (..., rows, n), UQ1.16, to the importance (..., n) of their tokens, UQ16.16."""
    return (importance + probs.sum(-2)).clamp(max=LIMIT)


def decayed(importance: Tensor, decay: int) -> Tensor:
    """``importance - importance // 2**decay``; 0: unchanged."""
    return importance - (importance >> decay) if decay else importance


def head_update(importance: Tensor, total: Tensor, weight: Tensor) -> Tensor:
    """Add Σ abs(out) of the layer's rows, UQ.8 saturating at 48 bits, times the unit of the head's V."""
    total = total.clamp(max=2**N.HEAD_SUM_WIDTH - 1)
    # The product has up to 64 bits: the low 24 bits of the sum cannot be dropped before it, so it is made of two parts.
    high, low = total >> N.HEAD_SHIFT, total & (2**N.HEAD_SHIFT - 1)
    return (importance + high * weight + (low * weight >> N.HEAD_SHIFT)).clamp(max=LIMIT)


def select(importance: Tensor, keep: int) -> Tensor:
    """Mask (..., n) of the min(keep, n) most important; of equal ones the earliest."""
    return integer.keep_mask(importance, torch.ones_like(importance, dtype=torch.bool), keep)


def select_tokens(importance: Tensor, keep: int, *, pin_first: int = 0, pin_last: int = 0) -> Tensor:
    """The same with the first and the last tokens above all others (they count among the ``keep``)."""
    number = importance.shape[-1]
    position = torch.arange(number)
    pinned = (position < pin_first) | (position >= number - pin_last)
    return select(torch.where(pinned, PINNED, importance), keep)
