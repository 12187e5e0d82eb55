"""Comparison of results with those of the golden model, value by value."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import torch

from golden.layers.job import Job, JobOutputs, JobResult

__all__ = ["STAGES", "Mismatch", "Report", "compare"]

STAGES = ("score", "exp", "exp_sum", "flat", "keep", "probs", "out", "abs_sum")
"""Fields of JobResult in the order of the datapath: the first that differs is where to look."""

SHOWN = ("flat", "probs", "out", "abs_sum")
"""Stages that the streams of the core show; of the others only golden has a trace."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Mismatch:
    """The first value that differs."""

    job: int
    head: str
    """Name of the job, such as ``layer 3 head 7``."""
    stage: str
    query: int
    index: int | None
    """Key (score, exp, keep, probs) or element (out); None of a stage with one value a query."""
    got: int
    expected: int

    def __str__(self) -> str:
        index = "" if self.index is None else f", {'element' if self.stage == 'out' else 'key'} {self.index}"
        return f"{self.stage} of {self.head}, query {self.query}{index}: got {self.got}, expected {self.expected}"


@dataclasses.dataclass(kw_only=True)
class Report:
    """Outcome of :func:`compare`."""

    compared: int = 0
    """Values compared."""
    mismatches: int = 0
    by_stage: dict[str, int] = dataclasses.field(default_factory=dict)
    """Mismatches of each stage that has any, in datapath order."""
    first: Mismatch | None = None
    hidden: set[str] = dataclasses.field(default_factory=set)
    """Stages of which the engine does not show what it computed: they were not compared."""

    @property
    def equal(self) -> bool:
        """Nothing differs, and something was compared."""
        return self.mismatches == 0 and self.compared > 0

    def merge(self, other: Report) -> None:
        """Add the report of later jobs."""
        self.compared += other.compared
        self.mismatches += other.mismatches
        total = {stage: self.by_stage.get(stage, 0) + other.by_stage.get(stage, 0) for stage in STAGES}
        self.by_stage = {stage: count for stage, count in total.items() if count}
        self.first = self.first or other.first
        self.hidden |= other.hidden

    def __str__(self) -> str:
        if self.equal:
            return f"{self.compared:,} values compared, all equal"
        if self.first is None:
            return "no values compared"
        stages = ", ".join(f"{stage} {count:,}" for stage, count in self.by_stage.items())
        return f"{self.mismatches:,} of {self.compared:,} values differ ({stages}); first: {self.first}"


def _compare_job(index: int, job: Job, got: JobOutputs, expected: JobResult) -> Report:
    report = Report()
    head = job.name or f"job {index}"
    for stage in STAGES:
        mine, reference = getattr(got, stage, None), getattr(expected, stage)
        if stage in SHOWN and mine is None:
            report.hidden.add(stage)
        if mine is None or reference is None:
            continue
        if mine.shape != reference.shape:
            raise ValueError(f"{stage} of {head} must have shape {tuple(reference.shape)}, not {tuple(mine.shape)}")
        if not mine.numel():
            continue  # of a job of a chain, which does not show it
        if stage in ("score", "exp", "probs"):
            mask = job.mask()  # the golden model's scores of other keys mean nothing
            mine, reference = torch.where(mask, mine, 0), torch.where(mask, reference, 0)
        report.compared += mine.numel()
        where = (mine != reference).nonzero()
        if not len(where):
            continue
        report.mismatches += len(where)
        report.by_stage[stage] = len(where)
        if report.first is None:
            place = tuple(where[0].tolist())
            report.first = Mismatch(
                job=index,
                head=head,
                stage=stage,
                query=place[0],
                index=place[1] if len(place) > 1 else None,
                got=int(mine[place]),
                expected=int(reference[place]),
            )
    return report


def compare(jobs: Sequence[Job], got: Sequence[JobOutputs | None], expected: Sequence[JobResult | None]) -> Report:
    """Compare all results of ``got`` (an engine's) with ``expected`` (the golden model's), in the order of the jobs.

    Stages that one side does not have are left out; of those that every simulator shows, the report names them
    (``hidden``). A job that is None on both sides was refused and is skipped.
    """
    report = Report()
    for index, (job, mine, reference) in enumerate(zip(jobs, got, expected, strict=True)):
        if mine is None and reference is None:
            continue
        if mine is None or reference is None:
            raise ValueError(f"{job.name or f'job {index}'} has a result on one side only")
        report.merge(_compare_job(index, job, mine, reference))
    return report
