"""The integer model of attention, row by row of any number of heads and sequences at once (paper Figure 8).

It computes the stages of :mod:`golden.datapath.integer` in float64 tensors, which hold all their integers exactly and
are several times faster.
"""

from __future__ import annotations

import dataclasses
import math

import torch
from torch import Tensor

from golden.datapath import chain, integer
from golden.datapath.chain import ChainSums
from hdl.spec import numerics as N

__all__ = ["PartRows", "Rows", "attend", "attend_part"]

_EXP2_NEG = integer.exp2_neg(torch.arange(2**N.X_WIDTH)).double()


@dataclasses.dataclass(kw_only=True)
class Rows:
    """What the datapath makes of the query rows of heads (h, q) with keys n. Integers, in float64 where it says so."""

    out: Tensor
    """(h, q, D) Q(operand_width).8"""
    flat: Tensor
    """(h, q) bool: recomputed with LSBs"""
    score: Tensor
    """(h, q, n) float64, of the final pass, signed integers"""
    exp: Tensor
    """(h, q, n) float64, UQ1.16, 0 where masked"""
    exp_sum: Tensor
    """(h, q) UQ.16"""
    recip: Tensor
    """(h, q) mantissa of the reciprocal of the exp sum, UQ1.16"""
    pe: Tensor
    """(h, q) its exponent: the reciprocal is recip · 2**-16 · 2**-pe"""
    keep: Tensor | None
    """(h, q, n) bool: V rows used; None: all that are attended"""

    @property
    def abs_sum(self) -> Tensor:
        """(h, q) Σ|out| in UQ.8, for the importance of heads (paper section III-B)."""
        return integer.abs_sum(self.out)

    @property
    def probs(self) -> Tensor:
        """(h, q, n) float64, UQ1.16, 0 where masked"""
        factor = torch.ldexp(self.recip.double(), -(N.RECIP_FRAC + self.pe))
        return (self.exp * factor[..., None]).add_(0.5).floor_()


@dataclasses.dataclass(kw_only=True)
class PartRows:
    """What the datapath makes of the query rows of a job of a chain (h, q) with its keys n (docs/chains.md)."""

    sums: ChainSums
    """of the chain with this job; :func:`golden.datapath.chain.finish` makes outputs of them"""
    score: Tensor
    """(h, q, n) float64, signed integers"""
    exp: Tensor
    """(h, q, n) float64, UQ1.16 relative to the row's octave, 0 where masked"""
    exp_sum: Tensor
    """(h, q) UQ.16, of this job's exps"""
    keep: Tensor | None
    """(h, q, n) bool: V rows used; None: all that are attended"""


def attend(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    hidden: Tensor | None,
    *,
    key_lsb_bits: int,
    value_bits: int,
    scale: Tensor,
    shift: Tensor,
    flat_limit: int,
    value_keep: int,
    operand_width: int,
) -> Rows:
    """Rows of integer operands query (h, q, D), key and value (h, n, D) of any type (paper sections III-C and III-D).

    hidden (q, n): float64, -inf where a row does not attend a key, else 0; None: rows attend all. scale, shift (h,).
    key has ``key_lsb_bits`` (0 or 4) bits that only rows with an exp sum above ``flat_limit`` (UQ.16) use. Each row
    uses the V rows of its ``value_keep`` largest scores.
    """
    exps = _Exponentials(scale, shift, query.shape[-1], operand_width)
    score, exp, flat = _scores(query.double(), key, hidden, exps, key_lsb_bits, flat_limit)
    exp_sum = exp.sum(-1).long()
    recip, pe = integer.reciprocal(exp_sum)
    keep, acc = _weighted(exp, score, hidden, value, value_keep, operand_width - value_bits)
    return Rows(
        out=integer.normalize(acc, recip, pe, operand_width),
        flat=flat,
        score=score,
        exp=exp,
        exp_sum=exp_sum,
        recip=recip,
        pe=pe,
        keep=keep,
    )


def attend_part(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    hidden: Tensor | None,
    before: ChainSums | None,
    *,
    value_bits: int,
    scale: Tensor,
    shift: Tensor,
    value_keep: int,
    operand_width: int,
) -> PartRows:
    """Rows of a job of a chain, as :func:`attend` of a static K."""
    exps = _Exponentials(scale, shift, query.shape[-1], operand_width)
    score = query.double() @ key.double().transpose(-1, -2)
    maximum = (score if hidden is None else score + hidden).amax(-1).long()
    origin, below, offset = chain.octave_of(maximum, scale[:, None], shift[:, None], before)
    exp = exps(score, hidden, slice(None), offset)
    exp_sum = exp.sum(-1).long()
    keep, acc = _weighted(exp, score, hidden, value, value_keep, operand_width - value_bits)
    sums = chain.fold(origin, below, exp_sum, acc, before)
    return PartRows(sums=sums, score=score, exp=exp, exp_sum=exp_sum, keep=keep)


def _weighted(
    exp: Tensor, score: Tensor, hidden: Tensor | None, value: Tensor, value_keep: int, raised: int
) -> tuple[Tensor | None, Tensor]:
    """(keep, Σ e·V): the keys of the ``value_keep`` largest scores, None if all are, and their V times 2**raised."""
    keep = _largest(score, hidden, value_keep) if value_keep < value.shape[-2] else None
    used = exp if keep is None else exp * keep
    return keep, (used @ value.double()).mul_(2.0**raised).long()


def _scores(
    query: Tensor, key: Tensor, hidden: Tensor | None, exps: _Exponentials, key_lsb_bits: int, flat_limit: int
) -> tuple[Tensor, Tensor, Tensor]:
    """(score, exp, flat) of the final pass: first with K's MSBs only, and of flat rows again with all bits."""
    score = (query * 2**key_lsb_bits) @ (key >> key_lsb_bits).double().transpose(-1, -2)
    exp = exps(score, hidden, slice(None))
    flat = torch.zeros(score.shape[:-1], dtype=torch.bool)
    if key_lsb_bits:
        flat = exp.sum(-1) > flat_limit
        for head in flat.any(-1).nonzero().flatten().tolist():
            rows = flat[head]
            full = query[head, rows] @ key[head].double().transpose(-1, -2)
            score[head, rows] = full
            exp[head, rows] = exps(full, None if hidden is None else hidden[rows], head)
    return score, exp, flat


class _Exponentials:
    """:func:`golden.datapath.integer.exps` of float64 scores."""

    def __init__(self, scale: Tensor, shift: Tensor, dim: int, operand_width: int):
        self.scale, self.shift = scale[:, None, None], shift[:, None, None]
        self.factor = torch.ldexp(self.scale.double(), -self.shift)
        # Half an octave step added to the product must not be rounded: its bits, and two more, have to fit float64.
        self.exact = 2 * operand_width - 1 + math.log2(dim) + N.SCALE_WIDTH <= 51

    def __call__(self, score: Tensor, hidden: Tensor | None, head: int | slice, offset: Tensor | None = None) -> Tensor:
        """Of all heads' scores (h, q, n), or of one head's (q, n). Hidden keys are infinitely far below the maximum.

        offset (h, q): added to all exponents of a row, in steps of 2**-12.
        """
        shown = score if hidden is None else score + hidden
        below = shown.amax(-1, keepdim=True) - shown
        if self.exact:
            x = below.mul_(self.factor[head]).add_(0.5).clamp_(max=2**N.X_WIDTH - 1).int()
        else:
            below = below.clamp_(max=2.0**40).long()  # only hidden keys are so far
            x = integer.round_shift(below * self.scale[head], self.shift[head]).clamp(max=2**N.X_WIDTH - 1)
            x = x if hidden is None else torch.where(hidden == 0, x, 2**N.X_WIDTH - 1)
        if offset is not None:
            x = (x + offset[..., None]).clamp_(max=2**N.X_WIDTH - 1)
        return _EXP2_NEG.index_select(0, x.flatten()).view_as(score)


def _largest(score: Tensor, hidden: Tensor | None, k: int) -> Tensor:
    """:func:`golden.datapath.integer.keep_mask` of rows of n > k keys, some of them hidden."""
    shown = score if hidden is None else score + hidden
    threshold = shown.kthvalue(score.shape[-1] - k + 1, -1, keepdim=True).values
    above, equal = shown > threshold, (shown == threshold) & (shown > -math.inf)
    ties = k - above.sum(-1, keepdim=True)
    if bool((equal.sum(-1, keepdim=True) > ties).any()):
        equal &= equal.cumsum(-1) <= ties
    return above | equal
