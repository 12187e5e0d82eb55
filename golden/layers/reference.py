"""Float64 definition of a job, and the error budget of the integer model against it.

The reference starts from the same quantized operands as :func:`golden.layers.job.run_job` and has no further rounding:
what differs is the error of the exponential, the reciprocal and the output format.
"""

from __future__ import annotations

import dataclasses
import math

import torch
from torch import Tensor

from golden.layers.job import Job, JobResult, run_job
from hdl.spec import numerics as N
from hdl.spec.config import Config

__all__ = ["OUT_GOAL", "PROB_GOAL", "ErrorBudget", "Reference", "error_budget", "reference", "top_k_mask"]

PROB_GOAL = 2.0**-11
"""Largest absolute error of a probability."""
OUT_GOAL = 2.0**-9
"""Largest relative L2 error of an output row (see :class:`ErrorBudget`)."""

_FLOOR = 4.0
"""Root mean square of an output row, in LSBs of a V word on chip, below which its own rounding dominates."""


@dataclasses.dataclass(kw_only=True)
class Reference:
    """Float64 results of a job with q queries of n keys; every tensor as the field of JobResult, but not rounded."""

    score: Tensor
    """(q, n) scores of the final pass in log2 units"""
    flat: Tensor
    """(q,) bool: largest probability of the first pass below the threshold"""
    flat_ratio: Tensor
    """(q,) exp sum of the first pass over its limit: flat above 1 (0 in static jobs)"""
    probs: Tensor
    """(q, n), 0 where masked"""
    keep: Tensor
    """(q, n) bool: V rows that take part"""
    out: Tensor
    """(q, D) in LSBs of a V word on chip"""
    longest: float
    """largest L2 norm of a V row, in the same unit"""


def top_k_mask(score: Tensor, mask: Tensor, k: int) -> Tensor:
    """The k largest valid scores of each row by rank, among equal ones the earliest; k beyond them keeps all."""
    order = torch.where(mask, score, -math.inf).sort(dim=-1, descending=True, stable=True).indices
    rank = order.argsort(-1)
    return mask & (rank < k)


def reference(job: Job, config: Config, *, flat: Tensor | None = None) -> Reference:
    """Attention of one head as the paper defines it. ``flat`` (q,) overrides the decision to use the LSB plane."""
    rows = slice(job.num_keys) if job.ids is None else job.ids
    query, key, value = job.query.double(), job.key[rows].double(), job.value[rows].double()
    mask = job.mask()
    scale = math.ldexp(job.scale, -job.shift - N.X_FRAC)
    score = query @ key.T * scale
    flat_ratio = torch.zeros(job.rows, dtype=torch.float64)
    if job.key_lsb_bits:
        step = 2**job.key_lsb_bits
        first = query @ ((key / step).floor() * step).T * scale
        probs = _softmax2(first, mask)
        flat_ratio = 2**N.EXP_FRAC / (probs.amax(-1) * job.flat_limit)
        flat = flat_ratio > 1 if flat is None else flat
        score = torch.where(flat[:, None], score, first)
    elif flat is None:
        flat = torch.zeros(job.rows, dtype=torch.bool)
    probs = _softmax2(score, mask)
    keep = top_k_mask(score, mask, job.value_keep)
    word = value * 2 ** (config.operand_width - job.value_bits)
    return Reference(
        score=score,
        flat=flat,
        flat_ratio=flat_ratio,
        probs=probs,
        keep=keep,
        out=(probs * keep) @ word,
        longest=_largest(word.norm(dim=-1)),
    )


def _softmax2(score: Tensor, mask: Tensor) -> Tensor:
    """Softmax to base 2 over the valid keys."""
    return torch.where(mask, score * math.log(2), -math.inf).softmax(-1)


@dataclasses.dataclass(frozen=True, kw_only=True)
class ErrorBudget:
    """Largest errors of the integer model of a job against the float reference."""

    prob: float
    """largest absolute error of a probability; goal :data:`PROB_GOAL`"""
    out: float
    """largest L2 error of an output row, relative to that row; goal :data:`OUT_GOAL` on ordinary data"""
    out_scaled: float
    """the same relative to the longest V row of the job; goal :data:`OUT_GOAL` on any data. An output row is a weighted
    mean of V rows: it is much shorter than they are where terms cancel or where the heaviest V rows are zero."""
    flat_near: int
    """rows so near to the flatness limit that the reference follows the integer model's decision"""
    flat_wrong: int
    """rows that the two decide differently without being near it; always 0"""

    @property
    def met(self) -> bool:
        """Whether errors of any data are within their goals."""
        return self.prob <= PROB_GOAL and self.out_scaled <= OUT_GOAL and self.flat_wrong == 0


def error_budget(job: Job, config: Config, result: JobResult | None = None) -> ErrorBudget:
    """Compare :func:`golden.layers.job.run_job` (or its ``result``, if at hand) with :func:`reference`."""
    result = run_job(job, config) if result is None else result
    free = reference(job, config)
    near = (free.flat_ratio - 1).abs() < _near(job)
    flat = torch.where(near, result.flat, free.flat)
    want = reference(job, config, flat=flat)
    # Rows that the two models decide differently were computed with other K words: flat_wrong tells, errors skip them.
    same = flat == result.flat
    error = (result.out.double() / 2**N.OUT_FRAC - want.out).norm(dim=-1)[same]
    floor = _FLOOR * math.sqrt(job.dim)
    prob = (result.probs.double() / 2**N.EXP_FRAC - want.probs).abs().amax(-1)[same]
    return ErrorBudget(
        prob=_largest(prob),
        out=_largest(error / want.out.norm(dim=-1)[same].clamp(min=floor)),
        out_scaled=_largest(error) / max(floor, want.longest),
        flat_near=int(near.sum()),
        flat_wrong=int((~same).sum()),
    )


def _near(job: Job) -> float:
    """Relative distance to the flatness limit below which the rounded exponentials may decide either way.

    An exponential errs by at most 2**-12 of itself (rounded exponent, interpolation) and 2 units of UQ1.16 (roundings).
    """
    return 2.0**-12 + 2 * job.num_keys / job.flat_limit if job.key_lsb_bits else 0.0


def _largest(value: Tensor) -> float:
    return float(value.max()) if value.numel() else 0.0
