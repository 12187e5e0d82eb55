"""Layers as commands in memory, with plans, tables and planes (docs/commands.md), and what they left there."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from golden.layers.layer_job import LayerJob
from hdl.spec.config import Config
from hdl.spec.formats import (
    HEAD_BYTES,
    PROBABILITY_BYTES,
    ROW_ALIGNMENT,
    TABLE_HEADER_BYTES,
    TOKEN_BYTES,
    Opcode,
    OutFormat,
)
from hdl.spec.planes import PLANES
from sim.transport.host_memory import HostMemory
from sim.transport.memory import MemoryImage
from sim.transport.pack import describe_layer, head_columns
from sim.transport.records import COMMAND, PLAN, TOKEN_HEADER, RecordFormat

__all__ = [
    "HEAD_ROW",
    "PlacedLayer",
    "Wanted",
    "place_layer",
    "plan_of_job",
    "read_heads",
    "read_output_words",
    "read_outputs",
    "read_probabilities",
    "read_token_rows",
    "read_tokens",
    "record",
    "token_table",
]


def record(shape: Any, fields: Mapping[str, Any]) -> bytes:
    """Bytes of a record of hdl.spec.formats; fields that are not named are 0."""
    return RecordFormat(shape).pack(fields)


@dataclasses.dataclass(kw_only=True)
class PlacedLayer:
    """The command of a layer, or of a job, and the places of what it uses."""

    command: bytes
    plan: int
    heads: int
    state: int
    out: int
    shape: tuple[int, int, int]
    """(query heads of the model that have room, queries, D) of the outputs"""
    out_format: OutFormat
    says: dict[str, Any]
    """fields of the plan"""
    query: int
    """offset of the Q plane of K/V head 0, in bytes"""
    probabilities: int = 0
    """their address; 0: they are not asked for"""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Wanted:
    """What a layer's command shall leave in memory."""

    out_format: OutFormat = OutFormat.INT32
    exponents: Sequence[int] | None = None
    """of each head of the table; None: 0"""
    write_state: bool = False
    add_token: bool = False
    probabilities: bool = False
    zeros_of: tuple[int, int] | None = None
    """(K/V heads, query heads of each) of the model: outputs of those that the layer lacks are 0; None: not written"""
    capacity: int = 0
    """rows of the table of tokens, at least; there is room for one more than the layer has"""
    tag: int = 0
    irq: bool = False
    """an interrupt at once when it is answered"""


def place_layer(
    layer: LayerJob,
    config: Config,
    image: MemoryImage,
    memory: HostMemory,
    wanted: Wanted | None = None,
    *,
    planes: Mapping[str, tuple[int, int]] | None = None,
) -> PlacedLayer:
    """Write a layer's plan and tables; its planes go to ``image``, which is placed when all layers are there.

    planes: those that are in memory already, as of :func:`sim.transport.pack.describe_layer`.
    Outputs lie at [query, head, D], probabilities at [query, head, key], rows of them in units of ROW_ALIGNMENT.
    """
    wanted = wanted or Wanted()
    fields = describe_layer(layer, 0, image, planes)
    job = fields["job"]
    model = wanted.zeros_of[0] * wanted.zeros_of[1] if wanted.zeros_of else 0
    shape = max(model, max(layer.head_ids, default=0) + 1), int(job["num_queries"]), int(job["dim"])
    size = _size(wanted.out_format)
    strides = {"out_position_stride": shape[0] * shape[2] * size, "out_head_stride": shape[2] * size}
    heads, state = memory.store(_heads(layer, wanted)), memory.store(_tokens(layer, wanted, config))
    out = memory.take(max(1, shape[0] * shape[1] * shape[2] * size))
    if wanted.probabilities:
        strides |= _place_probabilities(shape, _probability_stride(job["num_keys"]), memory)
    says = _plan(layer, fields, config, wanted, strides | {"heads": heads})
    plan, query = memory.store(PLAN.pack(says)), job["query_base"] * (config.channel_width // 8)
    places = {"plan": plan, "out": out if layer.jobs else 0, "state": state, "query": query}
    return PlacedLayer(
        command=_command(layer, fields, wanted, places),
        plan=plan,
        heads=heads,
        state=state,
        out=out,
        shape=shape,
        out_format=wanted.out_format,
        says=says,
        query=query,
        probabilities=strides.get("probabilities", 0),
    )


def _place_probabilities(shape: tuple[int, int, int], row: int, memory: HostMemory) -> dict[str, int]:
    """Fields of a plan: where rows of so many bytes lie."""
    places = {"probability_query_stride": shape[0] * row, "probability_head_stride": row}
    return places | {"probabilities": memory.take(shape[0] * shape[1] * row)}


def _probability_stride(num_keys: int) -> int:
    """Bytes from row to row of the probabilities."""
    return -(-num_keys * PROBABILITY_BYTES // ROW_ALIGNMENT) * ROW_ALIGNMENT


def _size(out_format: OutFormat) -> int:
    """Bytes of an element of the outputs."""
    return 2 if out_format == OutFormat.BF16 else 4


def _plan(
    layer: LayerJob, fields: Mapping[str, Any], config: Config, wanted: Wanted, places: dict[str, Any]
) -> dict[str, Any]:
    job, word = fields["job"], config.channel_width // 8
    num_kv_heads, group = wanted.zeros_of or (len(layer.jobs), max((each.group for each in layer.jobs), default=1))
    plan = {
        **plan_of_job(job, config),
        "group": group,
        "num_kv_heads": num_kv_heads,
        "out_format": int(wanted.out_format),
        **{name: fields[name] for name in ("pin_first", "pin_last", "decay")},
        **{f"{name}_stride": fields[f"{name}_stride"] * word for name in PLANES},
    }
    return plan | places


def _command(layer: LayerJob, fields: Mapping[str, Any], wanted: Wanted, places: dict[str, Any]) -> bytes:
    job = fields["job"]
    flags = {
        **{name: job[name] for name in ("causal", "generation", "accumulate", "list")},
        "select": int(layer.select),
        "write_state": int(wanted.write_state),
        "add_token": int(wanted.add_token),
        "probabilities": int(wanted.probabilities),
        "zero_pruned": int(wanted.zeros_of is not None),
    }
    command = {
        "opcode": int(Opcode.LAYER if layer.jobs else Opcode.SELECT),
        "tag": wanted.tag,
        "irq": int(wanted.irq),
        "flags": flags,
        **{name: job[name] for name in ("num_keys", "num_queries", "num_rows", "value_keep")},
        **{name: fields[name] for name in ("token_keep", "num_heads", "head_keep")},
    }
    return COMMAND.pack(command | places)


_WIDTHS = ("dim", "query_bits", "key_bits", "key_lsb_bits", "value_bits", "skew", "flat_limit")


def plan_of_job(job: Mapping[str, int], config: Config) -> dict[str, int]:
    """Fields of a plan that are those of the core's descriptor; places of planes in bytes."""
    bases = {name: job[f"{name}_base"] * (config.channel_width // 8) for name in ("key", "key_lsb", "value")}
    return {name: job[name] for name in _WIDTHS} | bases


HEAD_ROW = np.dtype(
    [
        *((name, "<u2") for name in ("head", "kv_head", "scale")),
        *((name, "u1") for name in ("shift", "exponent")),
        *((name, "<u2") for name in ("weight", "reserved1")),
        ("importance", "<u4"),
    ]
)
"""``formats.head_row`` as numpy has it."""


def _heads(layer: LayerJob, wanted: Wanted) -> bytes:
    rows = np.zeros(max(1, len(layer.head_ids)), dtype=HEAD_ROW)
    for name, values in head_columns(layer).items():
        rows[name][: len(values)] = values
    if wanted.exponents is not None:
        rows["exponent"][: len(wanted.exponents)] = [exponent & 0xFF for exponent in wanted.exponents]
    return rows.tobytes()


def token_table(
    ids: Sequence[int] | np.ndarray, importance: Sequence[int] | np.ndarray, config: Config, *, capacity: int = 0
) -> bytes:
    """A table of tokens; its rows go to the end of the last beat of the core's list."""
    capacity = max(capacity, len(ids))
    rows = np.zeros((-(-capacity // config.lanes) * config.lanes, TOKEN_BYTES // 4), dtype="<u4")
    rows[: len(ids), 0], rows[: len(ids), 1] = ids, importance
    return TOKEN_HEADER.pack({"count": len(ids), "capacity": capacity}) + rows.tobytes()


def _tokens(layer: LayerJob, wanted: Wanted, config: Config) -> bytes:
    ids = layer.ids.numpy() if layer.ids is not None else ()
    importance = layer.importance.numpy() if layer.importance is not None else np.zeros(len(ids))
    return token_table(ids, importance, config, capacity=max(wanted.capacity, layer.num_tokens + 1))


def read_output_words(placed: PlacedLayer, memory: HostMemory) -> np.ndarray:
    """(head, query, D) unsigned: what lies in the places of a layer's outputs."""
    heads, queries, dim = placed.shape
    size = _size(placed.out_format)
    raw = memory.read(placed.out, heads * queries * dim * size).view(f"<u{size}")
    return raw.reshape(queries, heads, dim).swapaxes(0, 1)


def read_outputs(placed: PlacedLayer, memory: HostMemory) -> Tensor:
    """Bits (head, query, D) of a layer's outputs, int64, as golden.datapath.out_format has them."""
    return torch.from_numpy(read_output_words(placed, memory).astype(np.int64))


def read_probabilities(placed: PlacedLayer, num_keys: int, memory: HostMemory) -> Tensor:
    """(head, query, n) int64 in units of 2**-16, as :func:`golden.datapath.out_format.stored_probabilities` has them.

    What lies there of masked keys, and of heads that the layer does not have, is what lay there before.
    """
    heads, queries, _ = placed.shape
    row = _probability_stride(num_keys)
    raw = memory.read(placed.probabilities, heads * queries * row).view("<u2").astype(np.int64)
    return torch.from_numpy(raw).view(queries, heads, -1)[..., :num_keys].transpose(0, 1)


def read_token_rows(address: int, memory: HostMemory) -> np.ndarray:
    """(count, 2) uint32: id and importance of each row of a table of tokens."""
    count = TOKEN_HEADER.unpack(memory.read(address, TABLE_HEADER_BYTES).tobytes())["count"]
    return memory.read(address + TABLE_HEADER_BYTES, count * TOKEN_BYTES).view("<u4").reshape(count, TOKEN_BYTES // 4)


def read_tokens(address: int, memory: HostMemory) -> list[tuple[int, int]]:
    """(id, importance) of each row of a table of tokens."""
    return [(id, importance) for id, importance in read_token_rows(address, memory).tolist()]


def read_heads(address: int, count: int, memory: HostMemory) -> list[dict[str, int]]:
    """The first rows of a table of heads."""
    rows = memory.read(address, count * HEAD_BYTES).view(HEAD_ROW)
    return [dict(zip(HEAD_ROW.names or (), row, strict=True)) for row in rows.tolist()]
