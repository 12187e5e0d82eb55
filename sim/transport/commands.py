"""Layers as commands in memory, with plans, tables and planes (docs/commands.md), and what they left there."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from amaranth.lib import data
from torch import Tensor

from golden.layers.layer_job import LayerJob
from hdl.spec import formats
from hdl.spec.config import Config
from hdl.spec.formats import HEAD_BYTES, TABLE_HEADER_BYTES, TOKEN_BYTES, Opcode, OutFormat
from hdl.spec.planes import PLANES
from sim.common.packing import pack, unpack
from sim.transport.memory import MemoryImage
from sim.transport.pack import describe_layer, head_rows

__all__ = ["HostMemory", "PlacedLayer", "Wanted", "place_layer", "read_heads", "read_outputs", "read_tokens", "record"]

_PAGE = 4096


def record(shape: Any, fields: Mapping[str, Any]) -> bytes:
    """Bytes of a record of hdl.spec.formats; fields that are not named are 0."""

    def whole(part: Any, given: Any) -> Any:
        if not isinstance(part, data.StructLayout):
            return given
        unknown = sorted(set(given) - set(part.members))
        if unknown:
            raise ValueError(f"fields must be of {', '.join(part.members)}, not {', '.join(unknown)}")
        return {
            name: whole(each, given.get(name, {} if isinstance(each, data.StructLayout) else 0))
            for name, each in part.members.items()
        }

    return pack(shape, whole(shape, fields)).to_bytes(shape.size // 8, "little")


class HostMemory:
    """A piece of the bus's address space, of which parts are taken one after the other.

    base: byte address of its beginning, a multiple of 4 KiB; all bytes are ``fill`` in the beginning.
    """

    def __init__(self, size: int, *, base: int = 0x1_0000, fill: int = 0):
        if base % _PAGE or size % _PAGE:
            raise ValueError(f"base and size must be multiples of {_PAGE}, not {base!r} and {size!r}")
        self.base, self.bytes = base, np.full(size, fill, dtype=np.uint8)
        self._next = base

    @property
    def limit(self) -> int:
        """First address after it."""
        return self.base + len(self.bytes)

    def take(self, size: int, *, align: int = 64) -> int:
        """Address of ``size`` bytes that nobody has; MemoryError if there are too few."""
        address = -(-self._next // align) * align
        if address + size > self.limit:
            raise MemoryError(f"memory of {len(self.bytes)} bytes is full: {size} more are asked for")
        self._next = address + size
        return address

    def write(self, address: int, content: bytes | np.ndarray) -> None:
        values = np.frombuffer(content, dtype=np.uint8) if isinstance(content, bytes) else content.view(np.uint8)
        self._slice(address, values.size)[:] = values.ravel()

    def read(self, address: int, size: int) -> np.ndarray:
        """A copy, uint8."""
        return self._slice(address, size).copy()

    def _slice(self, address: int, size: int) -> np.ndarray:
        first = address - self.base
        if first < 0 or first + size > len(self.bytes):
            raise IndexError(f"{size} bytes at {address:#x} are not in {self.base:#x}…{self.limit:#x}")
        return self.bytes[first : first + size]

    def store(self, content: bytes, *, align: int = 64) -> int:
        """Address of a new copy of the bytes."""
        address = self.take(len(content), align=align)
        self.write(address, content)
        return address

    def place(self, image: MemoryImage) -> list[int]:
        """Put the words of all channels here; addresses of their words 0."""
        channels = image.channels()
        bases = []
        for words in channels:
            base = self.take(max(words.nbytes, 1), align=_PAGE)
            self.write(base, words)
            bases.append(base)
        self._next = -(-self._next // _PAGE) * _PAGE
        return bases


@dataclasses.dataclass(kw_only=True)
class PlacedLayer:
    """A layer's command, and the places of what it uses."""

    command: bytes
    plan: int
    heads: int
    state: int
    out: int
    shape: tuple[int, int, int]
    """(query heads of the model that have room, queries, D) of the outputs"""
    out_format: OutFormat


@dataclasses.dataclass(frozen=True, kw_only=True)
class Wanted:
    """What a layer's command shall leave in memory."""

    out_format: OutFormat = OutFormat.INT32
    exponents: Sequence[int] | None = None
    """of each head of the table; None: 0"""
    write_state: bool = False
    add_token: bool = False
    capacity: int = 0
    """rows of the table of tokens, at least; there is room for one more than the layer has"""
    tag: int = 0


def place_layer(
    layer: LayerJob, config: Config, image: MemoryImage, memory: HostMemory, wanted: Wanted | None = None
) -> PlacedLayer:
    """Write a layer's plan and tables; its planes go to ``image``, which is placed when all layers are there.

    Outputs lie at [query, head, D].
    """
    wanted = wanted or Wanted()
    fields = describe_layer(layer, 0, image)
    job = fields["job"]
    shape = max(layer.head_ids, default=0) + 1, int(job["num_queries"]), int(job["dim"])
    size = _size(wanted.out_format)
    strides = {"out_position_stride": shape[0] * shape[2] * size, "out_head_stride": shape[2] * size}
    heads, state = memory.store(_heads(layer, wanted)), memory.store(_tokens(layer, wanted, config))
    out = memory.take(max(1, shape[0] * shape[1] * shape[2] * size))
    plan = memory.store(_plan(layer, fields, config, wanted, strides | {"heads": heads}))
    places = {"plan": plan, "out": out if layer.jobs else 0, "state": state}
    return PlacedLayer(
        command=_command(layer, fields, config, wanted, places),
        plan=plan,
        heads=heads,
        state=state,
        out=out,
        shape=shape,
        out_format=wanted.out_format,
    )


def _size(out_format: OutFormat) -> int:
    """Bytes of an element of the outputs."""
    return 2 if out_format == OutFormat.BF16 else 4


def _plan(layer: LayerJob, fields: Mapping[str, Any], config: Config, wanted: Wanted, places: dict[str, Any]) -> bytes:
    job, word = fields["job"], config.channel_width // 8
    plan = {
        **{name: job[name] for name in _PLAN},
        "group": max((each.group for each in layer.jobs), default=1),
        "num_kv_heads": len(layer.jobs),
        "out_format": int(wanted.out_format),
        **{name: fields[name] for name in ("pin_first", "pin_last", "decay")},
        **{name: job[f"{name}_base"] * word for name in ("key", "key_lsb", "value")},
        **{f"{name}_stride": fields[f"{name}_stride"] * word for name in PLANES},
    }
    return record(formats.plan(), plan | places)


def _command(
    layer: LayerJob, fields: Mapping[str, Any], config: Config, wanted: Wanted, places: dict[str, Any]
) -> bytes:
    job = fields["job"]
    flags = {
        **{name: job[name] for name in ("causal", "generation", "accumulate", "list")},
        "select": int(layer.select),
        "write_state": int(wanted.write_state),
        "add_token": int(wanted.add_token),
    }
    command = {
        "opcode": int(Opcode.LAYER if layer.jobs else Opcode.SELECT),
        "tag": wanted.tag,
        "flags": flags,
        **{name: job[name] for name in ("num_keys", "num_queries", "num_rows", "value_keep")},
        **{name: fields[name] for name in ("token_keep", "num_heads", "head_keep")},
        "query": job["query_base"] * (config.channel_width // 8),
    }
    return record(formats.layer_command(), command | places)


_PLAN = ("dim", "query_bits", "key_bits", "key_lsb_bits", "value_bits", "skew", "flat_limit")


def _heads(layer: LayerJob, wanted: Wanted) -> bytes:
    rows = []
    for rank, row in enumerate(head_rows(layer)):
        kept = {name: row[name] for name in ("head", "kv_head", "scale", "shift", "weight", "importance")}
        exponent = 0 if wanted.exponents is None else wanted.exponents[rank] & 0xFF
        rows.append(record(formats.head_row(), kept | {"exponent": exponent}))
    return b"".join(rows) or bytes(HEAD_BYTES)


def _tokens(layer: LayerJob, wanted: Wanted, config: Config) -> bytes:
    """A table of tokens; its rows go to the end of the last beat of the core's list."""
    ids = layer.ids.tolist() if layer.ids is not None else []
    capacity = max(wanted.capacity, layer.num_tokens + 1)
    importance = layer.importance.tolist() if layer.importance is not None else [0] * len(ids)
    header = record(formats.token_header(), {"count": len(ids), "capacity": capacity})
    rows = [
        record(formats.token_row(), {"id": id, "importance": value}) for id, value in zip(ids, importance, strict=True)
    ]
    room = -(-capacity // config.lanes) * config.lanes
    return header + b"".join(rows) + bytes(TOKEN_BYTES * (room - len(rows)))


def read_outputs(placed: PlacedLayer, memory: HostMemory) -> Tensor:
    """Bits (head, query, D) of a layer's outputs, int64, as golden.datapath.out_format has them."""
    heads, queries, dim = placed.shape
    size = _size(placed.out_format)
    raw = memory.read(placed.out, heads * queries * dim * size).view(f"<u{size}").astype(np.int64)
    return torch.from_numpy(raw).view(queries, heads, dim).transpose(0, 1)


def _fields(shape: Any, raw: bytes) -> dict[str, int]:
    """Fields of a record."""
    return unpack(shape, int.from_bytes(raw, "little"))


def read_tokens(address: int, memory: HostMemory) -> list[tuple[int, int]]:
    """(id, importance) of each row of a table of tokens."""
    header = memory.read(address, TABLE_HEADER_BYTES).tobytes()
    count = _fields(formats.token_header(), header)["count"]
    raw = memory.read(address + TABLE_HEADER_BYTES, count * TOKEN_BYTES).tobytes()
    rows = [_fields(formats.token_row(), raw[at : at + TOKEN_BYTES]) for at in range(0, len(raw), TOKEN_BYTES)]
    return [(row["id"], row["importance"]) for row in rows]


def read_heads(address: int, count: int, memory: HostMemory) -> list[dict[str, int]]:
    """The first rows of a table of heads."""
    raw = memory.read(address, count * HEAD_BYTES).tobytes()
    return [_fields(formats.head_row(), raw[at : at + HEAD_BYTES]) for at in range(0, len(raw), HEAD_BYTES)]
