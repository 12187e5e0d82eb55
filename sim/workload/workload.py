"""Workloads: jobs, and what is known of them (docs/workload.md)."""

from __future__ import annotations

import dataclasses
from typing import Any

from golden.layers.job import Job

__all__ = ["MOST_JOBS", "UNQUANTIZED", "Workload", "WorkloadError"]

UNQUANTIZED = 12
"""Bits at which a tensor runs that the CSV does not quantize (-1)."""
MOST_JOBS = 1 << 16
"""Jobs of a run: a job id has 16 bits."""


class WorkloadError(ValueError):
    """A workload that cannot be read, or that the configuration cannot run."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Workload:
    """Jobs, and what is known of them."""

    name: str
    """File or shape."""
    jobs: list[Job]
    tokens: list[int]
    """Of each job, before pruning."""
    flat: list[bool] | None = None
    """Whether each job's row is to be flat; None: nobody knows."""
    facts: dict[str, Any] = dataclasses.field(default_factory=dict)
    """What a report has to name."""
