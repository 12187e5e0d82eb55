"""A context longer than a job: rows go on from job to job, and their sums are folded (docs/chains.md).

Each job of a chain has exponentials relative to a whole octave, counted from the maximum of the row's first job. Two
sums are brought to the higher octave by a shift and added; those of V are rounded down, exp sums up, so that
``|Σ e·V| <= 2**(operand_width-1) * Σ e`` holds. Bit-exact with ``PartOrigin``, ``SumFold`` and ``PartFold``.
"""

from __future__ import annotations

import dataclasses

import torch
from torch import Tensor

from golden.datapath import integer
from hdl.spec import numerics as N

__all__ = ["ChainSums", "finish", "fold", "octave_of"]

_LAST_SHIFT = 2**N.SHIFT_WIDTH - 1


@dataclasses.dataclass(kw_only=True)
class ChainSums:
    """What rows (…, q) of a chain leave to its next job. All int64."""

    origin: Tensor
    """(…, q) maximum of the first job in steps of 2**-12 octaves"""
    below: Tensor
    """(…, q) octaves from that of the sums up to the origin; negative if they are above it"""
    exp_sum: Tensor
    """(…, q) UQ.24"""
    acc: Tensor
    """(…, q, D) Σ e·V, Q.24"""


def octave_of(maximum: Tensor, scale: Tensor, shift: Tensor, before: ChainSums | None) -> tuple[Tensor, ...]:
    """(origin, below, offset) of rows with these maxima (…, q); offset: steps from the maximum up to the octave.

    scale and shift broadcast against (…, q). before: None in the first job of a chain.
    """
    y = integer.round_shift(maximum * scale, shift)
    origin = y if before is None else before.origin
    under = origin - y
    return origin, under >> N.X_FRAC, under & (2**N.X_FRAC - 1)


def fold(origin: Tensor, below: Tensor, exp_sum: Tensor, acc: Tensor, before: ChainSums | None) -> ChainSums:
    """Sums of a job, exp_sum (…, q) UQ.16 and acc (…, q, D) Q.16, joined with those of the jobs before it."""
    negative, acc = -(exp_sum << N.FOLD_GUARD), acc << N.FOLD_GUARD
    if before is None:
        return ChainSums(origin=origin, below=below, exp_sum=-negative, acc=acc)
    highest = torch.minimum(below, before.below)
    old, new = ((each - highest).clamp(max=_LAST_SHIFT) for each in (before.below, below))
    return ChainSums(
        origin=origin,
        below=highest,
        exp_sum=-((-before.exp_sum >> old) + (negative >> new)),
        acc=(before.acc >> old.unsqueeze(-1)) + (acc >> new.unsqueeze(-1)),
    )


def finish(sums: ChainSums, operand_width: int) -> Tensor:
    """(…, q, D) outputs of a chain, Q(operand_width).8.

    The exp sum is at least a half, so it is taken as UQ.23, twice as large; seven bits of the V sums are dropped.
    """
    recip, pe = integer.reciprocal(sums.exp_sum, frac=N.EXP_FRAC + N.FOLD_GUARD - 1)
    return integer.normalize(sums.acc >> N.FOLD_GUARD - 1, recip, pe, operand_width)
