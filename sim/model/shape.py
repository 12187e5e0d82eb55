"""What the cycles of a job depend on."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Sequence

import numpy as np

from golden.layers.job import Job, JobResult

__all__ = ["Shape", "shapes_of"]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Shape:
    """What the cycles of a job depend on: sizes of :class:`golden.layers.job.Job`, and how many rows turn out flat."""

    dim: int
    keys: int
    rows: int = 1
    """of all query heads"""
    group: int = 1
    causal: bool = False
    generation: bool = False
    query_bits: int = 12
    key_bits: int = 12
    key_lsb_bits: int = 0
    value_bits: int = 12
    value_keep: int
    flat_rows: int = 0
    ids: np.ndarray | None = None
    """rows of K and V, ascending; None: the first ``keys``. Jobs of a list share the array"""
    kept: np.ndarray | None = None
    """generation: positions whose V rows are fetched; None: random ones"""
    skew: int = 0
    pair: int = 0

    @functools.cached_property
    def lengths(self) -> np.ndarray:
        """Keys that each row attends."""
        if not self.causal:
            return np.full(self.rows, self.keys)
        queries = self.rows // self.group
        return np.tile(np.arange(self.keys - queries + 1, self.keys + 1), self.group)

    @property
    def scores(self) -> int:
        """Of the first passes."""
        return int(self.lengths.sum())


def shapes_of(jobs: Sequence[Job], results: Sequence[JobResult]) -> list[Shape]:
    """Shapes of jobs whose flat rows and kept V rows are those of ``results`` (of golden: with their trace)."""
    lists: dict[int, np.ndarray] = {}
    shapes = []
    for job, result in zip(jobs, results, strict=True):
        if job.ids is not None and id(job.ids) not in lists:
            lists[id(job.ids)] = job.ids.numpy()
        kept = None
        if job.generation and result.keep is not None:
            kept = result.keep[0].nonzero().flatten().numpy()
        shapes.append(
            Shape(
                dim=job.dim,
                keys=job.num_keys,
                rows=job.rows,
                group=job.group,
                causal=job.causal,
                generation=job.generation,
                query_bits=job.query_bits,
                key_bits=job.key_bits,
                key_lsb_bits=job.key_lsb_bits,
                value_bits=job.value_bits,
                value_keep=job.value_keep,
                flat_rows=int(result.flat.sum()),
                ids=None if job.ids is None else lists[id(job.ids)],
                kept=kept,
                skew=job.skew,
                pair=job.pair,
            )
        )
    return shapes
