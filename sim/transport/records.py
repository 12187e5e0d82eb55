"""Records of hdl.spec.formats as bytes: each layout is taken apart once, so that packing one takes microseconds."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from amaranth.hdl import Shape
from amaranth.lib import data

from hdl.spec import formats

__all__ = ["APPEND", "COMMAND", "COMPLETION", "HEAD", "PLAN", "TOKEN_HEADER", "RecordFormat"]


class RecordFormat:
    """Bytes, little endian, of the fields of a struct layout; a field that is a struct has a mapping of its own."""

    def __init__(self, layout: data.StructLayout):
        self.bytes = layout.size // 8
        self._fields = _places(layout)

    def pack(self, fields: Mapping[str, Any]) -> bytes:
        """Fields that are not named are 0; ValueError for one that is unknown or out of range."""
        return _packed(self._fields, fields).to_bytes(self.bytes, "little")

    def unpack(self, raw: bytes) -> dict[str, Any]:
        """All fields."""
        return _unpacked(self._fields, int.from_bytes(raw, "little"))


def _places(layout: data.StructLayout) -> dict[str, Any]:
    """By name (bit, least, largest, bits), or of a struct (bit, such places)."""
    found: dict[str, Any] = {}
    for name, field in layout:
        if isinstance(field.shape, data.StructLayout):
            found[name] = field.offset, _places(field.shape)
            continue
        shape = Shape.cast(field.shape)
        low = -(1 << shape.width >> 1) if shape.signed else 0
        found[name] = field.offset, low, low + (1 << shape.width) - 1, shape.width
    return found


def _packed(places: dict[str, Any], fields: Mapping[str, Any]) -> int:
    word = 0
    for name, value in fields.items():
        if name not in places:
            raise ValueError(f"fields must be of {', '.join(places)}, not {name}")
        place = places[name]
        if len(place) == 2:
            word |= _packed(place[1], value) << place[0]
            continue
        bit, low, high, width = place
        if not low <= value <= high:
            raise ValueError(f"{name} must be from {low} to {high}, not {value!r}")
        word |= (int(value) & ((1 << width) - 1)) << bit
    return word


def _unpacked(places: dict[str, Any], word: int) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for name, place in places.items():
        if len(place) == 2:
            found[name] = _unpacked(place[1], word >> place[0])
            continue
        bit, _, high, width = place
        value = word >> bit & ((1 << width) - 1)
        found[name] = value - (1 << width) if value > high else value
    return found


COMMAND = RecordFormat(formats.layer_command())
APPEND = RecordFormat(formats.append_command())
PLAN = RecordFormat(formats.plan())
HEAD = RecordFormat(formats.head_row())
TOKEN_HEADER = RecordFormat(formats.token_header())
COMPLETION = RecordFormat(formats.completion())
