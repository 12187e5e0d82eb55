"""APPEND commands in memory, right ones and what may be wrong with them."""

from __future__ import annotations

import dataclasses
import random
import types
from collections.abc import Sequence
from typing import Any

from hdl.spec import formats
from hdl.spec.config import Config
from hdl.spec.formats import Code
from sim.transport.commands import record
from sim.transport.host_memory import HostMemory
from sim.transport.memory import MemoryImage
from tests.bench.append_planes import KEY, QUERY, VALUE, Layer, written_rows

__all__ = ["REFUSED", "Appended", "PlacedRows", "changed", "place_request", "place_rows"]

REFUSED = {
    "nothing": ({"flags": {KEY: 0, VALUE: 0}}, Code.MALFORMED),
    "K and Q": ({"flags": {QUERY: 1}}, Code.MALFORMED),
    "reserved flags": ({"flags": {"reserved": 1}}, Code.MALFORMED),
    "reserved bits of the head": ({"reserved0": 1}, Code.MALFORMED),
    "an odd number of heads in pairs": ({"flags": {"paired": 1}}, Code.MALFORMED),
    "no rows": ({"num_rows": 0}, Code.MALFORMED),
    "no heads": ({"num_heads": 0}, Code.MALFORMED),
    "heads beyond max_heads": ({"num_heads": 33}, Code.MALFORMED),
    "rows beyond max_tokens": ({"first_row": 64}, Code.MALFORMED),
    "endless rows": ({"first_row": (1 << 32) - 1}, Code.MALFORMED),
    "D": ({"plan": {"dim": 80}}, Code.MALFORMED),
    "width of V": ({"plan": {"value_bits": 14}}, Code.MALFORMED),
    "split of K": ({"plan": {"key_bits": 12, "key_lsb_bits": 4}}, Code.MALFORMED),
    "channel": ({"plan": {"skew": 2}}, Code.MALFORMED),
    "constants in between": ({"constants": 0x2_0020}, Code.MALFORMED),
    "rows in between": ({"rows": 0x2_0010}, Code.MALFORMED),
    "strides in between": ({"head_stride": 16}, Code.MALFORMED),
    "a plane in between": ({"plan": {"value": 4}}, Code.MALFORMED),
    "reserved bits of the plan": ({"plan": {"reserved0": 1}}, Code.MALFORMED),
    "a plan in between": ({"beside": 32}, Code.MALFORMED),
    "a plan outside": ({"beside": 1 << 20}, Code.OUTSIDE),
    "constants outside": ({"constants": 0xFFC0}, Code.OUTSIDE),
    "rows outside": ({"rows": 1 << 63}, Code.OUTSIDE),
    "rows of V outside": ({"value_rows": 0xFFE0}, Code.OUTSIDE),
    "rows that end outside": ({"num_rows": 4, "position_stride": 1 << 19}, Code.OUTSIDE),
    "heads that end outside": ({"head_stride": 1 << 31}, Code.OUTSIDE),
    "a plane beyond all addresses": ({"plan": {"value": 8 << 16}}, Code.OUTSIDE),
    "a plane that ends beyond": ({"plan": {"key_stride": (8 << 16) - 8}}, Code.OUTSIDE),
}
"""What is wrong -> (changes of an APPEND of K and V of three heads, preset tiny, memory from 0x1_0000 on; its code)."""


@dataclasses.dataclass
class Appended:
    """An APPEND, fields of it and of its plan, and how many elements saturate."""

    command: bytes
    request: dict[str, Any]
    saturated: int


def place_request(planes: Layer, memory: HostMemory, names: Sequence[str], tag: int, **options: Any) -> Appended:
    """New rows, as of :meth:`Layer.command`, with all that the command reads."""
    request = planes.command(list(names), **options)
    for block, value in planes.content.items():
        memory.write(32 * block, value.to_bytes(32, "little"))
    planes.content.clear()
    request["command"]["plan"] = memory.store(record(formats.plan(), request["plan"]))
    request["command"]["tag"] = tag
    return Appended(record(formats.append_command(), request["command"]), request, planes.saturated[-1])


def changed(
    appended: Appended, memory: HostMemory, *, plan: dict[str, int] | None = None, beside: int = 0, **fields: Any
) -> bytes:
    """Its command with other values of some fields, ``flags`` among them, and of its plan, which lies elsewhere.

    beside: bytes by which the command's plan is missed.
    """
    command, table = appended.request["command"], appended.request["plan"]
    if plan:
        fields["plan"] = memory.store(record(formats.plan(), table | plan))
    flags = command["flags"] | fields.pop("flags", {})
    fields["plan"] = fields.get("plan", command["plan"]) + beside
    return record(formats.append_command(), command | fields | {"flags": flags})


@dataclasses.dataclass
class PlacedRows:
    """An APPEND to planes that nobody else uses; of the same members as tests.bench.axi_layers.Placed."""

    layer: Any
    appended: Appended
    rows: list[tuple[int, bytes]]
    """(address, bytes) when it is done"""

    @property
    def command(self) -> bytes:
        return self.appended.command

    @property
    def placed(self) -> Any:
        """What it reads, under names of tables of a layer."""
        command = self.appended.request["command"]
        return types.SimpleNamespace(plan=command["plan"], heads=command["constants"], state=command["rows"])

    def owned(self) -> list[tuple[int, int]]:
        return [(address, len(row)) for address, row in self.rows]

    def check(self, memory: HostMemory, completion: dict[str, int]) -> None:
        """It is done, and all is as golden says."""
        assert completion["code"] == 0 and completion["tokens"] == self.appended.saturated, completion
        for address, row in self.rows:
            assert memory.read(address, len(row)).tobytes() == row, (self.layer.name, hex(address))


def place_rows(
    config: Config, rng: random.Random, image: MemoryImage, memory: HostMemory, bases: Sequence[int], *, tag: int
) -> PlacedRows:
    """K and V of three heads; planes go to the image, of which word 0 of each channel lies at its base."""
    planes = Layer(
        config,
        dim=16,
        widths=(8, *rng.choice(config.splits), rng.choice(config.plane_widths)),
        heads=3,
        rows=6,
        skew=rng.randrange(config.num_channels),
        seed=rng.getrandbits(20),
    )
    planes.place(image)
    planes.next = memory.take(4096)
    options = {"first": rng.randrange(4), "rows": rng.randint(1, 2), "half": rng.random() < 0.5}
    appended = place_request(planes, memory, (KEY, VALUE), tag, **options)
    rows = list(written_rows(planes, appended.request, bases))
    return PlacedRows(types.SimpleNamespace(name=f"layer {tag}"), appended, rows)
