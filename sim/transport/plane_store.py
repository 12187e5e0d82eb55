"""Planes of K, V and Q that stay in the accelerator's memory from run to run, so that only new rows are stored."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch

from golden.layers.job import Job
from golden.layers.layer_job import LayerJob
from hdl.spec.config import Config
from hdl.spec.numerics import LSB_BITS
from sim.transport.host_memory import HostMemory
from sim.transport.memory import ImageError, pack_rows

__all__ = ["APPENDED_ROWS", "PlaneStore", "StoreFull", "StoredLayer"]

APPENDED_ROWS = 8
"""Most new rows of K and V that the accelerator stores itself: more are packed faster by the host than simulated."""


_Rows = list[list[np.ndarray]]
"""Of K and of V, by K/V head, (n, D)."""


class StoreFull(Exception):
    """No room for a plane."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class StoredLayer:
    """Where the planes of a layer lie, and what has yet to be appended to them before it runs."""

    planes: dict[str, tuple[int, int]]
    """(base, stride) in words, by name, as of :func:`sim.transport.pack.describe_layer`"""
    rows: range
    """of K and V, to be appended"""
    query: bool
    """Q is to be appended, too; else it is in its place"""


@dataclasses.dataclass(kw_only=True)
class _Slot:
    """Planes of K, V and a query of the K/V heads of a layer, with room for more rows."""

    planes: dict[str, tuple[int, int]]
    content: np.ndarray
    """(2, K/V heads, capacity, D) int16: K and V as they are in memory, or will be once what was asked for is done"""
    rows: int
    queries: int
    """rows of Q for which there is room"""


class PlaneStore:
    """Planes in the memory channels at ``origins``, of ``words`` words each.

    Before each run :meth:`begin`, then :meth:`place` for its layers in order. A layer finds the planes that a run
    before it has left if they have its name, K/V heads and widths, and its row 0. Rows that differ from what lies there
    are written, whatever the caller may think of them.
    """

    def __init__(self, config: Config, memory: HostMemory, origins: Sequence[int], words: int):
        self.config, self.memory, self.origins, self.words = config, memory, origins, words
        self._slots: dict[tuple[Any, ...], _Slot] = {}
        self._next = 0
        self.begin()

    def begin(self) -> None:
        """A run begins: planes of queries that the last one needed are free."""
        self._end = self.words
        self._used: dict[tuple[Any, ...], int] = {}

    def place(self, layer: LayerJob) -> StoredLayer:
        """Find or make the planes of a layer; :class:`StoreFull` if there is no room, ImageError for wrong elements."""
        jobs = layer.jobs
        if not jobs:
            return StoredLayer(planes={}, rows=range(0), query=False)
        rows = [[getattr(job, name).numpy() for job in jobs] for name in ("key", "value")]
        _check(layer)
        slot, known = self._slot(layer, rows)
        first, count = _differs(slot, rows), len(rows[0][0])
        new = np.array([[each[first:] for each in part] for part in rows]) if first < count else None
        appends = known and first >= slot.rows and count - first <= APPENDED_ROWS
        if new is not None:
            _check_range(new[0], jobs[0].key_bits + jobs[0].key_lsb_bits)
            _check_range(new[1], jobs[0].value_bits)
            if not appends:
                self._write(slot, layer, new, first)
            slot.content[:, :, first:count] = new
        slot.rows = count
        query = known and jobs[0].num_queries == 1 and max(job.rows for job in jobs) <= slot.queries
        planes = slot.planes if query else slot.planes | {"query": self._queries(layer)}
        return StoredLayer(planes=planes, rows=range(first, count) if appends else range(0), query=query)

    # Slots -----------------------------------------------------------------------------------------------------

    def _slot(self, layer: LayerJob, rows: _Rows) -> tuple[_Slot, bool]:
        """(the layer's slot, whether it is of a run before)."""
        job, count = layer.jobs[0], len(rows[0][0])
        widths = job.query_bits, job.key_bits, job.key_lsb_bits, job.value_bits
        first = b"".join(each[0].astype(np.int16).tobytes() for part in rows for each in part)
        name = layer.name, tuple(layer.kv_heads), job.dim, job.skew, widths, first
        used = self._used.get(name, 0)
        last = self._slots.get((name, used - 1)) if used else None
        if last is not None and last.rows == count and _differs(last, rows) == count:
            return last, False  # the next part of the same queries
        self._used[name] = used + 1
        slot = self._slots.get((name, used))
        if slot is not None and count <= slot.content.shape[2]:
            return slot, True
        slot = self._slots[name, used] = self._new_slot(layer, count)
        return slot, False

    def _new_slot(self, layer: LayerJob, count: int) -> _Slot:
        job, last = layer.jobs[0], layer.kv_heads[-1]
        capacity = min(self.config.max_tokens, count + max(count // 2, APPENDED_ROWS))
        capacity = max(capacity, count)
        queries = max(each.group for each in layer.jobs)
        planes = {}
        for name, (_, width, _, _) in _parts(job).items():
            stride = self.config.plane_words(queries if name == "query" else capacity, job.dim, width)
            planes[name] = self._take((last + 1) * stride), stride
        content = np.zeros((2, len(layer.jobs), capacity, job.dim), dtype=np.int16)
        return _Slot(planes=planes, content=content, rows=0, queries=queries)

    def _take(self, words: int) -> int:
        if self._next + words > self._end:
            raise StoreFull
        self._next += words
        return self._next - words

    # Writing ---------------------------------------------------------------------------------------------------

    def _queries(self, layer: LayerJob) -> tuple[int, int]:
        """(base, stride) of Q planes that live for one run."""
        job = layer.jobs[0]
        stride = self.config.plane_words(max(each.rows for each in layer.jobs), job.dim, job.query_bits)
        size = (layer.kv_heads[-1] + 1) * stride
        if self._end - size < self._next:
            raise StoreFull
        self._end -= size
        for number, each in zip(layer.kv_heads, layer.jobs, strict=True):
            self._rows(self._end + number * stride, number + job.skew, each.query.numpy(), 0, job.query_bits)
        return self._end, stride

    def _write(self, slot: _Slot, layer: LayerJob, new: np.ndarray, first: int) -> None:
        """Rows of K and V from ``first`` on, (2, K/V heads, n, D), packed by the host."""
        parts = _parts(layer.jobs[0])
        for name, (base, stride) in slot.planes.items():
            if name == "query":
                continue
            tensor, width, shift, mask = parts[name]
            for place, number in enumerate(layer.kv_heads):
                rows = new[tensor, place] >> shift
                rows = rows & mask if mask else rows
                self._rows(base + number * stride, number + layer.jobs[0].skew, rows, first, width)

    def _rows(self, base: int, skew: int, rows: np.ndarray, first: int, width: int) -> None:
        """Rows from ``first`` on of a plane at word ``base``, whose row 0 lies in channel ``skew`` mod C."""
        channels, word = self.config.num_channels, self.config.channel_width // 8
        packed = pack_rows(torch.from_numpy(np.ascontiguousarray(rows)), width)
        size = packed.shape[1] * 4 if len(packed) else 0
        for offset in range(min(channels, len(packed))):
            row = first + offset
            address = self.origins[(row + skew) % channels] + base * word + row // channels * size
            self.memory.write(address, np.ascontiguousarray(packed[offset::channels]))


def _parts(job: Job) -> dict[str, tuple[int, int, int, int]]:
    """By the name of a plane (0 for K, 1 for V and Q, bits, right shift, mask; 0: none)."""
    parts = {
        "query": (1, job.query_bits, 0, 0),
        "key": (0, job.key_bits, job.key_lsb_bits, 0),
        "value": (1, job.value_bits, 0, 0),
    }
    if job.key_lsb_bits:
        parts["key_lsb"] = (0, job.key_lsb_bits, 0, (1 << LSB_BITS) - 1)
    return parts


def _differs(slot: _Slot, rows: _Rows) -> int:
    """The first row that is not in memory as it is here; as many as there are: none."""
    both = min(len(rows[0][0]), slot.rows)
    for part, kept in zip(rows, slot.content, strict=True):
        for each, mine in zip(part, kept, strict=True):
            equal = each[:both] == mine[:both]
            if not equal.all():
                both = int(np.argmin(equal.all(axis=1)))
    return both


def _check(layer: LayerJob) -> None:
    """ImageError unless the jobs' planes are of one shape, and Q fits its own."""
    if len({(job.num_rows, job.dim) for job in layer.jobs}) > 1:
        raise ImageError(f"{layer.name}: rows of K and V must be the same number in all jobs of a layer")
    for job in layer.jobs:
        _check_range(job.query.numpy(), job.query_bits)


def _check_range(values: np.ndarray, bits: int) -> None:
    if not values.size:
        return
    low, high, least, most = -(1 << bits - 1), (1 << bits - 1) - 1, int(values.min()), int(values.max())
    if least < low or most > high:
        raise ImageError(f"elements must be from {low} to {high} ({bits} bits), not {least}…{most}")
