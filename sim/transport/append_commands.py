"""Rows to append as commands in memory (APPEND of docs/commands.md), and the integers that they become."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor

from golden.datapath.append import AppendConstants, appended
from golden.layers.job import Job
from golden.layers.layer_job import LayerJob
from hdl.spec.config import Config
from hdl.spec.formats import ALIGNMENT, APPEND_SHIFT_BIAS, CONSTANT_BYTES, ROW_ALIGNMENT, Opcode
from sim.transport.commands import PlacedLayer
from sim.transport.host_memory import HostMemory
from sim.transport.plane_store import StoredLayer
from sim.transport.records import APPEND, PLAN

__all__ = ["AppendRows", "PlacedAppend", "append_words", "place_append", "place_unit_constants", "place_whole_rows"]

_ELEMENT_BYTES = 2
_CHOICES = (("key",), ("value",), ("key", "value"), ("query",))


def append_words(rows: Tensor, *, half: bool = False) -> Tensor:
    """Bit patterns 0…65535, int64, of numbers rounded to bf16, or fp16 if ``half``."""
    return rows.to(torch.float16 if half else torch.bfloat16).view(torch.int16).long() & 0xFFFF


@dataclasses.dataclass(frozen=True, kw_only=True)
class AppendRows:
    """New rows of one tensor."""

    words: Tensor
    """bit patterns (heads, n, D); of Q the heads are query heads"""
    constants: AppendConstants
    """(K/V heads, D)"""

    def integers(self, bits: int, *, half: bool = False) -> tuple[Tensor, int]:
        """Rows (K/V heads, n, D) of the planes, of Q (K/V heads, group · n, D); elements of them that saturated."""
        heads, dim = self.constants.mantissa.shape
        found, saturated = appended(self.words.reshape(heads, -1, dim), self.constants, bits, half=half)
        return found, int(saturated.sum())


@dataclasses.dataclass(frozen=True, kw_only=True)
class PlacedAppend:
    """The command, and the places of what it reads."""

    command: bytes
    constants: int
    rows: int
    value_rows: int


def place_append(
    rows: Mapping[str, AppendRows],
    memory: HostMemory,
    *,
    plan: int,
    query: int = 0,
    first_row: int = 0,
    half: bool = False,
    paired: bool = False,
    tag: int = 0,
    irq: bool = False,
) -> PlacedAppend:
    """Write rows of ``key``, ``value``, both, or ``query``, with their constants, for the planes of a plan.

    Rows lie at [row, head, D]. plan: address of the plan; query: offset of the Q plane, in bytes.
    """
    names, heads = _names(rows), len(next(iter(rows.values())).constants.mantissa)
    queries, count, dim = next(iter(rows.values())).words.shape
    tables = b"".join(_constant_bytes(rows[name].constants) for name in names)
    places = {name: memory.store(_row_bytes(rows[name].words), align=ROW_ALIGNMENT) for name in names}
    fields: dict[str, Any] = {
        "opcode": int(Opcode.APPEND),
        "irq": int(irq),
        "tag": tag,
        "flags": {**dict.fromkeys(names, 1), "half": int(half), "paired": int(paired)},
        "first_row": first_row,
        "num_rows": count,
        "num_heads": heads,
        "position_stride": queries * dim * _ELEMENT_BYTES,
        "head_stride": dim * _ELEMENT_BYTES,
        "constants": memory.store(tables, align=ALIGNMENT),
        "plan": plan,
        "query": query,
        "rows": places.get("key", places.get("query", 0)),
        "value_rows": places.get("value", 0),
    }
    command = APPEND.pack(fields)
    return PlacedAppend(command=command, **{name: fields[name] for name in ("constants", "rows", "value_rows")})


def _names(rows: Mapping[str, AppendRows]) -> tuple[str, ...]:
    """The tensors of which rows are, in the order of their constants; ValueError if they do not go together."""
    names = tuple(sorted(rows))
    if names not in _CHOICES:
        raise ValueError(f"rows must be of key, value, key and value, or query, not {', '.join(names) or 'nothing'}")
    shapes = {name: (tuple(each.words.shape), tuple(each.constants.mantissa.shape)) for name, each in rows.items()}
    (heads, _, dim), constants = shapes[names[0]]
    for name in names[1:]:
        if shapes[name] != shapes[names[0]]:
            raise ValueError(f"rows of {name} and their constants must be as those of key, not {shapes[name]}")
    owners = constants[0] if names == ("query",) else heads
    if constants != (owners, dim) or heads % owners:
        raise ValueError(f"constants of {names[0]} must be of shape {(heads, dim)}, not {constants}")
    return names


def _constant_bytes(constants: AppendConstants) -> bytes:
    """Head after head; mantissa, shift and offset of each channel."""
    words = constants.mantissa | constants.shift << 10 | (constants.offset & 0xFFFF) << 16
    raw = words.numpy().astype("<u4").tobytes()
    assert len(raw) == words.numel() * CONSTANT_BYTES
    return raw


def _row_bytes(words: Tensor) -> bytes:
    """(heads, n, D) at [row, head, D]."""
    return words.transpose(0, 1).contiguous().numpy().astype("<u2").tobytes()


# Integers ------------------------------------------------------------------------------------------------------


def place_unit_constants(config: Config, memory: HostMemory) -> int:
    """Address of constants for :func:`place_whole_rows`: x is stored as x, in any head of K and V, or of Q."""
    words = np.full(2 * config.max_heads * max(config.dims), _UNIT_SHIFT << 10, dtype="<u4")
    return memory.store(words.tobytes(), align=ALIGNMENT)


def place_whole_rows(
    layer: LayerJob, stored: StoredLayer, placed: PlacedLayer, config: Config, memory: HostMemory, *, constants: int
) -> list[bytes]:
    """Commands that append the rows of a layer that are not in its planes yet, integers already.

    They come as fp16, which has all integers of 12 bits, with steps of 1, so they are stored as they are.
    constants: of :func:`place_unit_constants`.
    """
    commands = []
    for first, jobs in _neighbours(layer) if stored.rows or stored.query else ():
        fields: dict[str, Any] = {"opcode": int(Opcode.APPEND), "constants": constants, "num_heads": len(jobs)}
        fields["plan"] = _plan_from(first, jobs[0].group, placed, config, memory)
        if stored.rows:
            part = slice(stored.rows.start, stored.rows.stop)
            key, value = ([getattr(job, name)[part].numpy() for job in jobs] for name in ("key", "value"))
            rows: dict[str, Any] = {
                "rows": _half(np.stack(key, 1), memory),
                "value_rows": _half(np.stack(value, 1), memory),
            }
            rows |= {"first_row": stored.rows.start, "num_rows": len(stored.rows), "flags": _KEY_AND_VALUE}
            commands.append(APPEND.pack(fields | rows | _strides(len(jobs), jobs[0].dim)))
        if stored.query:
            heads = np.concatenate([job.query.numpy() for job in jobs])
            query = placed.query + first * placed.says["query_stride"]
            rows = {"rows": _half(heads, memory), "query": query, "num_rows": 1, "flags": _QUERY}
            commands.append(APPEND.pack(fields | rows | _strides(len(heads), jobs[0].dim)))
    return commands


_UNIT_SHIFT = APPEND_SHIFT_BIAS + 10
"""Of a constant with mantissa 0 whose step is 1."""
_KEY_AND_VALUE, _QUERY = {"key": 1, "value": 1, "half": 1}, {"query": 1, "half": 1}


def _neighbours(layer: LayerJob) -> list[tuple[int, list[Job]]]:
    """(first K/V head, jobs) of runs of adjacent K/V heads with as many query heads each."""
    runs: list[tuple[int, list[Job]]] = []
    for number, job in zip(layer.kv_heads, layer.jobs, strict=True):
        if runs and runs[-1][0] + len(runs[-1][1]) == number and runs[-1][1][0].group == job.group:
            runs[-1][1].append(job)
        else:
            runs.append((number, [job]))
    return runs


def _plan_from(first: int, group: int, placed: PlacedLayer, config: Config, memory: HostMemory) -> int:
    """Address of the layer's plan, or of one whose K/V head 0 is the layer's ``first``."""
    says = placed.says
    if first == 0 and group == says["group"]:
        return placed.plan
    moved = {name: says[name] + first * says[f"{name}_stride"] for name in ("key", "key_lsb", "value")}
    skew = (says["skew"] + first) % config.num_channels
    return memory.store(PLAN.pack(says | moved | {"skew": skew, "group": group}))


def _strides(heads: int, dim: int) -> dict[str, int]:
    """Of rows at [row, head, D]."""
    return {"position_stride": heads * dim * _ELEMENT_BYTES, "head_stride": dim * _ELEMENT_BYTES}


def _half(rows: np.ndarray, memory: HostMemory) -> int:
    """Address of integers as fp16."""
    return memory.store(rows.astype("<f2").tobytes(), align=ROW_ALIGNMENT)
