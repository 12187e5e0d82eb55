"""The physical limits of a run: what no schedule can beat on the given multipliers and channels."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

from golden.job import Job, JobResult
from hdl.config import Config

__all__ = ["Limits", "limits"]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Limits:
    qk_cycles: float
    """Cycles of the Q×K array if every lane is useful in every cycle, second passes of flat rows included."""
    memory_cycles: float
    """Cycles of all channels if every bit read is one that is needed, each only once."""

    @property
    def cycles(self) -> float:
        return max(self.qk_cycles, self.memory_cycles)


def limits(jobs: Sequence[Job], results: Sequence[JobResult], config: Config) -> Limits:
    """Limits of jobs whose flat rows are those of ``results``."""
    qk = bits = 0.0
    for job, result in zip(jobs, results, strict=True):
        lengths = job.mask().sum(-1)
        scores = int(lengths.sum()) + int(lengths[result.flat].sum())
        flat_rows = int(result.flat.sum())
        qk += scores * config.beats(job.dim) / config.scores_per_line(job.dim)
        values = job.value_keep if job.generation else job.num_keys
        bits += job.dim * (
            job.query_bits * (job.rows + flat_rows)
            + job.key_bits * job.num_keys
            + job.key_lsb_bits * job.num_keys * (flat_rows > 0)
            + job.value_bits * values
        )
    return Limits(qk_cycles=qk, memory_cycles=bits / (config.num_channels * config.channel_width))
