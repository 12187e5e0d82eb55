"""The physical limits of a run: what no schedule can beat on the given multipliers and channels."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

from golden.layers.job import Job, JobResult
from hdl.spec.config import Config

__all__ = ["Limits", "chain_limits", "limits", "plane_bits"]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Limits:
    """Cycles that no schedule can beat."""

    qk_cycles: float
    """Cycles of the Q×K array if it never waits, second passes of flat rows included. In generation every row is of
    another head and takes whole cycles; rows of a summarization share them."""
    memory_cycles: float
    """Cycles of all channels if every bit read is one that is needed, each only once."""

    @property
    def cycles(self) -> float:
        return max(self.qk_cycles, self.memory_cycles)


def limits(jobs: Sequence[Job], results: Sequence[JobResult], config: Config) -> Limits:
    """Limits of jobs whose flat rows are those of ``results``."""
    qk = bits = 0.0
    for job, result in zip(jobs, results, strict=True):
        lengths, per_line = job.mask().sum(-1), config.scores_per_line(job.dim)
        lines = -(-lengths // per_line) if job.generation else lengths / per_line
        qk += float(lines.sum() + lines[result.flat].sum()) * config.beats(job.dim)
        bits += sum(plane_bits(job, flat=bool(result.flat.any())).values())
    return _limits(qk, bits, config)


def chain_limits(jobs: Sequence[Job], config: Config) -> Limits:
    """Limits of jobs none of whose rows is flat; Q is needed once a chain."""
    qk = bits = 0.0
    for job in jobs:
        qk += float(job.mask().sum()) / config.scores_per_line(job.dim) * config.beats(job.dim)
        planes = plane_bits(job)
        bits += sum(planes.values()) - planes["query"] * job.joins
    return _limits(qk, bits, config)


def _limits(qk: float, bits: float, config: Config) -> Limits:
    return Limits(qk_cycles=qk, memory_cycles=bits / (config.num_channels * config.channel_width))


def plane_bits(job: Job, *, flat: bool = False) -> dict[str, int]:
    """Bits that a job needs, by plane, each once. flat: a row of it needs LSBs."""
    values = job.value_keep if job.generation else job.num_keys
    return {
        "query": job.dim * job.query_bits * job.rows,
        "key": job.dim * job.key_bits * job.num_keys,
        "key_lsb": job.dim * job.key_lsb_bits * job.num_keys * flat,
        "value": job.dim * job.value_bits * values,
    }
