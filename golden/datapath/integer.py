"""Bit-exact integer model of the datapath, stage by stage, vectorized over rows (and any leading dimensions).

Every function takes and returns ``torch.int64`` tensors; formats are those of docs/numerics.md. Rows of unequal
length are given with a boolean ``mask`` of the valid keys. The RTL equals these functions exactly.
"""

from __future__ import annotations

import torch
from torch import Tensor

from hdl.spec import numerics as N

_RECIP_BASE = torch.tensor(N.RECIP_BASE, dtype=torch.int64)
_RECIP_SLOPE = torch.tensor(N.RECIP_SLOPE, dtype=torch.int64)


def round_shift(value: Tensor, shift: int | Tensor) -> Tensor:
    """``floor(value / 2**shift + 1/2)``: arithmetic right shift, rounding half up. ``shift`` may be 0."""
    shift = torch.as_tensor(shift, dtype=torch.int64)
    half = torch.where(shift > 0, torch.ones_like(shift) << (shift - 1).clamp(min=0), torch.zeros_like(shift))
    return (value + half) >> shift


def matmul(a: Tensor, b: Tensor) -> Tensor:
    """Exact integer matrix product (float64 holds every partial sum: they stay below 2**53)."""
    return (a.to(torch.float64) @ b.to(torch.float64)).to(torch.int64)


def merge_key(msb: Tensor, lsb: Tensor | None, lsb_bits: int) -> Tensor:
    """K word on chip: the signed MSB plane shifted left, with the unsigned LSB plane below it (or zeros)."""
    word = msb << lsb_bits
    return word if lsb is None else word | lsb


def scores(query: Tensor, key: Tensor) -> Tensor:
    """Exact dot products. query (..., q, D), key (..., n, D) -> (..., q, n), signed ``score_width`` bits."""
    return matmul(query, key.transpose(-1, -2))


def row_max(score: Tensor, mask: Tensor) -> Tensor:
    """Largest valid score of each row, (..., 1)."""
    return torch.where(mask, score, torch.iinfo(torch.int64).min).amax(-1, keepdim=True)


def exponent(score: Tensor, maximum: Tensor, scale: int | Tensor, shift: int | Tensor) -> Tensor:
    """x = (max - score) * scale / 2**shift, UQ5.12, rounded half up, saturating at 2**17 - 1.

    scale and shift broadcast against (..., q, n).
    """
    return round_shift((maximum - score).clamp(min=0) * scale, shift).clamp(max=2**N.X_WIDTH - 1)


def exp2_neg(x: Tensor) -> Tensor:
    """2**-x as UQ1.16 by table and linear interpolation; x is UQ5.12."""
    return _EXP2_NEG[x]


def _exp2_neg_table() -> Tensor:
    """The result for every x: looking it up is several times faster than computing it anew."""
    x = torch.arange(2**N.X_WIDTH, dtype=torch.int64)
    base, slope = (torch.tensor(table, dtype=torch.int64) for table in (N.EXP_BASE, N.EXP_SLOPE))
    low_bits = N.X_FRAC - N.EXP_INDEX
    index = (x >> low_bits) & (2**N.EXP_INDEX - 1)
    mantissa = base[index] - round_shift(slope[index] * (x & (2**low_bits - 1)), low_bits)
    return round_shift(mantissa, x >> N.X_FRAC)


_EXP2_NEG = _exp2_neg_table()


def exps(score: Tensor, mask: Tensor, scale: int | Tensor, shift: int | Tensor) -> Tensor:
    """Exponentials of a row relative to its maximum, UQ1.16; 0 where masked."""
    value = exp2_neg(exponent(score, row_max(score, mask), scale, shift))
    return torch.where(mask, value, 0)


def is_flat(exp_sum: Tensor, flat_limit: int) -> Tensor:
    """Largest probability (exactly 1/sum) below the threshold: ``sum > flat_limit``, both UQ.16."""
    return exp_sum > flat_limit


def reciprocal(exp_sum: Tensor, *, frac: int = N.EXP_FRAC) -> tuple[Tensor, Tensor]:
    """(R, pe) with 1/sum = R * 2**-16 * 2**-pe; sum has ``frac`` fraction bits and is at least 1.0; R is UQ1.16."""
    # frexp gives floor(log2) exactly: sums are far below 2**53.
    pe = torch.frexp(exp_sum.double()).exponent.long() - 1 - frac
    bits = N.RECIP_INDEX + N.RECIP_LOW
    # Fraction of the sum normalized to [1, 2), cut to RECIP_INDEX + RECIP_LOW = 18 bits.
    fraction = ((exp_sum << bits) >> (frac + pe)) & (2**bits - 1)
    index = fraction >> N.RECIP_LOW
    low = fraction & (2**N.RECIP_LOW - 1)
    return _RECIP_BASE[index] - round_shift(_RECIP_SLOPE[index] * low, N.RECIP_LOW), pe


def probs(exp: Tensor, recip: Tensor, pe: Tensor) -> Tensor:
    """e / sum as UQ1.16, rounded half up."""
    return round_shift(exp * recip, N.RECIP_FRAC + pe)


def kth_largest(score: Tensor, mask: Tensor, k: int | Tensor) -> tuple[Tensor, Tensor]:
    """Per row, the k-th largest valid score (with multiplicity) and how many equal to it are in the top k.

    score, mask (..., n); k broadcastable to (...,), 1 <= k <= valid count. Returns (threshold, ties), each (...,).
    """
    k = torch.as_tensor(k, dtype=torch.int64).expand(score.shape[:-1])
    low = torch.iinfo(torch.int64).min
    ordered = torch.where(mask, score, low).sort(-1, descending=True).values
    threshold = ordered.gather(-1, (k - 1).unsqueeze(-1)).squeeze(-1)
    above = ((score > threshold.unsqueeze(-1)) & mask).sum(-1)
    return threshold, k - above


def keep_mask(score: Tensor, mask: Tensor, k: int | Tensor) -> Tensor:
    """Exactly min(k, valid) survivors per row: the largest scores, among equal ones the earliest."""
    k = torch.minimum(torch.as_tensor(k, dtype=torch.int64).expand(score.shape[:-1]), mask.sum(-1))
    threshold, ties = kth_largest(score, mask, k)
    equal = (score == threshold.unsqueeze(-1)) & mask
    above = (score > threshold.unsqueeze(-1)) & mask
    return above | (equal & (equal.cumsum(-1) <= ties.unsqueeze(-1)))


def justify_value(value: Tensor, value_bits: int, operand_width: int) -> Tensor:
    """V word on chip: left-justified, so that outputs have one format for every plane width."""
    return value << (operand_width - value_bits)


def accumulate(exp: Tensor, keep: Tensor, value: Tensor) -> Tensor:
    """Σ e·V over the survivors. exp, keep (..., q, n), value (..., n, D) left-justified -> (..., q, D)."""
    return matmul(torch.where(keep, exp, 0), value)


def normalize(acc: Tensor, recip: Tensor, pe: Tensor, operand_width: int) -> Tensor:
    """acc / sum as Q(operand_width).8: floor shift by pe, times R, rounded half up, saturated."""
    out = round_shift((acc >> pe.unsqueeze(-1)) * recip.unsqueeze(-1), 2 * N.EXP_FRAC - N.OUT_FRAC)
    limit = 2 ** (operand_width + N.OUT_FRAC - 1)
    return out.clamp(min=-limit, max=limit - 1)


def abs_sum(out: Tensor) -> Tensor:
    """Σ|out| of each row, for head importance (section III-B)."""
    return out.abs().sum(-1)
