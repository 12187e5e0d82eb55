"""Jobs as words: descriptors and ids to the accelerator, output, probability and status items back to tensors."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from amaranth.hdl import Shape
from amaranth.lib import data
from torch import Tensor

from golden.layers.job import Job, JobResult
from golden.layers.layer import LayerJob, Selection
from hdl.spec.config import Config
from hdl.spec.payloads import (
    LIST_DENSE,
    LIST_NEW,
    LIST_PREVIOUS,
    head_entry,
    job_descriptor,
    job_id_entry,
    job_output,
    job_probs,
    layer_descriptor,
    survivor,
)
from hdl.spec.planes import PLANES
from sim.common.packing import pack
from sim.transport.memory import MemoryImage

__all__ = [
    "HOST_STREAMS",
    "ResultError",
    "Unpacker",
    "collect",
    "collect_selections",
    "expected_beats",
    "pack_jobs",
    "pack_layers",
    "to_words",
    "word_count",
]

HOST_STREAMS = ("job", "layer", "heads", "ids")
"""Streams from the host, in the order in which sim/engine/harness.cpp numbers them."""


class ResultError(RuntimeError):
    """The accelerator gave results that no correct one can give: missing, doubled, or for nobody."""


def word_count(width: int) -> int:
    """32-bit words that hold ``width`` bits."""
    return -(-width // 32)


def to_words(value: int, width: int) -> np.ndarray:
    """Little-endian uint32 words of an unsigned integer."""
    return np.frombuffer(value.to_bytes(4 * word_count(width), "little"), dtype="<u4")


# To the accelerator --------------------------------------------------------------------------------------------


def _describe(job: Job, job_id: int, id_list: int) -> dict[str, int]:
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
    }


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


def _partners(jobs: Sequence[Job]) -> list[Job | None]:
    """The other job of each job's pair."""
    partners: list[Job | None] = [None] * len(jobs)
    for index, job in enumerate(jobs):
        if job.pair not in (0, 1, 2):
            raise ValueError(f"job {index}: pair must be 0, 1 or 2, not {job.pair!r}")
        if job.pair == 2 and partners[index] is None:
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
            partners[index], partners[index + 1] = second, job
    return partners


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
    for index, (job, partner) in enumerate(zip(jobs, _partners(jobs), strict=True)):
        override = dict((overrides or {}).get(index, {}))
        known = job.pair == 2 or _same_ids(job.ids, previous)
        id_list = LIST_DENSE if job.ids is None else LIST_PREVIOUS if known else LIST_NEW
        fields = _describe(job, index, id_list) | _place(job, partner, image)
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
        fields = _describe_layer(layer, index, image)
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


def _describe_layer(layer: LayerJob, index: int, image: MemoryImage) -> dict[str, Any]:
    """Descriptor fields of a layer, whose planes are placed at equal strides by K/V head."""
    strides: dict[str, int] = dict.fromkeys(PLANES, 0)
    if layer.dense and layer.ids is not None and layer.jobs:
        raise ValueError(f"{layer.name}: a list must come in a layer of its own before dense jobs")
    if any(job.pair or job.skew != layer.jobs[0].skew for job in layer.jobs):
        raise ValueError(f"{layer.name}: pair must be 0, and skew the same in all jobs of a layer")
    if layer.jobs:
        job = _describe(layer.jobs[0], index, 0) | {"key_lsb_base": 0}
        for name in _planes(layer.jobs[0]):
            planes = [_planes(each)[name] for each in layer.jobs]
            _, width, shift, signed = planes[0]
            tensors = dict(zip(layer.kv_heads, (plane[0] for plane in planes), strict=True))
            base, strides[name] = image.place_strided(tensors, width, shift=shift, signed=signed, skew=job["skew"])
            job[f"{name}_base"] = base
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


def _head_words(layer: LayerJob, config: Config) -> np.ndarray:
    """Items of the heads stream: an entry for each surviving query head."""
    shape: Any = head_entry(config)
    owner = {job.head + place: number for number, job in enumerate(layer.jobs) for place in range(job.group)}
    words = []
    for rank, head in enumerate(layer.head_ids):
        job = layer.jobs[owner[rank]]
        fields = {
            "head": head,
            "kv_head": layer.kv_heads[owner[rank]],
            "scale": job.scale,
            "shift": job.shift,
            "weight": layer.head_weight[rank],
            "importance": layer.head_importance[rank],
            "last": rank == len(layer.head_ids) - 1,
        }
        words.append(to_words(pack(shape, fields), shape.size))
    return np.stack(words)


# From the accelerator ------------------------------------------------------------------------------------------


class Unpacker:
    """Fields of a struct layout out of items of uint32 words (items, words), vectorized over the items."""

    def __init__(self, layout: data.StructLayout, words: np.ndarray):
        self.layout = layout
        padded = np.zeros((len(words), words.shape[1] + 2), dtype=np.uint64)
        padded[:, : words.shape[1]] = words
        self._words = padded
        self._fields: dict[str, np.ndarray] = {}

    def __getitem__(self, name: str) -> np.ndarray:
        """int64 (items,) of a plain field, (items, length) of an array."""
        if name not in self._fields:
            self._fields[name] = self._field(name)
        return self._fields[name]

    def _field(self, name: str) -> np.ndarray:
        field = self.layout[name]
        shape = field.shape
        if isinstance(shape, data.ArrayLayout):
            element = Shape.cast(shape.elem_shape)
            offsets = field.offset + np.arange(shape.length) * element.width
            return self._extract(offsets, element)
        return self._extract(np.array([field.offset]), Shape.cast(shape))[:, 0]

    def _extract(self, offsets: np.ndarray, shape: Shape) -> np.ndarray:
        index, shift = offsets // 32, (offsets % 32).astype(np.uint64)
        low = self._words[:, index] | self._words[:, index + 1] << np.uint64(32)
        # Two shifts, for a shift by 64 is undefined.
        high = self._words[:, index + 2] << (np.uint64(63) - shift) << np.uint64(1)
        value = ((low >> shift) | high) & np.uint64((1 << shape.width) - 1)
        value = value.astype(np.int64)
        return value - ((value >> (shape.width - 1)) << shape.width) if shape.signed else value


def expected_beats(job: Job, config: Config) -> int:
    """Least output beats of a job."""
    return job.rows * -(-job.dim // config.norm_lanes)


def _outputs(job: Job, name: str, beats: Unpacker, mine: np.ndarray, config: Config) -> tuple[np.ndarray, ...]:
    """(out, abs_sum, second) of a job from its output beats (row indices ``mine``)."""
    num_queries, dim = job.rows, job.dim
    per_row = len(mine) // num_queries
    if not len(mine) or len(mine) % num_queries or per_row * config.norm_lanes < dim:
        raise ResultError(f"{name}: {len(mine)} output beats, expected {expected_beats(job, config)}")
    last = beats["last"][mine].reshape(num_queries, per_row)
    query = beats["query"][mine].reshape(num_queries, per_row)
    values = beats["values"][mine].reshape(num_queries, -1)
    if last[:, :-1].any() or not last[:, -1].all() or (query != query[:, :1]).any():
        raise ResultError(f"{name}: output rows are not runs of {per_row} beats of one query, the last one marked")
    order = query[:, 0]
    if not np.array_equal(np.sort(order), np.arange(num_queries)):
        missing = sorted(set(range(num_queries)) - set(order.tolist()))
        raise ResultError(f"{name}: output of queries {missing[:4]} is missing, others came twice or for no query")
    if values[:, dim:].any():
        raise ResultError(f"{name}: output elements beyond D = {dim} are not zero")
    out = np.empty((num_queries, dim), dtype=np.int64)
    abs_sum, second = np.empty(num_queries, dtype=np.int64), np.empty(num_queries, dtype=bool)
    out[order] = values[:, :dim]
    abs_sum[order] = beats["abs_sum"][mine].reshape(num_queries, per_row)[:, -1]
    second[order] = beats["second"][mine].reshape(num_queries, per_row)[:, -1]
    return out, abs_sum, second


def _probabilities(job: Job, name: str, lines: Unpacker, mine: np.ndarray) -> np.ndarray:
    """Probabilities (q, n) of a job from its lines (row indices ``mine``)."""
    num_queries, num_keys = job.rows, job.num_keys
    lane = np.arange(lines["probs"].shape[1])
    values = lines["probs"][mine]
    a_count, b_count = lines["a_count"][mine][:, None], lines["b_count"][mine][:, None]
    valid_a = (lane < a_count) & (lines["a_drop"][mine] == 0)[:, None]
    valid_b = (lane >= a_count) & (lane < a_count + b_count) & (lines["b_drop"][mine] == 0)[:, None]
    query = np.concatenate([np.broadcast_to(lines[f"{row}_query"][mine][:, None], values.shape) for row in "ab"])
    key = np.concatenate([lines["start"][mine][:, None] + lane, np.broadcast_to(lane - a_count, values.shape)])
    valid = np.concatenate([valid_a, valid_b])
    query, key, values = query[valid], key[valid], np.concatenate([values, values])[valid]
    if len(key) and (key.max() >= num_keys or query.max() >= num_queries):
        raise ResultError(f"{name}: probability of query {query.max()}, key {key.max()}, which the job has not")
    times = np.zeros((num_queries, num_keys), dtype=np.int64)
    np.add.at(times, (query, key), 1)
    expected = job.mask().numpy().astype(np.int64)
    if not np.array_equal(times, expected):
        query_index, key_index = np.argwhere(times != expected)[0]
        raise ResultError(
            f"{name}: query {query_index}, key {key_index}: {times[query_index, key_index]} probabilities, "
            f"expected {expected[query_index, key_index]}"
        )
    probs = np.zeros((num_queries, num_keys), dtype=np.int64)
    probs[query, key] = values
    return probs


def collect(
    jobs: Sequence[Job],
    owners: Sequence[tuple[int, int]],
    codes: Sequence[int],
    out_words: np.ndarray,
    prob_words: np.ndarray,
    config: Config,
    *,
    partial: bool = False,
) -> list[JobResult | None]:
    """Results of all jobs from the items of the ``out`` and ``prob`` streams; None of a refused job (code not 0).

    owners: the job id and head that the job's items carry. partial: a refused one may have left some (it is a layer).
    """
    beats = Unpacker(job_output(config), out_words)
    lines = Unpacker(job_probs(config), prob_words)
    beat_job, line_job = (256 * items["job_id"] + items["head"] for items in (beats, lines))
    known = [256 * job_id + head for job_id, head in owners]
    for kind, owner in (("output", beat_job), ("probability", line_job)):
        for key in np.unique(owner).tolist():
            if key not in known or (codes[known.index(key)] and not partial):
                raise ResultError(f"{kind} items came with job id {key >> 8}, a job that is unknown or refused")
    results: list[JobResult | None] = []
    for index, job in enumerate(jobs):
        if codes[index]:
            results.append(None)
            continue
        name = f"job {index}" + (f" ({job.name})" if job.name else "")
        out, abs_sum, second = _outputs(job, name, beats, np.flatnonzero(beat_job == known[index]), config)
        probs = _probabilities(job, name, lines, np.flatnonzero(line_job == known[index]))
        results.append(
            JobResult(
                out=torch.from_numpy(out),
                abs_sum=torch.from_numpy(abs_sum),
                flat=torch.from_numpy(second),
                probs=torch.from_numpy(probs),
            )
        )
    return results


def collect_selections(
    layers: Sequence[LayerJob], codes: Sequence[int], words: np.ndarray, config: Config
) -> list[Selection | None]:
    """Selections of all layers from the items of the ``survivor`` stream; None of a layer that has none."""
    items = Unpacker(survivor(config), words)
    selections: list[Selection | None] = []
    for index, (layer, code) in enumerate(zip(layers, codes, strict=True)):
        mine = np.flatnonzero(items["job_id"] == index)
        if code or not layer.select:
            if len(mine):
                raise ResultError(f"layer {index} has {len(mine)} survivors, but no selection was to be made")
            selections.append(None)
            continue
        heads = len(layer.head_ids)
        token, last = items["token"][mine], items["last"][mine]
        shape_ok = len(mine) == heads + layer.num_tokens and not token[:heads].any() and token[heads:].all()
        if not shape_ok or last[:-1].any() or not last[-1]:
            raise ResultError(
                f"layer {index}: {len(mine)} survivor items, expected {heads} heads and {layer.num_tokens} tokens"
            )
        ids, importance = items["id"][mine], torch.from_numpy(items["importance"][mine])
        keep = torch.from_numpy(items["keep"][mine].astype(bool))
        selections.append(
            Selection(
                ids=torch.from_numpy(ids[heads:]),
                importance=importance[heads:],
                keep=keep[heads:],
                head_ids=ids[:heads].tolist(),
                head_importance=importance[:heads],
                head_keep=keep[:heads],
            )
        )
    return selections
