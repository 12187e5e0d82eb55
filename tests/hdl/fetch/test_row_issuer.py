"""RowIssuer and its parts: words of rows, shared words, words in flight."""

import dataclasses
import random
from collections import deque

import pytest
from amaranth.hdl import Value

from hdl.fetch.fetch_layouts import num_loads, units_per_word
from hdl.fetch.row_issuer import RowIssuer, RowLocator, WordCredit
from hdl.spec.config import PRESETS
from hdl.spec.payloads import KEY, KEY_LSB, QUERY, VALUE
from sim.common.packing import unpack
from tests.bench.fetch_configs import BROAD, ODD, SINGLE, WIDE
from tests.bench.harness import check_reset, check_stream_reset, made, run_streams, simulate
from tests.bench.row_model import load_fields, load_name, local_row, requested, table_word

CONFIGS = {"tiny": PRESETS["tiny"], "wide": WIDE, "odd": ODD, "broad": BROAD, "single": SINGLE}


def random_table(config, rng):
    """An entry for each load, each of a plane of its own."""
    table = {}
    for kind in (KEY, KEY_LSB, VALUE, QUERY):
        for index in range(config.loads):
            dim = rng.choice(config.dims)
            pair = kind in (KEY, VALUE) and dim % config.lane_width == 0 and 2 * dim <= config.max_dim
            table[load_name(config, kind, index)] = load_fields(
                config,
                dim=dim,
                width=4 if kind == KEY_LSB else rng.choice(config.plane_widths),
                pair=pair and rng.random() < 0.5,
                base=1000 * rng.randrange(1, 50),
                slot=rng.randrange(config.key_slots),
                seq=rng.randrange(1 << config.seq_width),
                count=rng.randint(1, config.max_tokens),
                repeat=rng.randrange(min(3, config.lanes)) if kind in (KEY, VALUE) else 0,
                shift=rng.choice((0, 4)) if kind == KEY else 0,
            )
    return table


def random_rows(config, rng, table, loads):
    """Rows of loads one after the other, as they come to a channel: ascending, with Q rows of other planes between."""
    rows = []
    limit = -(-config.max_tokens // config.num_channels)
    for _ in range(loads):
        kind, index = rng.choice((KEY, KEY, KEY_LSB, VALUE)), rng.randrange(config.loads)
        load = load_name(config, kind, index)
        share = rng.choice((0.3, 1))
        for position, row in enumerate(r for r in range(limit) if rng.random() < share):
            rows.append(local_row(load, row, position))
            if rng.random() < 0.1:
                query = load_name(config, QUERY, rng.randrange(config.loads))
                rows.append(local_row(query, rng.randrange(limit), rng.randrange(config.query_queue)))
        rows.append(local_row(load, end=True))
    return rows


def memory(config, dut, latency=5, check=lambda cycle, flight: None):
    """Words come back ``latency`` cycles after their request."""

    async def run(ctx):
        flight, cycle = deque(), 0
        while True:
            back = bool(flight) and flight[0] <= cycle
            if back:
                flight.popleft()
            ctx.set(dut.returned, back)
            _, _, valid, ready = await ctx.tick().sample(dut.request.valid, dut.request.ready)
            if valid and ready:
                flight.append(cycle + latency)
            check(cycle, flight)
            assert len(flight) + back <= dut.config.outstanding, "words in flight"
            cycle += 1

    return run


@pytest.mark.parametrize("name", CONFIGS)
@pytest.mark.parametrize("stall", [0, 0.3])
def test_requests_and_rows(name, stall):
    config = CONFIGS[name]
    rng = random.Random(f"{name} {stall}")
    table = random_table(config, rng)
    rows = random_rows(config, rng, table, 8)
    addresses, slots = requested(config, table, rows)
    dut = made(RowIssuer, config)
    asked, units, busy = [], [], []

    async def watch(ctx):
        while True:
            signals = (dut.asked, dut.load, dut.taken_units, dut.busy)
            _, _, now, load, taken, is_busy = await ctx.tick().sample(*signals)
            if now:
                asked.append(load)
            units.append(taken)
            busy.append(is_busy)

    async def give_table(ctx):
        ctx.set(Value.cast(dut.table), table_word(config, table))

    results, cycles = run_streams(
        dut,
        {"i": rows},
        {"request": len(addresses), "row": len(slots)},
        stall=stall,
        processes=[give_table, memory(config, dut), watch],
    )
    assert results["request"] == addresses
    for slot, expected in zip(results["row"], slots, strict=True):
        assert {name: slot[name] for name in expected} == expected
    counts = [sum(load == name for load in asked) for name in range(num_loads(config))]
    assert sum(counts) == len(addresses)
    assert sum(units) == sum(table[row["load"]]["row_units"] for row in rows if not row["end"])
    assert any(busy) and not busy[-1] and not busy[0]
    # Credit for 5 cycles of memory and 2 of the credit itself; a row of a word and its end mark take a cycle each.
    assert stall or config.outstanding < 8 or cycles <= len(addresses) + len(rows) + RowIssuer.LATENCY + 8


def test_latency_and_rate():
    """The first request LATENCY cycles after its row, then one a cycle."""
    config = WIDE
    table = {0: load_fields(config, dim=64, width=12, count=128)}
    rows = [local_row(0, i, i) for i in range(8)]
    addresses, _ = requested(config, table, rows)
    assert len(addresses) == 8 * 12
    dut = made(RowIssuer, config)
    seen = []

    async def bench(ctx):
        ctx.set(Value.cast(dut.table), table_word(config, table))
        ctx.set(dut.row.ready, 1)
        ctx.set(dut.request.ready, 1)
        ctx.set(dut.returned, 0)
        ctx.set(dut.i.payload, rows[0])
        ctx.set(dut.i.valid, 1)
        assert ctx.get(dut.i.ready)
        for cycle in range(20):
            if ctx.get(dut.request.valid):
                seen.append((cycle, ctx.get(dut.request.payload)))
            await ctx.tick()
            ctx.set(dut.i.valid, 0)

    simulate(dut, bench, cycles=100)
    assert seen == [(RowIssuer.LATENCY + i, address) for i, address in enumerate(addresses[:12])]


def test_words_are_shared_within_a_load_only():
    """Rows of half a word: the neighbour's word is asked for once, but not after an end mark, nor of a Q row."""
    config = dataclasses.replace(PRESETS["tiny"], channel_width=128)
    key, query = load_name(config, KEY, 0), load_name(config, QUERY, 0)
    dim = config.dims[0]
    table = {name: load_fields(config, dim=dim, width=4, base=10, count=4) for name in (key, query)}
    units = table[key]["row_units"]
    assert units * 32 <= 64
    rows = [local_row(key, 0, 0), local_row(key, 1, 1), local_row(key, end=True), local_row(key, 1, 0)]
    rows += [local_row(query, 0), local_row(query, 1), local_row(key, end=True)]
    addresses, slots = requested(config, table, rows)
    assert addresses == [10, 10, 10, 10] and [slot["reuse"] for slot in slots] == [0, 1, 0, 0, 0, 0, 0]
    dut = made(RowIssuer, config)

    async def give_table(ctx):
        ctx.set(Value.cast(dut.table), table_word(config, table))

    results, _ = run_streams(
        dut, {"i": rows}, {"request": 4, "row": 7}, processes=[give_table, memory(config, dut)], seed=3
    )
    assert results["request"] == addresses
    assert [slot["reuse"] for slot in results["row"]] == [0, 1, 0, 0, 0, 0, 0]


@pytest.mark.parametrize("stall", [0, 0.3])
def test_reset(stall):
    """No word of the first use counts as in flight, and none is shared with the second."""
    config = ODD
    rng = random.Random(4)
    table = random_table(config, rng)
    rows = random_rows(config, rng, table, 3)
    addresses, slots = requested(config, table, rows)

    def processes(dut):
        async def give_table(ctx):
            ctx.set(Value.cast(dut.table), table_word(config, table))

        return [give_table, memory(config, dut)]

    outputs = {"request": len(addresses), "row": len(slots)}
    check_stream_reset(
        lambda: RowIssuer(config), {"i": rows}, outputs, processes=processes, stall=stall, seed=2, resets=5
    )


@pytest.mark.parametrize("stall", [0, 0.4])
def test_locator(stall):
    """Latency 2 in enabled cycles, a row a cycle."""
    config = ODD
    rng = random.Random(2)
    table = random_table(config, rng)
    rows = random_rows(config, rng, table, 6)
    _, slots = requested(config, table, rows)

    def prepare(dut):
        found = []

        async def bench(ctx):
            rng = random.Random(6)
            ctx.set(Value.cast(dut.table), table_word(config, table))
            ctx.set(dut.i.valid, 1)
            left = [*rows, *rows[: RowLocator.LATENCY]]
            while left:
                enable = rng.random() >= stall
                ctx.set(dut.enable, enable)
                ctx.set(dut.i.payload, left[0])
                units = 0 if left[0]["end"] or not enable else table[left[0]["load"]]["row_units"]
                assert ctx.get(dut.taken_units) == units
                if enable:
                    left.pop(0)
                    if ctx.get(dut.o.valid):
                        found.append(unpack(dut.o.payload.shape(), ctx.get(Value.cast(dut.o.payload))))
                await ctx.tick()
            for row, item, expected in zip(rows, found, slots, strict=True):
                assert {name: item[name] for name in expected} == expected
                if not row["end"]:
                    info = table[row["load"]]
                    first = info["base"] + row["index"] * info["row_units"] // units_per_word(config)
                    assert item["first"] == first

        return bench, [], found

    check_reset(lambda: RowLocator(config), prepare, cycles=1000)


def test_credit():
    """``outstanding`` words and no more; the one that returns makes room from the next cycle on."""

    def prepare(dut):
        trace = []

        async def bench(ctx):
            rng, flight = random.Random(1), 0
            for _ in range(300):
                ask = bool(ctx.get(dut.allowed)) and rng.random() < 0.7
                back = flight > 0 and rng.random() < 0.6
                trace.append((ask, back, ctx.get(dut.some)))
                assert ctx.get(dut.some) == (flight > 0)
                assert ctx.get(dut.allowed) == (flight < ODD.outstanding)
                ctx.set(dut.asked, ask)
                ctx.set(dut.returned, back)
                await ctx.tick()
                flight += ask - back

        return bench, [], trace

    check_reset(lambda: WordCredit(ODD), prepare, cycles=400)
