"""Jobs (one head of one layer) and their results: what the host gives to, and gets from, golden model and RTL alike."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence

import torch
from torch import Tensor

from golden.datapath import integer
from golden.datapath.attention import attend, attend_part
from golden.datapath.chain import ChainSums, finish
from hdl.spec import numerics as N
from hdl.spec.config import Config

__all__ = ["Job", "JobOutputs", "JobResult", "flat_limit_of", "run_job", "run_jobs", "scale_of"]


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
    """One K/V head with the query heads that use it. Integer tensors, two's complement of the given widths.

    query (group * q, D), ``query_bits`` wide: q rows of each query head in turn; key (num_rows, D),
    ``key_bits + key_lsb_bits`` wide; value (num_rows, D), ``value_bits`` wide. ids: rows of key and value that the
    queries attend, strictly ascending; None: the first ``keys``, or all.
    """

    query: Tensor
    """(group * q, D)"""
    key: Tensor
    """(num_rows, D)"""
    value: Tensor
    """(num_rows, D)"""
    ids: Tensor | None = None
    """(n,) or None"""
    keys: int | None = None
    """n, if ``ids`` is None"""
    query_bits: int
    """one of the configuration's ``plane_widths``"""
    key_bits: int
    """of the MSB plane, or of all of K if it is static"""
    key_lsb_bits: int = 0
    """0: static; 4: flat rows are computed again with these bits of K"""
    value_bits: int
    """one of the configuration's ``plane_widths``"""
    scale: int
    """mantissa of the dequantization scale, 16 bits, at least 1 (:func:`scale_of`)"""
    shift: int
    """its right shift, 1 to 63"""
    flat_limit: int = 0
    """a row is flat if its exp sum, UQ.16, is above it (:func:`flat_limit_of`); not used if K is static"""
    value_keep: int
    """V rows that each query row keeps, 1 to n (paper section III-C)"""
    causal: bool = False
    """query i of q attends the first n - q + i + 1 keys"""
    generation: bool = False
    """one query row: only the V rows that it keeps are read"""
    group: int = 1
    """query heads (grouped-query attention)"""
    head: int = 0
    """rank of the first of them among the surviving heads of the layer"""
    accumulate: bool = False
    """adds to the importance of tokens and heads"""
    skew: int = 0
    """memory channel of row 0 of each plane; row r lies in the r-th channel after it"""
    pair: int = 0
    """1, 2: first and second of two consecutive generation jobs whose K rows lie together, side by side, and are read
    at once (the LSB planes lie apart); both attend the same rows of equal shape, width and skew. 0: alone"""
    joins: bool = False
    """goes on with the sums that the rows of the job before it left (docs/chains.md)"""
    more: bool = False
    """leaves the sums of its rows to the next job, and has no outputs"""
    name: str = ""
    """For reports, such as ``layer 3 head 7``."""

    @property
    def dim(self) -> int:
        """Elements of a row, D."""
        return self.query.shape[-1]

    @property
    def rows(self) -> int:
        """Rows of all query heads."""
        return self.query.shape[0]

    @property
    def num_queries(self) -> int:
        """Queries of each query head."""
        return self.rows // self.group

    @property
    def chained(self) -> bool:
        """Whether it is one of several jobs that attend a context together."""
        return self.joins or self.more

    @property
    def num_rows(self) -> int:
        """Rows of the K and V planes."""
        return self.key.shape[0]

    @property
    def num_keys(self) -> int:
        """Keys that the queries attend, n."""
        if self.ids is not None:
            return len(self.ids)
        return self.num_rows if self.keys is None else self.keys

    def mask(self) -> Tensor:
        """(rows, n) bool: the keys that each row attends."""
        mask = torch.ones(self.num_queries, self.num_keys, dtype=torch.bool)
        if self.causal:
            mask = torch.tril(mask, diagonal=self.num_keys - self.num_queries)
        return mask.repeat(self.group, 1)


@dataclasses.dataclass(kw_only=True)
class JobOutputs:
    """What every engine gives of a job of q rows, and some give no more."""

    out: Tensor
    """(q, D) Q(operand_width).8; (0, D) if its rows go on in the next job"""


@dataclasses.dataclass(kw_only=True)
class JobResult(JobOutputs):
    """Results of a job; n keys, q rows. Trace fields (None from engines that do not show them) follow ``probs``."""

    abs_sum: Tensor
    """(q,); (0,) if its rows go on in the next job"""
    flat: Tensor
    """(q,) bool: recomputed with LSBs"""
    probs: Tensor
    """(q, n) UQ1.16, 0 where masked (causal); (0, n) of a job of a chain"""
    score: Tensor | None = None
    """(q, n) of the final pass, signed integers of the configuration's ``score_width``"""
    exp: Tensor | None = None
    """(q, n) UQ1.16, 0 where masked"""
    exp_sum: Tensor | None = None
    """(q,) UQ.16"""
    keep: Tensor | None = None
    """(q, n) bool: V rows used"""


def run_jobs(jobs: Sequence[Job], config: Config) -> list[JobResult]:
    """The bit-exact integer model of jobs, in order: those of a chain go on with each other's sums."""
    results, sums = [], None
    for job in jobs:
        if job.joins != (sums is not None):
            raise ValueError(f"{job.name or 'job'}: joins must be {sums is not None}, as more of the job before it")
        if job.chained:
            result, sums = _run_part(job, config, sums)
        else:
            result = run_job(job, config)
        results.append(result)
        sums = sums if job.more else None
    return results


def _run_part(job: Job, config: Config, before: ChainSums | None) -> tuple[JobResult, ChainSums]:
    """A job of a chain."""
    chosen = job.ids if job.ids is not None else slice(job.num_keys)
    mask = job.mask()
    rows = attend_part(
        job.query[None],
        job.key[chosen][None],
        job.value[chosen][None],
        torch.where(mask, 0.0, -math.inf).double() if job.causal else None,
        before,
        value_bits=job.value_bits,
        scale=torch.tensor([job.scale]),
        shift=torch.tensor([job.shift]),
        value_keep=job.value_keep,
        operand_width=config.operand_width,
    )
    out = finish(rows.sums, config.operand_width)[0][slice(0) if job.more else slice(None)]
    result = JobResult(
        out=out,
        abs_sum=integer.abs_sum(out),
        flat=torch.zeros(job.rows, dtype=torch.bool),
        probs=torch.zeros(0, job.num_keys, dtype=torch.int64),
        score=rows.score[0].long(),
        exp=rows.exp[0].long(),
        exp_sum=rows.exp_sum[0],
        keep=mask if rows.keep is None else rows.keep[0],
    )
    return result, rows.sums


def run_job(job: Job, config: Config) -> JobResult:
    """The bit-exact integer model of one job, with its trace (scores and exps are those of the final pass)."""
    if job.chained:
        raise ValueError(f"{job.name or 'job'}: joins and more must be False, but in run_jobs, which knows its chain")
    chosen = job.ids if job.ids is not None else slice(job.num_keys)
    mask = job.mask()
    rows = attend(
        job.query[None],
        job.key[chosen][None],
        job.value[chosen][None],
        torch.where(mask, 0.0, -math.inf).double() if job.causal else None,
        key_lsb_bits=job.key_lsb_bits,
        value_bits=job.value_bits,
        scale=torch.tensor([job.scale]),
        shift=torch.tensor([job.shift]),
        flat_limit=job.flat_limit,
        value_keep=job.value_keep,
        operand_width=config.operand_width,
    )
    return JobResult(
        out=rows.out[0],
        abs_sum=rows.abs_sum[0],
        flat=rows.flat[0],
        probs=rows.probs[0].long(),
        score=rows.score[0].long(),
        exp=rows.exp[0].long(),
        exp_sum=rows.exp_sum[0],
        keep=mask if rows.keep is None else rows.keep[0],
    )
