"""Items of streams as arrays of uint32 words: how many an item takes, and its fields out of them."""

from __future__ import annotations

import numpy as np
from amaranth.hdl import Shape
from amaranth.lib import data

__all__ = ["Unpacker", "to_words", "word_count"]


def word_count(width: int) -> int:
    """32-bit words that hold ``width`` bits."""
    return -(-width // 32)


def to_words(value: int, width: int) -> np.ndarray:
    """Little-endian uint32 words of an unsigned integer."""
    return np.frombuffer(value.to_bytes(4 * word_count(width), "little"), dtype="<u4")


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
