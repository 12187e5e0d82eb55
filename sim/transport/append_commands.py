"""Rows to append as commands in memory (APPEND of docs/commands.md), and the integers that they become."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from golden.datapath.append import AppendConstants, appended
from hdl.spec import formats
from hdl.spec.formats import ALIGNMENT, CONSTANT_BYTES, ROW_ALIGNMENT, Opcode
from sim.transport.commands import record
from sim.transport.host_memory import HostMemory

__all__ = ["AppendRows", "PlacedAppend", "append_words", "place_append"]

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
    command = record(formats.append_command(), fields)
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
