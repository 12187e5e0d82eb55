"""Conversion between Python values and the bits of a payload layout, with range checks.

A value of a struct layout is a dict with every field, of an array layout a full list, of a plain shape an int.
"""

from __future__ import annotations

from typing import Any

from amaranth.hdl import Shape, ShapeLike
from amaranth.lib import data

__all__ = ["pack", "unpack"]


def pack(shape: ShapeLike, value: Any) -> int:
    """Bits of ``value`` as an unsigned integer; ValueError if a field is missing, unknown or out of range."""
    if isinstance(shape, data.StructLayout):
        fields = dict(shape)
        if value.keys() != fields.keys():
            raise ValueError(f"fields must be {sorted(fields)}, not {sorted(value)}")
        return sum(pack(fields[name].shape, item) << fields[name].offset for name, item in value.items())
    if isinstance(shape, data.ArrayLayout):
        if len(value) != shape.length:
            raise ValueError(f"array must have {shape.length} items, not {len(value)}")
        width = Shape.cast(shape.elem_shape).width
        return sum(pack(shape.elem_shape, item) << (i * width) for i, item in enumerate(value))
    plain = Shape.cast(shape)
    value = int(value)
    low, high = (-(1 << plain.width >> 1), (1 << plain.width >> 1) - 1) if plain.signed else (0, (1 << plain.width) - 1)
    if not low <= value <= high:
        raise ValueError(f"value must be from {low} to {high} for {plain!r}, not {value}")
    return value & ((1 << plain.width) - 1)


def unpack(shape: ShapeLike, bits: int) -> Any:
    """Inverse of :func:`pack`."""
    if isinstance(shape, data.StructLayout):
        return {name: unpack(field.shape, bits >> field.offset) for name, field in shape}
    if isinstance(shape, data.ArrayLayout):
        width = Shape.cast(shape.elem_shape).width
        return [unpack(shape.elem_shape, bits >> (i * width)) for i in range(shape.length)]
    plain = Shape.cast(shape)
    bits &= (1 << plain.width) - 1
    return bits - (1 << plain.width) if plain.signed and bits >> (plain.width - 1) else bits
