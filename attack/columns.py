"""Items of streams from columns of fields: what :func:`sim.common.packing.pack` does, for many items at once."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from amaranth.hdl import Shape
from amaranth.lib import data

from sim.transport.words import word_count

__all__ = ["columns_of", "pack_columns"]


def _leaves(layout: Any, name: str = "", offset: int = 0):
    """(dotted name, first bit, width, length) of each plain field, and of each array of plain items."""
    for key, field in layout:
        path, start = f"{name}{key}", offset + field.offset
        if isinstance(field.shape, data.StructLayout):
            yield from _leaves(field.shape, f"{path}.", start)
        elif isinstance(field.shape, data.ArrayLayout):
            yield path, start, Shape.cast(field.shape.elem_shape).width, field.shape.length
        else:
            yield path, start, Shape.cast(field.shape).width, 0


def columns_of(layout: Any, items: Sequence[Mapping[str, Any]]) -> dict[str, np.ndarray]:
    """Columns, by dotted name, of items that are dicts as the layout is."""

    def column(path: str) -> list[Any]:
        values: list[Any] = list(items)
        for key in path.split("."):
            values = [value[key] for value in values]
        return values

    return {path: np.array(column(path), dtype=np.int64) for path, *_ in _leaves(layout)}


def pack_columns(layout: Any, columns: Mapping[str, np.ndarray], count: int) -> np.ndarray:
    """uint32 (count, words) of unsigned fields below 64 bits: (count,) each, (count, length) of an array."""
    words = np.zeros((count, word_count(layout.size) + 2), dtype=np.uint64)
    for path, start, width, length in _leaves(layout):
        values = columns[path].astype(np.uint64).reshape(count, length or 1)
        if (values >> np.uint64(width)).any():
            raise ValueError(f"{path} must be below 2**{width}, not {int(values.max())}")
        for place in range(length or 1):
            word, shift = divmod(start + place * width, 32)
            value, moved = values[:, place], np.uint64(shift)
            words[:, word] |= value << moved & np.uint64(0xFFFFFFFF)
            # Two shifts, for a shift by 32 + 32 bits is none.
            high = value >> np.uint64(31) >> np.uint64(1) << moved if not shift else value >> np.uint64(32 - shift)
            words[:, word + 1] |= high & np.uint64(0xFFFFFFFF)
            words[:, word + 2] |= high >> np.uint64(32)
    return np.ascontiguousarray(words[:, : word_count(layout.size)].astype("<u4"))
