"""Jobs of the rows of an authors' CSV: generation on synthetic K, Q and V (docs/workload.md)."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from golden.layers.job import Job, flat_limit_of
from golden.layers.synthetic import Queries, make_queries, make_tensor, nested_ids
from hdl.spec.config import Config
from sim.common.threads import one_thread
from sim.workload.layout import PlaneName, layout_of, lengths_of, parted, plane_of
from sim.workload.rows import Row, read_csv
from sim.workload.workload import Workload, WorkloadError

__all__ = ["csv_workload"]


@one_thread()
def csv_workload(
    path: Path,
    config: Config,
    *,
    limit: int | None = None,
    query_bits: int | None = None,
    pair: bool = True,
    seed: int = 0,
) -> Workload:
    """A job of generation for each row of an authors' CSV, on synthetic K, Q and V. Arguments as of :func:`read_csv`.

    pair: K rows of heads 2h and 2h + 1 of a layer lie together in memory where ``config`` allows it.
    """
    rows, comment = read_csv(path, config, limit=limit, query_bits=query_bits)
    layout = layout_of(rows, config, pair=pair)
    jobs = _generation_jobs(path, rows, layout, config, torch.Generator().manual_seed(seed))
    alone, joined = ({plane_of(row) for row in some} for some in parted(rows, [place for place, _ in layout]))
    facts = {
        "source": comment or None,
        "generated": len({row.iteration for row in rows}),
        "query_bits": query_bits,
        "narrowed_queries": None if query_bits else _narrowed(rows),
        "paired_rows": sum(place > 0 for place, _ in layout),
        "planes_in_both_layouts": len(alone & joined),
        "topk_rows": sum(row.topk is not None for row in rows),
    }
    tokens, flat = [row.tokens for row in rows], [row.flat for row in rows]
    return Workload(name=str(path), jobs=jobs, tokens=tokens, flat=flat, facts=facts)


def _narrowed(rows: Sequence[Row]) -> dict[str, int] | None:
    """Rows whose queries run with fewer bits than the file has: how many, from the widest and to the narrowest."""
    mine = [row for row in rows if row.query_bits < row.file_query_bits]
    if not mine:
        return None
    return {
        "rows": len(mine),
        "from_bits": max(row.file_query_bits for row in mine),
        "to_bits": min(row.query_bits for row in mine),
    }


@dataclasses.dataclass(frozen=True)
class _Data:
    """What the rows of a run share: the cache of each head, and the survivors of each token."""

    planes: dict[PlaneName, tuple[Tensor, Tensor]]
    """K and V"""
    ids: dict[tuple[int, int, int], Tensor | None]
    """by iteration, tokens and keys; None: all tokens"""

    def ids_of(self, row: Row) -> Tensor | None:
        return self.ids[row.iteration, row.tokens, row.keys]


def _generation_jobs(
    path: Path, rows: Sequence[Row], layout: Sequence[tuple[int, int]], config: Config, generator: torch.Generator
) -> list[Job]:
    data = _data(rows, config, generator)
    jobs: dict[int, Job] = {}
    stacks: dict[tuple[PlaneName, ...], Tensor] = {}
    for members in _groups(rows):
        first = rows[members[0]]
        names = tuple(plane_of(rows[index]) for index in members)
        if names not in stacks:
            stacks[names] = _first_pass([data.planes[name][0] for name in names], first.key_lsb_bits)
        limit = flat_limit_of(first.threshold, config) if first.threshold else None
        flat = [rows[index].flat for index in members]
        try:
            made = _queries(generator, stacks[names], first, data.ids_of(first), flat, limit)
        except ValueError as error:
            raise WorkloadError(f"{path}:{first.line}: {error}") from None
        for place, index in enumerate(members):
            jobs[index] = _job(rows[index], data, made, place, limit or 0, layout[index])
    return [jobs[index] for index in range(len(rows))]


def _data(rows: Sequence[Row], config: Config, generator: torch.Generator) -> _Data:
    planes = _planes(rows, generator)
    priorities = {iteration: torch.rand(config.max_tokens, generator=generator) for iteration in _iterations(rows)}
    ids = {}
    for iteration, tokens, keys in dict.fromkeys((row.iteration, row.tokens, row.keys) for row in rows):
        survivors = nested_ids(priorities[iteration], tokens, keys) if keys < tokens else None
        ids[iteration, tokens, keys] = survivors
    return _Data(planes, ids)


def _groups(rows: Sequence[Row]) -> list[list[int]]:
    """Rows of the heads of a layer that differ in their planes only: their queries are made together."""
    groups: dict[tuple[Any, ...], list[int]] = {}
    for index, row in enumerate(rows):
        same = (row.iteration, row.layer, row.dim, row.tokens, row.keys, row.query_bits, row.threshold)
        groups.setdefault((*same, row.key_bits, row.key_lsb_bits), []).append(index)
    return list(groups.values())


def _queries(
    generator: torch.Generator, keys: Tensor, row: Row, ids: Tensor | None, flat: list[bool], limit: int | None
) -> Queries:
    return make_queries(
        generator,
        keys,
        torch.arange(row.keys) if ids is None else ids,
        query_bits=row.query_bits,
        flat=torch.tensor(flat),
        threshold=row.threshold,
        flat_limit=limit,
    )


def _job(row: Row, data: _Data, made: Queries, place: int, flat_limit: int, layout: tuple[int, int]) -> Job:
    """The job of a row whose query is the one at ``place`` of those made."""
    key, value = data.planes[plane_of(row)]
    ids, (pair, skew) = data.ids_of(row), layout
    return Job(
        query=made.query[place : place + 1],
        key=key,
        value=value,
        ids=ids,
        keys=row.keys if ids is None else None,
        query_bits=row.query_bits,
        key_bits=row.key_bits,
        key_lsb_bits=row.key_lsb_bits,
        value_bits=row.value_bits,
        scale=made.scale[place],
        shift=made.shift[place],
        flat_limit=flat_limit,
        value_keep=row.values,
        generation=True,
        head=row.head,
        pair=pair,
        skew=skew,
        name=f"line {row.line} (token {row.iteration}, layer {row.layer}, head {row.head})",
    )


def _iterations(rows: Iterable[Row]) -> list[int]:
    return list(dict.fromkeys(row.iteration for row in rows))


def _planes(rows: Iterable[Row], generator: torch.Generator) -> dict[PlaneName, tuple[Tensor, Tensor]]:
    planes = {}
    for name, tokens in lengths_of(rows).items():
        _, _, dim, key_bits, key_lsb_bits, value_bits = name
        key = make_tensor(generator, tokens, dim, bits=key_bits + key_lsb_bits)
        planes[name] = key, make_tensor(generator, tokens, dim, bits=value_bits)
    return planes


def _first_pass(keys: Sequence[Tensor], key_lsb_bits: int) -> Tensor:
    """Planes of some heads, float64 (heads, rows, D), zeros below the shorter ones and in the LSBs."""
    stack = torch.zeros(len(keys), max(map(len, keys)), keys[0].shape[1], dtype=torch.float64)
    for place, key in enumerate(keys):
        stack[place, : len(key)] = key >> key_lsb_bits << key_lsb_bits
    return stack
