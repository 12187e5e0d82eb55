"""The comparison on rows of the authors' CSV, whose Q, K and V are synthetic (docs/rivals.md)."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from golden.layers.job import Job, run_job
from hdl.spec import numerics as N
from hdl.spec.config import Config
from sim.common.threads import one_thread
from sim.model.shape import shapes_of
from sim.rivals.compare import OWN, Column, Comparison
from sim.rivals.heads import Heads
from sim.rivals.own import Own
from sim.rivals.rival import RIVALS
from sim.rivals.taps import RivalTap
from sim.workload.generation import csv_workload
from sim.workload.rows import read_csv

__all__ = ["compare_workload", "heads_of_job"]


def heads_of_job(job: Job, tokens: int) -> Heads:
    """A job of generation as dense attention of all its tokens: its survivors are not known to other systems."""
    scaling = math.ldexp(job.scale, -job.shift - N.X_FRAC) * math.log(2)
    return Heads(
        query=job.query.double()[None, None, None],
        key=job.key[:tokens].double()[None, None],
        value=job.value[:tokens].double()[None, None],
        lengths=torch.tensor([tokens]),
        scaling=scaling,
        generation=True,
    )


@one_thread()
def compare_workload(
    path: Path, config: Config, *, limit: int | None = None, progress: Callable[[str], None] = lambda name: None
) -> Comparison:
    """All systems on the rows of a file, layer by layer; WorkloadError as of :func:`read_csv`."""
    workload = csv_workload(path, config, limit=limit)
    rows, _ = read_csv(path, config, limit=limit)
    layers = [
        [index for index, _ in members]
        for _, members in itertools.groupby(enumerate(rows), key=lambda entry: (entry[1].iteration, entry[1].layer))
    ]
    columns: list[Column] = []
    counts: dict[str, Any] = {}
    for rival in RIVALS.values():
        progress(rival.name)
        tap = RivalTap(rival)
        for members in layers:
            for heads in _stacked([heads_of_job(workload.jobs[i], workload.tokens[i]) for i in members]):
                tap.take(heads)
        counts = counts or {"dense_products": tap.work.dense_products, "attended": tap.work.attended}
        columns.append(Column(name=rival.name, work=tap.work, blocks=tap.blocks, **counts))
    progress(OWN)
    own = Own(config, steps_only=True)
    for members in layers:
        jobs = [workload.jobs[index] for index in members]
        own.count(shapes_of(jobs, [run_job(job, config) for job in jobs]))
    columns.append(Column(name=OWN, work=own.work, blocks=own.blocks, **counts))
    subject = {"kind": "workload", "workload": str(path), "preset": config.name, "facts": workload.facts}
    return Comparison(subject=subject, columns=columns, seconds={})


def _stacked(heads: list[Heads]) -> list[Heads]:
    """Heads of equal shape as one layer's; every row keeps its own scale, which goes into its query."""
    groups: dict[tuple[int, int], list[Heads]] = {}
    for each in heads:
        groups.setdefault((each.key.shape[2], each.dim), []).append(each)
    return [
        Heads(
            query=torch.cat([each.query * each.scaling for each in group], 1),
            key=torch.cat([each.key for each in group], 1),
            value=torch.cat([each.value for each in group], 1),
            lengths=group[0].lengths,
            scaling=1.0,
            generation=True,
        )
        for group in groups.values()
    ]
