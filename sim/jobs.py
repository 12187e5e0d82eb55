"""Jobs as words: descriptors and ids to the accelerator, output, probability and status items back to tensors."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from amaranth.hdl import Shape
from amaranth.lib import data

from golden.job import Job, JobResult
from hdl.config import Config
from hdl.layouts import LIST_DENSE, LIST_NEW, LIST_PREVIOUS, job_descriptor, job_id_entry, job_output, job_probs
from sim.memory import MemoryImage
from sim.packing import pack

__all__ = ["ResultError", "Unpacker", "collect", "expected_beats", "pack_jobs", "to_words", "word_count"]


class ResultError(RuntimeError):
    """The accelerator gave results that no correct one can give: missing, doubled, or for nobody."""


def word_count(width: int) -> int:
    """32-bit words that hold ``width`` bits."""
    return -(-width // 32)


def to_words(value: int, width: int) -> np.ndarray:
    """Little-endian uint32 words of an unsigned integer."""
    return np.frombuffer(value.to_bytes(4 * word_count(width), "little"), dtype="<u4")


# To the accelerator --------------------------------------------------------------------------------------------


def _describe(job: Job, job_id: int, id_list: int, image: MemoryImage) -> dict[str, int]:
    """Descriptor fields of a job, whose planes are placed in the image."""
    key_base = image.place(job.key, job.key_bits, shift=job.key_lsb_bits)
    lsb_base = image.place(job.key, job.key_lsb_bits, signed=False) if job.key_lsb_bits else 0
    return {
        "job_id": job_id,  # the index of the job: results are sorted by it
        "dim": job.dim,
        "num_keys": job.num_keys,
        "num_queries": job.num_queries,
        "num_rows": job.num_rows,
        "causal": int(job.causal),
        "generation": int(job.generation),
        "list": id_list,
        "value_keep": job.value_keep,
        "query_base": image.place(job.query, job.query_bits),
        "key_base": key_base,
        "key_lsb_base": lsb_base,
        "value_base": image.place(job.value, job.value_bits),
        "query_bits": job.query_bits,
        "key_bits": job.key_bits,
        "key_lsb_bits": job.key_lsb_bits,
        "value_bits": job.value_bits,
        "scale": job.scale,
        "shift": job.shift,
        "flat_limit": job.flat_limit,
    }


def pack_jobs(
    jobs: Sequence[Job],
    config: Config,
    image: MemoryImage,
    overrides: Mapping[int, Mapping[str, Any]] | None = None,
) -> tuple[np.ndarray, np.ndarray]:
    """Descriptor words (jobs, words) and id words (ids,) of all jobs, whose job ids are their indices.

    overrides: by job index, descriptor fields to send as they are, right or wrong; ``ids`` there is the id list.
    """
    shape: Any = job_descriptor(config)
    descriptors, entries = [], [np.zeros(0, dtype="<u4")]
    previous: list[int] | None = None
    id_shape: Any = job_id_entry(config)
    for index, job in enumerate(jobs):
        override = dict((overrides or {}).get(index, {}))
        ids = None if job.ids is None else job.ids.tolist()
        id_list = LIST_DENSE if ids is None else LIST_PREVIOUS if ids == previous else LIST_NEW
        fields = _describe(job, index, id_list, image)
        ids = override.pop("ids", ids)
        unknown = sorted(set(override) - (set(fields) - {"job_id"}))
        if unknown:
            raise ValueError(f"override must name ids or one of {', '.join(fields)}; not {', '.join(unknown)}")
        fields.update(override)
        descriptors.append(to_words(pack(shape, fields), shape.size))
        if fields["list"] == LIST_NEW:
            # A refused job's list is forgotten: the next job with the same ids brings them again.
            previous = None if override else ids
            words = np.asarray(ids if ids is not None else [], dtype="<u4") << np.uint32(id_shape["id"].offset)
            words[-1:] |= np.uint32(1 << id_shape["last"].offset)
            entries.append(words)
    return np.stack(descriptors), np.concatenate(entries)


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
    return job.num_queries * -(-job.dim // config.norm_lanes)


def _outputs(job: Job, name: str, beats: Unpacker, mine: np.ndarray, config: Config) -> tuple[np.ndarray, ...]:
    """(out, abs_sum, second) of a job from its output beats (row indices ``mine``)."""
    num_queries, dim = job.num_queries, job.dim
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
    num_queries, num_keys = job.num_queries, job.num_keys
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
    expected = np.ones_like(times)
    if job.causal:
        expected = np.tril(expected, num_keys - num_queries)
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
    jobs: Sequence[Job], codes: Sequence[int], out_words: np.ndarray, prob_words: np.ndarray, config: Config
) -> list[JobResult | None]:
    """Results of all jobs from the items of the ``out`` and ``prob`` streams; None of a refused job (code not 0)."""
    beats = Unpacker(job_output(config), out_words)
    lines = Unpacker(job_probs(config), prob_words)
    beat_job, line_job = beats["job_id"], lines["job_id"]
    for kind, owner in (("output", beat_job), ("probability", line_job)):
        for index in np.unique(owner):
            if index >= len(jobs) or codes[index]:
                raise ResultError(f"{kind} items came with job id {index}, a job that is unknown or refused")
    results: list[JobResult | None] = []
    for index, job in enumerate(jobs):
        if codes[index]:
            results.append(None)
            continue
        name = f"job {index}" + (f" ({job.name})" if job.name else "")
        out, abs_sum, second = _outputs(job, name, beats, np.flatnonzero(beat_job == index), config)
        probs = _probabilities(job, name, lines, np.flatnonzero(line_job == index))
        results.append(
            JobResult(
                out=torch.from_numpy(out),
                abs_sum=torch.from_numpy(abs_sum),
                flat=torch.from_numpy(second),
                probs=torch.from_numpy(probs),
            )
        )
    return results
