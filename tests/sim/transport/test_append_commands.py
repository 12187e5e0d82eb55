"""APPEND commands in memory: fields, rows and constants where they say, refused by name, integers of golden."""

import dataclasses

import pytest
import torch

from golden.datapath.append import AppendConstants, appended
from hdl.spec import formats
from hdl.spec.formats import Opcode
from sim.common.packing import unpack
from sim.transport.append_commands import (
    AppendRows,
    append_words,
    place_append,
    place_unit_constants,
    place_whole_rows,
)
from sim.transport.commands import Wanted, place_layer
from sim.transport.host_memory import HostMemory
from sim.transport.memory import MemoryImage
from tests.sim.transport.test_plane_store import TINY, layer_of, store_of


def rows_of(heads, count, dim, *, owners=None, seed=0, half=False):
    generator = torch.Generator().manual_seed(seed)
    owners = owners or heads
    step = 0.01 + torch.rand((owners, dim), generator=generator)
    center = torch.randn((owners, dim), generator=generator)
    words = append_words(torch.randn((heads, count, dim), generator=generator), half=half)
    return AppendRows(words=words, constants=AppendConstants.of(step, center))


def source(memory, command, name, head, row, dim):
    first = command["value_rows" if name == "value" else "rows"]
    place = first + row * command["position_stride"] + head * command["head_stride"]
    return memory.read(place, 2 * dim).view("<u2").tolist()


@pytest.mark.parametrize("half", [False, True])
@pytest.mark.parametrize("names", [("key",), ("value",), ("key", "value"), ("query",)])
def test_rows_and_constants_lie_where_the_command_says(names, half):
    memory, dim, heads = HostMemory(1 << 16), 16, 6 if names == ("query",) else 3
    rows = {name: rows_of(heads, 2, dim, owners=3, seed=at, half=half) for at, name in enumerate(names)}
    options = {"first_row": 5, "half": half, "tag": 9, "irq": True, "query": 64, "paired": False}
    placed = place_append(rows, memory, plan=0x1_2340, **options)
    command = unpack(formats.append_command(), int.from_bytes(placed.command, "little"))
    assert command["opcode"] == Opcode.APPEND and command["irq"] == 1 and command["tag"] == 9
    told = [command[name] for name in ("first_row", "num_rows", "num_heads", "plan", "query")]
    assert told == [5, 2, 3, 0x1_2340, 64]
    wanted = {**dict.fromkeys(("key", "value", "query", "paired", "reserved"), 0), **dict.fromkeys(names, 1)}
    assert command["flags"] == wanted | {"half": int(half)}
    assert command["constants"] % 64 == command["rows"] % 32 == command["value_rows"] % 32 == 0
    for number, name in enumerate(names):
        mine = rows[name]
        for head in range(heads):
            for row in range(2):
                assert source(memory, command, name, head, row, dim) == mine.words[head, row].tolist()
        raw = memory.read(command["constants"] + 4 * dim * 3 * number, 4 * dim * 3).view("<u4").reshape(3, dim)
        found = [unpack(formats.append_constant(), int(word)) for word in raw.ravel()]
        for field in ("mantissa", "shift", "offset"):
            bits = getattr(mine.constants, field) & (0xFFFF if field == "offset" else -1)
            assert [each[field] for each in found] == bits.flatten().tolist()
    assert (placed.constants, placed.rows, placed.value_rows) == tuple(
        command[name] for name in ("constants", "rows", "value_rows")
    )


def test_integers_are_those_of_golden():
    rows = rows_of(6, 2, 16, owners=3, half=True)
    integers, saturated = rows.integers(4, half=True)
    assert integers.shape == (3, 4, 16) and saturated > 0
    for head in range(6):
        own = AppendConstants(**{n: getattr(rows.constants, n)[head // 2] for n in ("mantissa", "shift", "offset")})
        found, _ = appended(rows.words[head], own, 4, half=True)
        assert torch.equal(integers[head // 2, 2 * (head % 2) : 2 * (head % 2) + 2], found)


def test_words_are_rounded():
    values = torch.tensor([1.0, -2.5, 1 + 2**-8, 65504.0, float("inf")])
    assert append_words(values).tolist() == [0x3F80, 0xC020, 0x3F80, 0x4780, 0x7F80]
    assert append_words(values, half=True).tolist() == [0x3C00, 0xC100, 0x3C04, 0x7BFF, 0x7C00]


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ({}, "rows must be of key, value, key and value, or query, not nothing"),
        (
            {"key": rows_of(2, 1, 16), "query": rows_of(2, 1, 16)},
            "rows must be of key, value, key and value, or query, not key, query",
        ),
        ({"key": rows_of(2, 1, 16), "value": rows_of(2, 2, 16)}, "rows of value and their constants must be as those"),
        ({"key": rows_of(4, 1, 16, owners=2)}, r"constants of key must be of shape \(4, 16\), not \(2, 16\)"),
        ({"query": rows_of(4, 1, 16, owners=3)}, r"constants of query must be of shape \(4, 16\), not \(3, 16\)"),
    ],
)
def test_refused(rows, message):
    with pytest.raises(ValueError, match=message):
        place_append(rows, HostMemory(1 << 16), plan=0)


# Integers ------------------------------------------------------------------------------------------------------


def unit_constants(memory, address, count):
    words = memory.read(address, 4 * count).view("<u4")
    found = [unpack(formats.append_constant(), int(word)) for word in words]
    fields = {name: torch.tensor([each[name] for each in found]) for name in ("mantissa", "shift", "offset")}
    return AppendConstants(**fields)


def test_every_integer_of_12_bits_is_stored_as_it_is():
    memory = HostMemory(1 << 20)
    address = place_unit_constants(TINY, memory)
    assert address % 64 == 0
    constants = unit_constants(memory, address, 1)
    values = torch.arange(-2048, 2048)
    found, saturated = appended(append_words(values.double(), half=True)[:, None], constants, 12, half=True)
    assert torch.equal(found.flatten(), values) and not saturated.any()
    every = unit_constants(memory, address, 2 * TINY.max_heads * max(TINY.dims))  # of K and V of all heads
    assert every.shift.unique().tolist() == [25] and not every.mantissa.any() and not every.offset.any()


def whole_rows(layer, new):
    """Commands of a layer of which the last rows are new, with the layer's and the memory."""
    store = store_of()
    jobs = [dataclasses.replace(job, key=job.key[:-new], value=job.value[:-new]) for job in layer.jobs]
    store.place(dataclasses.replace(layer, jobs=jobs))
    store.begin()
    stored = store.place(layer)
    placed = place_layer(layer, TINY, MemoryImage(TINY), store.memory, Wanted(), planes=stored.planes)
    commands = place_whole_rows(layer, stored, placed, TINY, store.memory, constants=0x4_0000)
    fields = [unpack(formats.append_command(), int.from_bytes(each, "little")) for each in commands]
    return store.memory, placed, fields


def check_command(memory, command, plan, name, tensors):
    """Rows (heads, n, D) lie where the command says, and it tells the planes of its first head."""
    heads, count, dim = tensors.shape
    assert command["opcode"] == Opcode.APPEND and command["constants"] == 0x4_0000 and command["flags"]["half"] == 1
    assert command["num_rows"] == (1 if name == "query" else count)
    for head in range(heads):
        for row in range(count):
            words = torch.tensor(source(memory, command, name, head, row, dim), dtype=torch.int32)
            values = words.to(torch.int16).view(torch.float16).long()
            assert torch.equal(values, tensors[head, row]), (name, head, row)
    raw = memory.read(command["plan"], formats.PLAN_BYTES).tobytes()
    told = unpack(formats.plan(), int.from_bytes(raw, "little"))
    assert {field: told[field] for field in plan} == plan


@pytest.mark.parametrize("widths", [(8, 8, 0, 6), (12, 6, 4, 12)])
def test_whole_rows(widths):
    """K and V of all heads in one command, Q in another, with the layer's plan."""
    layer = layer_of(11, kv_heads=(0, 1, 2), group=2, widths=widths)
    memory, placed, (first, second) = whole_rows(layer, 2)
    assert first["plan"] == second["plan"] == placed.plan and first["num_heads"] == second["num_heads"] == 3
    assert first["first_row"] == 9 and first["flags"] == dict.fromkeys(first["flags"], 0) | {
        "key": 1, "value": 1, "half": 1
    }  # fmt: skip
    assert second["query"] == placed.query and second["flags"]["query"] == 1 and second["first_row"] == 0
    for name, command in (("key", first), ("value", first), ("query", second)):
        rows = [getattr(job, name) if name == "query" else getattr(job, name)[9:] for job in layer.jobs]
        tensors = torch.cat(rows)[:, None] if name == "query" else torch.stack(rows)
        check_command(memory, command, {"group": 2}, name, tensors)


def test_heads_that_were_pruned():
    """Neighbours with as many query heads share a command; the plan begins with the first of them."""
    layer = layer_of(6, kv_heads=(0, 2, 3, 4), skew=1)
    layer.jobs[3] = layer_of(6, kv_heads=(0, 2, 3, 4), group=2, skew=1).jobs[3]
    layer = dataclasses.replace(layer, head_ids=list(range(5)), head_weight=[1] * 5, head_importance=[0] * 5)
    memory, placed, commands = whole_rows(layer, 1)
    assert [each["num_heads"] for each in commands] == [1, 1, 2, 2, 1, 1]
    for number, command in zip((0, 0, 2, 2, 4, 4), commands, strict=True):
        jobs = [layer.jobs[0]] if number == 0 else layer.jobs[1:3] if number == 2 else layer.jobs[3:]
        says = placed.says
        plan = {name: says[name] + number * says[f"{name}_stride"] for name in ("key", "value")}
        plan |= {"skew": (1 + number) % 2, "group": jobs[0].group}
        if command["flags"]["query"]:
            assert command["query"] == placed.query + number * says["query_stride"]
            check_command(memory, command, plan, "query", torch.cat([job.query for job in jobs])[:, None])
        else:
            for name in ("key", "value"):
                check_command(memory, command, plan, name, torch.stack([getattr(job, name)[5:] for job in jobs]))
