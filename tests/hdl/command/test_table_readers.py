"""HeadReader and TokenReader: the entries of tables that lie anywhere, and not a word outside them."""

import random

import pytest

from hdl.command.head_reader import HeadReader
from hdl.command.token_reader import TokenReader
from hdl.spec.config import PRESETS
from hdl.spec.formats import TABLE_HEADER_BYTES, head_row, token_row
from sim.common.packing import pack, unpack
from tests.bench.harness import check_stream_reset, made, run_streams, simulate
from tests.bench.table_memory import TableMemory
from tests.hdl.command.test_token_beats import scene

ROW = head_row()
PAPER = PRESETS["paper"]


class HeadTables:
    """Random tables of heads in memory, requests for parts of them, and the entries that must come."""

    def __init__(self, count=12, seed=0):
        rng = random.Random(seed)
        self.tables, self.requests, self.want = [], [], []
        for number in range(count):
            size, address = rng.randint(1, 40), 0x1000 * (number + 1)
            rows = [rng.getrandbits(128) for _ in range(size)]
            self.tables.append((address, rows))
            first = rng.choice([0, rng.randrange(size)])
            want = rng.choice([1, size - first, rng.randint(1, size - first)])
            want = min(want, PAPER.max_heads)
            self.requests.append({"address": address, "first": first, "count": want})
            for at in range(first, first + want):
                self.want.append({"row": unpack(ROW, rows[at]), "last": int(at == first + want - 1), "error": 0})

    def memory(self, dut, **options):
        memory = TableMemory(dut.port, dut.word_width, **options)
        for address, rows in self.tables:
            whole = sum(row << 128 * at for at, row in enumerate(rows))
            memory.write(address, whole, -(-16 * len(rows) // memory.bytes) * memory.bytes)
        return memory


@pytest.mark.parametrize("word_width", [64, 128, 256, 512])
@pytest.mark.parametrize("stall", [0, 0.4])
def test_heads(word_width, stall):
    dut, tables = made(HeadReader, PAPER, word_width=word_width), HeadTables(seed=word_width)
    memory = tables.memory(dut, stall=stall)
    inputs, outputs = {"request": tables.requests}, {"o": len(tables.want)}
    got = run_streams(dut, inputs, outputs, stall=stall, processes=[memory.process])[0]["o"]
    assert got == tables.want
    assert len(memory.reads) == len(tables.requests)
    for (address, words), request in zip(memory.reads, tables.requests, strict=True):
        first = request["address"] + 16 * request["first"]
        end = first + 16 * request["count"]
        assert address <= first < address + memory.bytes
        assert end <= address + words * memory.bytes < end + memory.bytes


def test_heads_that_could_not_be_read():
    dut, tables = made(HeadReader, PAPER, word_width=64), HeadTables(count=3, seed=5)
    memory = tables.memory(dut)
    first = tables.requests[1]["address"] + 16 * tables.requests[1]["first"]
    memory.bad.add(first // 8 + 1)
    inputs, outputs = {"request": tables.requests}, {"o": len(tables.want)}
    got = run_streams(dut, inputs, outputs, processes=[memory.process])[0]["o"]
    assert [item["error"] for item in got] == [int(at == tables.requests[0]["count"]) for at in range(len(tables.want))]


def test_no_word_of_heads_waits_for_those_who_take_them():
    """What is asked for has its place here: nobody takes a head, and all words asked for come."""
    dut, tables = made(HeadReader, PAPER, word_width=256), HeadTables(seed=9, count=40)
    memory = tables.memory(dut, stall=0)

    async def bench(ctx):
        for request in tables.requests:
            ctx.set(dut.request.payload, request)
            ctx.set(dut.request.valid, 1)
            for _ in range(60):
                _, _, ready = await ctx.tick().sample(dut.request.ready)
                if ready:
                    break
            else:
                break
        await ctx.tick().repeat(60)
        assert not ctx.get(dut.port.word.valid)
        asked = sum(request["count"] for request in tables.requests[: len(memory.reads)])
        assert PAPER.max_heads - 32 < asked <= PAPER.max_heads

    simulate(dut, bench, memory.process, cycles=2000)


def test_no_word_of_tokens_waits_for_the_core():
    config = PRESETS["paper"]
    dut = made(TokenReader, config, word_width=256)
    tables, requests, _ = token_tables(config, [1000])
    memory = token_memory(dut, tables, stall=0)

    async def bench(ctx):
        ctx.set(dut.request.payload, requests[0])
        ctx.set(dut.request.valid, 1)
        await ctx.tick().repeat(300)
        assert not ctx.get(dut.port.word.valid)
        assert sum(words for _, words in memory.reads) in range(TokenReader.WORDS - 15, TokenReader.WORDS + 2)

    simulate(dut, bench, memory.process, cycles=400)


def test_reset_of_heads():
    tables = HeadTables(count=3, seed=6)
    check_stream_reset(
        lambda: HeadReader(PAPER, word_width=256),
        {"request": tables.requests},
        {"o": len(tables.want)},
        processes=lambda dut: [tables.memory(dut).process],
    )


def token_tables(config, counts):
    """(tables as (address, number, bytes), requests, beats)."""
    tables, requests, want = [], [], []
    for number, count in enumerate(counts):
        records, beats = scene(config, count, seed=number)
        tokens = [token for record in records for token in record["record"]]
        whole = sum(pack(token_row(), token) << 64 * at for at, token in enumerate(tokens))
        address = 0x4000 * (number + 1)
        size = -(-8 * len(tokens) // 64) * 64
        tables.append((address + TABLE_HEADER_BYTES, whole, size))
        requests.append({"address": address, "count": count, "entry": number})
        want += beats
    return tables, requests, want


def token_memory(dut, tables, **options):
    memory = TableMemory(dut.port, dut.word_width, **options)
    for address, whole, size in tables:
        memory.write(address, whole, size)
    return memory


@pytest.mark.parametrize(("preset", "word_width"), [("tiny", 64), ("tiny", 512), ("paper", 64), ("paper", 512)])
@pytest.mark.parametrize("stall", [0, 0.4])
def test_tokens(preset, word_width, stall):
    config = PRESETS[preset]
    dut = made(TokenReader, config, word_width=word_width)
    tables, requests, want = token_tables(config, [1, config.lanes, 33, 2, 64])
    memory = token_memory(dut, tables, stall=stall)
    got = run_streams(dut, {"request": requests}, {"ids": len(want)}, stall=stall, processes=[memory.process])[0]
    assert got["ids"] == want
    asked = [(request["address"] + TABLE_HEADER_BYTES, request["count"]) for request in requests]
    words = [-(-(-(-count // config.lanes) * config.lanes * 8) // memory.bytes) for _, count in asked]
    pieces = [
        (address + at * memory.bytes, min(TokenReader.PIECE, number - at))
        for (address, _), number in zip(asked, words, strict=True)
        for at in range(0, number, TokenReader.PIECE)
    ]
    assert memory.reads == pieces


def test_tokens_come_at_full_speed():
    """1,024 tokens of ``paper``, 8 a cycle."""
    config = PRESETS["paper"]
    dut = made(TokenReader, config, word_width=512)
    tables, requests, want = token_tables(config, [1024])
    memory = token_memory(dut, tables, stall=0, latency=1)
    cycles = run_streams(dut, {"request": requests}, {"ids": 128}, stall=0, processes=[memory.process])[1]
    assert len(want) == 128 and cycles <= 128 + 6


def test_tokens_that_could_not_be_read():
    """Their command is named, once for each group of them, and no other."""
    dut = made(TokenReader, PRESETS["tiny"], word_width=64)
    tables, requests, want = token_tables(PRESETS["tiny"], [5, 9, 3])
    memory, failed = token_memory(dut, tables), []
    memory.bad.add(tables[1][0] // 8 + 3)

    async def watch(ctx):
        while True:
            _, _, valid, entry, taken = await ctx.tick().sample(dut.failed.valid, dut.failed.payload, dut.ids.ready)
            if valid and taken:
                failed.append(entry)

    inputs, outputs = {"request": requests}, {"ids": len(want)}
    got = run_streams(dut, inputs, outputs, processes=[memory.process, watch])[0]["ids"]
    assert failed == [1] and got == [
        {**beat, "ids": [beat["ids"][0], 0], "importance": [beat["importance"][0], 0]} if at == 4 else beat
        for at, beat in enumerate(want)
    ]


def test_reset_of_tokens():
    tables, requests, want = token_tables(PRESETS["tiny"], [9, 4])
    check_stream_reset(
        lambda: TokenReader(PRESETS["tiny"], word_width=128),
        {"request": requests},
        {"ids": len(want)},
        processes=lambda dut: [token_memory(dut, tables).process],
    )
