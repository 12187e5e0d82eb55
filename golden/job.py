"""Jobs (one head of one layer) and their results: what the host gives to, and gets from, golden model and RTL alike."""

from __future__ import annotations

import dataclasses
import math

import torch
from torch import Tensor

from golden import integer
from hdl import numerics as N
from hdl.config import Config

__all__ = ["Job", "JobResult", "flat_limit_of", "run_job", "scale_of"]


def scale_of(scale: float) -> tuple[int, int]:
    """Mantissa and shift of a dequantization scale (integer score difference -> log2 units), docs/numerics.md."""
    if not math.isfinite(scale) or scale <= 0:
        raise ValueError(f"scale must be positive and finite, not {scale!r}")
    mantissa, exponent = math.frexp(scale)  # scale = mantissa * 2**exponent, mantissa in [0.5, 1)
    word = round(mantissa * 2**N.SCALE_WIDTH)
    if word == 2**N.SCALE_WIDTH:
        word, exponent = word // 2, exponent + 1
    shift = N.SCALE_WIDTH - exponent - N.X_FRAC
    if shift > 2**N.SHIFT_WIDTH - 1:  # so small that every score weighs the same
        word, shift = max(1, word >> min(40, shift - 63)), 63
    if shift < 1:
        raise ValueError(f"scale must be below {2.0 ** (N.SCALE_WIDTH - N.X_FRAC - 1)}, not {scale!r}")
    return word, shift


def flat_limit_of(threshold: float, config: Config) -> int:
    """Exp-sum limit of a flatness threshold: a row is flat if its largest probability is below ``threshold``."""
    if not 0 < threshold <= 1:
        raise ValueError(f"threshold must be in (0, 1], not {threshold!r}")
    return min(math.floor(2**N.EXP_FRAC / threshold), 2**config.sum_width - 1)


@dataclasses.dataclass(kw_only=True)
class Job:
    """One head. Integer tensors (int64), two's complement values of the given widths.

    query (q, D), ``query_bits`` wide; key (rows, D), ``key_bits + key_lsb_bits`` wide; value (rows, D),
    ``value_bits`` wide. ids: rows of key and value that the queries attend, strictly ascending; None: all.
    """

    query: Tensor
    key: Tensor
    value: Tensor
    ids: Tensor | None = None
    query_bits: int
    key_bits: int
    key_lsb_bits: int = 0
    value_bits: int
    scale: int
    shift: int
    flat_limit: int = 0
    value_keep: int
    causal: bool = False
    generation: bool = False
    name: str = ""
    """For reports, such as ``layer 3 head 7``."""

    @property
    def dim(self) -> int:
        return self.query.shape[-1]

    @property
    def num_queries(self) -> int:
        return self.query.shape[0]

    @property
    def num_rows(self) -> int:
        return self.key.shape[0]

    @property
    def num_keys(self) -> int:
        return self.num_rows if self.ids is None else len(self.ids)


@dataclasses.dataclass(kw_only=True)
class JobResult:
    """Results of a job; n keys, q queries. Trace fields (None from engines that do not show them) follow ``probs``."""

    out: Tensor
    """(q, D) Q(operand_width).8"""
    abs_sum: Tensor
    """(q,)"""
    flat: Tensor
    """(q,) bool: recomputed with LSBs"""
    probs: Tensor
    """(q, n) UQ1.16, 0 where masked (causal)"""
    score: Tensor | None = None
    exp: Tensor | None = None
    exp_sum: Tensor | None = None
    keep: Tensor | None = None


def run_job(job: Job, config: Config) -> JobResult:
    """The bit-exact integer model of one job, with its trace (scores and exps are those of the final pass)."""
    key, value = job.key, job.value
    if job.ids is not None:
        key, value = key[job.ids], value[job.ids]
    num_keys, num_queries = key.shape[0], job.num_queries
    mask = torch.ones(num_queries, num_keys, dtype=torch.bool)
    if job.causal:
        mask = torch.tril(mask, diagonal=num_keys - num_queries)
    msb = (key >> job.key_lsb_bits) << job.key_lsb_bits
    score = integer.scores(job.query, msb)
    exp = integer.exps(score, mask, job.scale, job.shift)
    flat = torch.zeros(num_queries, dtype=torch.bool)
    if job.key_lsb_bits:
        flat = integer.is_flat(exp.sum(-1), job.flat_limit)
        full = integer.scores(job.query, key)
        score = torch.where(flat[:, None], full, score)
        exp = integer.exps(score, mask, job.scale, job.shift)
    exp_sum = exp.sum(-1)
    recip, pe = integer.reciprocal(exp_sum)
    keep = integer.keep_mask(score, mask, job.value_keep)
    acc = integer.accumulate(exp, keep, integer.justify_value(value, job.value_bits, config.operand_width))
    out = integer.normalize(acc, recip, pe, config.operand_width)
    return JobResult(
        out=out,
        abs_sum=integer.abs_sum(out),
        flat=flat,
        probs=integer.probs(exp, recip.unsqueeze(-1), pe.unsqueeze(-1)),
        score=score,
        exp=exp,
        exp_sum=exp_sum,
        keep=keep,
    )
