"""Jobs and layers as items of the host streams: descriptors, heads and ids, with their planes in the memory image."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from golden.layers.job import Job
from golden.layers.layer_job import LayerJob
from hdl.spec.config import Config
from hdl.spec.payloads import (
    LIST_DENSE,
    LIST_NEW,
    LIST_PREVIOUS,
    head_entry,
    job_descriptor,
    job_id_entry,
    layer_descriptor,
)
from hdl.spec.planes import PLANES
from sim.common.packing import pack
from sim.transport.memory import MemoryImage
from sim.transport.words import to_words, word_count

__all__ = [
    "HOST_STREAMS",
    "describe_job",
    "describe_layer",
    "head_columns",
    "head_rows",
    "list_kind",
    "pack_jobs",
    "pack_layers",
    "partners",
]

HOST_STREAMS = ("job", "layer", "heads", "ids")
"""Streams from the host, in the order in which sim/engine/harness.cpp numbers them."""


def _describe(job: Job, job_id: int, id_list: int, config: Config) -> dict[str, int]:
    """Descriptor fields of a job but for its planes."""
    return {
        "job_id": job_id,  # the index of the job: results are sorted by it
        "dim": job.dim,
        "num_keys": job.num_keys,
        "num_queries": job.num_queries,
        "group": job.group,
        "head": job.head,
        "accumulate": int(job.accumulate),
        "num_rows": job.num_rows,
        "causal": int(job.causal),
        "generation": int(job.generation),
        "list": id_list,
        "skew": job.skew,
        "pair": job.pair,
        "value_keep": job.value_keep,
        "query_bits": job.query_bits,
        "key_bits": job.key_bits,
        "key_lsb_bits": job.key_lsb_bits,
        "value_bits": job.value_bits,
        "scale": job.scale,
        "shift": job.shift,
        "flat_limit": job.flat_limit,
        **_chain_place(job, config),
    }


def _chain_place(job: Job, config: Config) -> dict[str, int]:
    """Fields of a job's place in its chain, where jobs can be chained."""
    if config.chained:
        return {"joins": int(job.joins), "more": int(job.more)}
    if job.chained:
        raise ValueError(f"{job.name or 'job'}: joins and more must be False, as chain_rows of {config.name} is 0")
    return {}


def _planes(job: Job) -> dict[str, tuple[Any, int, int, bool]]:
    """(tensor, width, shift, signed) of each plane of a job."""
    planes = {
        "query": (job.query, job.query_bits, 0, True),
        "key": (job.key, job.key_bits, job.key_lsb_bits, True),
        "value": (job.value, job.value_bits, 0, True),
    }
    if job.key_lsb_bits:
        planes["key_lsb"] = (job.key, job.key_lsb_bits, 0, False)
    return planes


def _place(job: Job, partner: Job | None, image: MemoryImage) -> dict[str, int]:
    bases = {"key_lsb_base": 0}
    for name, (tensor, width, shift, signed) in _planes(job).items():
        tensors = (tensor,)
        if name == "key" and partner is not None:
            tensors = (job.key, partner.key) if job.pair == 1 else (partner.key, job.key)
        bases[f"{name}_base"] = image.place(*tensors, width=width, shift=shift, signed=signed, skew=job.skew)
    return bases


def partners(jobs: Sequence[Job]) -> list[Job | None]:
    """The other job of each job's pair; ValueError if they do not fit each other."""
    found: list[Job | None] = [None] * len(jobs)
    for index, job in enumerate(jobs):
        if job.pair not in (0, 1, 2):
            raise ValueError(f"job {index}: pair must be 0, 1 or 2, not {job.pair!r}")
        if job.pair == 2 and found[index] is None:
            raise ValueError(f"job {index}: pair must be 1 in the job before, if it is 2")
        if job.pair == 1:
            second = jobs[index + 1] if index + 1 < len(jobs) else None
            if second is None or second.pair != 2:
                raise ValueError(f"job {index}: pair must be 2 in the next job, if it is 1")
            for name in ("dim", "num_keys", "num_rows", "key_bits", "key_lsb_bits", "skew"):
                mine, other = getattr(job, name), getattr(second, name)
                if mine != other:
                    raise ValueError(f"job {index + 1}: {name} must be {mine}, as in its pair's first job, not {other}")
            if not _same_ids(job.ids, second.ids):
                raise ValueError(f"job {index + 1}: ids must be those of its pair's first job")
            found[index], found[index + 1] = second, job
    return found


def describe_job(job: Job, partner: Job | None, index: int, id_list: int, image: MemoryImage) -> dict[str, int]:
    """Descriptor fields of a job, whose planes are placed. id_list: of :func:`list_kind`."""
    return _describe(job, index, id_list, image.config) | _place(job, partner, image)


def list_kind(job: Job, previous: Tensor | None) -> int:
    """LIST_DENSE, LIST_PREVIOUS or LIST_NEW of a job; previous: the last list that was sent."""
    known = job.pair == 2 or _same_ids(job.ids, previous)
    return LIST_DENSE if job.ids is None else LIST_PREVIOUS if known else LIST_NEW


def _same_ids(ids: Tensor | None, others: Tensor | None) -> bool:
    """Jobs of a layer mostly share one tensor."""
    return ids is others or (ids is not None and others is not None and torch.equal(ids, others))


def _id_words(ids: Sequence[int], importance: Sequence[int], config: Config) -> np.ndarray:
    """Items of the ids stream (beats, words), the last one marked."""
    shape: Any = job_id_entry(config)
    lanes = config.lanes
    words = []
    for start in range(0, len(ids), lanes):
        part, scores = list(ids[start : start + lanes]), list(importance[start : start + lanes])
        rest = [0] * (lanes - len(part))
        beat = {
            "ids": part + rest,
            "importance": scores + rest,
            "count": len(part),
            "last": start + lanes >= len(ids),
        }
        words.append(to_words(pack(shape, beat), shape.size))
    return np.stack(words) if words else np.zeros((0, word_count(shape.size)), dtype="<u4")


def _streams(config: Config, **items: list[np.ndarray]) -> dict[str, np.ndarray]:
    """All host streams (items, words); those not named are empty."""
    shapes: dict[str, Any] = {
        "job": job_descriptor(config),
        "layer": layer_descriptor(config),
        "heads": head_entry(config),
        "ids": job_id_entry(config),
    }
    empty = {name: np.zeros((0, word_count(shapes[name].size)), dtype="<u4") for name in HOST_STREAMS}
    return {name: np.concatenate([empty[name], *items.get(name, [])]) for name in HOST_STREAMS}


def pack_jobs(
    jobs: Sequence[Job],
    config: Config,
    image: MemoryImage,
    overrides: Mapping[int, Mapping[str, Any]] | None = None,
) -> dict[str, np.ndarray]:
    """Items of the host streams (items, words) for all jobs, whose job ids are their indices.

    overrides: by job index, descriptor fields to send as they are, right or wrong; ``ids`` there is the id list.
    """
    shape: Any = job_descriptor(config)
    descriptors, entries = [], []
    previous: Tensor | None = None
    for index, (job, partner) in enumerate(zip(jobs, partners(jobs), strict=True)):
        override = dict((overrides or {}).get(index, {}))
        fields = describe_job(job, partner, index, list_kind(job, previous), image)
        ids = override.pop("ids", None)
        unknown = sorted(set(override) - (set(fields) - {"job_id"}))
        if unknown:
            raise ValueError(f"override must name ids or one of {', '.join(fields)}; not {', '.join(unknown)}")
        fields.update(override)
        descriptors.append(to_words(pack(shape, fields), shape.size)[None])
        if fields["list"] == LIST_NEW:
            # A refused job's list is forgotten: the next job with the same ids brings them again.
            previous = None if override or ids is not None else job.ids
            if ids is None:
                ids = [] if job.ids is None else job.ids.tolist()
            entries.append(_id_words(ids, [0] * len(ids), config))
    return _streams(config, job=descriptors, ids=entries)


def pack_layers(
    layers: Sequence[LayerJob],
    config: Config,
    image: MemoryImage,
    overrides: Mapping[int, Mapping[str, Any]] | None = None,
) -> dict[str, np.ndarray]:
    """Items of the host streams (items, words) for all layers, whose job ids are their indices.

    overrides: by layer index, fields to send as they are: of the descriptor, of its ``job``, and ``ids``.
    """
    shape: Any = layer_descriptor(config)
    job_names = set(job_descriptor(config).members)
    descriptors, heads, ids = [], [], []
    for index, layer in enumerate(layers):
        fields = describe_layer(layer, index, image)
        override = dict((overrides or {}).get(index, {}))
        listed = override.pop("ids", None if layer.ids is None else layer.ids.tolist())
        for name, value in override.items():
            (fields["job"] if name in job_names else fields)[name] = value
        descriptors.append(to_words(pack(shape, fields), shape.size)[None])
        if layer.head_ids:
            heads.append(_head_words(layer, config))
        if listed is not None:
            scores = layer.importance.tolist() if layer.importance is not None else []
            ids.append(_id_words(listed, (scores + [0] * len(listed))[: len(listed)], config))
    return _streams(config, layer=descriptors, heads=heads, ids=ids)


def describe_layer(
    layer: LayerJob, index: int, image: MemoryImage, planes: Mapping[str, tuple[int, int]] | None = None
) -> dict[str, Any]:
    """Descriptor fields of a layer, whose planes are placed at equal strides by K/V head.

    planes: (base, stride) in words, by name, of the planes that are in memory already.
    """
    strides: dict[str, int] = dict.fromkeys(PLANES, 0)
    if layer.dense and layer.ids is not None and layer.jobs:
        raise ValueError(f"{layer.name}: a list must come in a layer of its own before dense jobs")
    if any(job.pair or job.skew != layer.jobs[0].skew for job in layer.jobs):
        raise ValueError(f"{layer.name}: pair must be 0, and skew the same in all jobs of a layer")
    if layer.jobs:
        job = _describe(layer.jobs[0], index, 0, image.config) | {"key_lsb_base": 0}
        for name in _planes(layer.jobs[0]):
            known = (planes or {}).get(name)
            job[f"{name}_base"], strides[name] = known or _place_strided(layer, name, image)
    else:  # list and selection only
        job = dict.fromkeys(job_descriptor(image.config).members, 0)
        rows = image.config.max_tokens
        job |= {"job_id": index, "dim": image.config.dims[0], "num_keys": layer.num_tokens, "num_rows": rows}
    new = LIST_DENSE if layer.dense else LIST_PREVIOUS
    job["list"] = LIST_NEW if layer.ids is not None else new
    return {
        "job": job,
        "num_heads": len(layer.head_ids),
        **{f"{name}_stride": stride for name, stride in strides.items()},
        "select": int(layer.select),
        "token_keep": layer.token_keep,
        "head_keep": layer.head_keep,
        "pin_first": layer.pin_first,
        "pin_last": layer.pin_last,
        "decay": layer.decay,
    }


def _place_strided(layer: LayerJob, name: str, image: MemoryImage) -> tuple[int, int]:
    """(base, stride) of the planes of that name of all jobs."""
    planes = [_planes(each)[name] for each in layer.jobs]
    _, width, shift, signed = planes[0]
    tensors = dict(zip(layer.kv_heads, (plane[0] for plane in planes), strict=True))
    return image.place_strided(tensors, width, shift=shift, signed=signed, skew=layer.jobs[0].skew)


def head_columns(layer: LayerJob) -> dict[str, list[int]]:
    """Fields of the entries of the surviving query heads, each in the order of their ranks."""
    owners = [(job, number) for job, number in zip(layer.jobs, layer.kv_heads, strict=True) for _ in range(job.group)]
    return {
        "head": layer.head_ids,
        "kv_head": [number for _, number in owners],
        "scale": [job.scale for job, _ in owners],
        "shift": [job.shift for job, _ in owners],
        "weight": layer.head_weight,
        "importance": layer.head_importance,
    }


def head_rows(layer: LayerJob) -> list[dict[str, int]]:
    """Fields of the entry of each surviving query head, in the order of their ranks."""
    columns = head_columns(layer)
    return [dict(zip(columns, row, strict=True)) for row in zip(*columns.values(), strict=True)]


def _head_words(layer: LayerJob, config: Config) -> np.ndarray:
    """Items of the heads stream: an entry for each surviving query head."""
    shape: Any = head_entry(config)
    rows = head_rows(layer)
    last = [{"last": int(rank == len(rows) - 1)} for rank in range(len(rows))]
    return np.stack([to_words(pack(shape, row | mark), shape.size) for row, mark in zip(rows, last, strict=True)])
