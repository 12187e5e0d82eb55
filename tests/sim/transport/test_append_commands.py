"""APPEND commands in memory: fields, rows and constants where they say, refused by name, integers of golden."""

import pytest
import torch

from golden.datapath.append import AppendConstants, appended
from hdl.spec import formats
from hdl.spec.formats import Opcode
from sim.common.packing import unpack
from sim.transport.append_commands import AppendRows, append_words, place_append
from sim.transport.host_memory import HostMemory


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
