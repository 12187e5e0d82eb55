"""QueryKeeper: the Q row of a flat generation row comes back, as a second pass, when its LSBs are on chip."""

import random

import pytest
from amaranth.hdl import Value

from hdl.control.queries.query_keeper import QueryKeeper
from hdl.spec import payloads
from hdl.spec.config import PRESETS
from sim.common.packing import pack, unpack
from tests.bench.harness import ProtocolError, check_reset, made, simulate

TINY = PRESETS["tiny"]
ROW = payloads.query_row(TINY)


def random_row(rng, context):
    tag = {"context": context, "query": 0, "group": 0, "second": 0}
    numbers = {name: rng.randrange(2) for name in ROW.members if name not in ("tag", "elements")}
    elements = [rng.randrange(-500, 500) for _ in range(TINY.max_dim)]
    return numbers | {"tag": tag, "low": 0, "elements": elements}


def random_use(dut, seed, rows=40):
    """Rows of four contexts in turn: each is kept, decided, perhaps offered again, and then the context is free."""
    rng = random.Random(seed)
    generation = 0b1011
    offers = []

    async def bench(ctx):
        ctx.set(dut.generation, generation)
        step = dict.fromkeys(range(4), "free")
        kept, since = {}, dict.fromkeys(range(4), 0)
        given = cycle = waiting = 0
        held = None
        while given < rows or set(step.values()) != {"free"}:
            cycle += 1
            waiting += 1
            assert waiting < 500, "watchdog"
            context = rng.randrange(4)
            ctx.set(dut.row.valid, 0)
            ctx.set(dut.decided.valid, 0)
            ready, free = rng.random() < 0.4, rng.random() < 0.5
            ctx.set(dut.o.ready, ready)
            ctx.set(dut.free, free)
            offered, word = ctx.get(dut.o.valid), ctx.get(Value.cast(dut.o.payload))
            if held is not None and (not offered or word != held):
                raise ProtocolError("the row on offer changed before it was taken")
            held = word if offered and not ready else None
            if step[context] == "free" and cycle - since[context] > 2 and given < rows and not offered:
                kept[context], step[context] = random_row(rng, context), "kept"
                ctx.set(Value.cast(dut.row.payload), pack(ROW, kept[context]))
                ctx.set(dut.row.valid, 1)
                given += 1
                waiting = 0
            elif step[context] == "kept":
                flat = rng.random() < 0.6
                tag = kept[context]["tag"]
                ctx.set(Value.cast(dut.decided.payload), pack(dut.decided.payload.shape(), {"tag": tag, "flat": flat}))
                ctx.set(dut.decided.valid, 1)
                step[context] = "flat" if flat and generation >> context & 1 else "over"
            elif step[context] == "flat" and rng.random() < 0.2:
                ctx.set(dut.lsb_loaded, ctx.get(dut.lsb_loaded) | 1 << context)
                step[context] = "loaded"
            elif step[context] == "over":
                ctx.set(dut.valid, ctx.get(dut.valid) & ~(1 << context))
                ctx.set(dut.lsb_loaded, ctx.get(dut.lsb_loaded) & ~(1 << context))
                step[context], since[context] = "free", cycle
            if step[context] == "kept":
                ctx.set(dut.valid, ctx.get(dut.valid) | 1 << context)
            if offered and ready:
                row = unpack(ROW, word)
                which = row["tag"]["context"]
                assert step[which] == "loaded", "not a flat generation row whose LSBs are loaded"
                assert row == kept[which] | {"low": 1, "tag": kept[which]["tag"] | {"second": 1}}
                offers.append((cycle, which))
                step[which] = "over"
                waiting = 0
            await ctx.tick()

    return bench, offers


@pytest.mark.parametrize("seed", range(4))
def test_flat_rows_come_back(seed):
    dut = made(QueryKeeper, TINY)
    bench, offers = random_use(dut, seed)
    simulate(dut, bench, cycles=5000)
    assert offers


def test_latency_and_interval():
    dut = made(QueryKeeper, TINY)

    async def bench(ctx):
        rng = random.Random(1)
        ctx.set(dut.generation, 15)
        ctx.set(dut.valid, 15)
        for context in range(2):
            row = random_row(rng, context)
            ctx.set(Value.cast(dut.row.payload), pack(ROW, row))
            ctx.set(dut.row.valid, 1)
            decision = {"tag": row["tag"], "flat": 1}
            ctx.set(Value.cast(dut.decided.payload), pack(dut.decided.payload.shape(), decision))
            ctx.set(dut.decided.valid, 1)
            await ctx.tick()
        ctx.set(dut.row.valid, 0)
        ctx.set(dut.decided.valid, 0)
        ctx.set(dut.free, 1)
        ctx.set(dut.o.ready, 1)
        ctx.set(dut.lsb_loaded, 3)
        offers = []
        for cycle in range(20):
            _, _, valid = await ctx.tick().sample(dut.o.valid)
            if valid:
                offers.append(cycle)
        assert offers == [3, 7]

    simulate(dut, bench, cycles=100)


def test_reset():
    def prepare(dut):
        bench, offers = random_use(dut, 5, 12)
        return bench, [], offers

    check_reset(lambda: QueryKeeper(TINY), prepare, cycles=2000)
