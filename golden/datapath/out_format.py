"""Outputs as they are written to memory: integers, fp32 or bf16; and probabilities."""

from __future__ import annotations

import torch
from torch import Tensor

from hdl.spec.formats import PROBABILITY_BYTES, OutFormat

__all__ = ["formatted", "stored_probabilities"]

_LEAST = 2.0**-126
"""The smallest normal number of fp32 and bf16."""


def formatted(out: Tensor, exponent: Tensor, out_format: OutFormat) -> Tensor:
    """Bits (int64, unsigned: 32 of an element, of bf16 16) of integer outputs times 2**exponent.

    out, exponent: int64 of shapes that broadcast; exponent -128…127; Q(operand_width).8 outputs of at most 24 bits.
    fp32 is exact, bf16 rounds to nearest, of two to the even one. What is smaller than the smallest normal number is 0
    with its sign, what is too large is infinity. INT32 does not look at the exponent.
    """
    if out_format == OutFormat.INT32:
        return out & 0xFFFFFFFF
    value = out.double() * torch.exp2(exponent.double())
    value = torch.where(value.abs() < _LEAST, torch.copysign(torch.zeros_like(value), value), value)
    single = value.float()
    if out_format == OutFormat.FP32:
        return single.view(torch.int32).long() & 0xFFFFFFFF
    return single.bfloat16().view(torch.int16).long() & 0xFFFF


def stored_probabilities(probs: Tensor) -> Tensor:
    """Bits (int64, of 16) of probabilities UQ1.16; of 1, which has one bit more, the largest number instead."""
    return probs.clamp(max=(1 << 8 * PROBABILITY_BYTES) - 1)
