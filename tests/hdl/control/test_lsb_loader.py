"""LsbLoader: the LSB plane of each job once, for its first flat row or ahead of it; its region is held meanwhile."""

import random

import pytest
from amaranth.hdl import Value

from hdl.control.lsb_loader import LsbLoader
from hdl.spec.config import PRESETS
from hdl.spec.numerics import LSB_BITS
from sim.common.packing import pack, unpack
from tests.bench.harness import ProtocolError, check_reset, made, simulate
from tests.bench.records import full_record, set_record

TINY = PRESETS["tiny"]
CONTEXTS = TINY.contexts


def decide(ctx, dut, context, flat, second=0):
    tag = {"context": context, "query": 0, "group": 0, "second": second}
    ctx.set(Value.cast(dut.decided.payload), pack(dut.decided.payload.shape(), {"tag": tag, "flat": flat}))
    ctx.set(dut.decided.valid, 1)


def read(ctx, dut, context, low=0):
    ctx.set(Value.cast(dut.row_read.payload), pack(dut.row_read.payload.shape(), {"context": context, "low": low}))
    ctx.set(dut.row_read.valid, 1)


def command_of(record, slot):
    plane = {"base": record["key_lsb_base"], "width": LSB_BITS}
    return {
        "plane": plane | {name: record[name] for name in ("dim", "log_slices", "skew")},
        "slot": slot,
        "count": record["num_keys"],
        **{name: record[name] for name in ("repeat", "listed", "list")},
    }


def random_use(dut, seed, batches=5):
    """Batches of four jobs, some of whose rows are flat; fills ``commands`` with (cycle, context)."""
    rng = random.Random(seed)
    commands = []

    async def bench(ctx):
        cycle = 0
        for _ in range(batches):
            records = [full_record(TINY, rng, progressive=int(rng.random() < 0.8)) for _ in range(CONTEXTS)]
            slots = [rng.randrange(TINY.key_slots) for _ in range(CONTEXTS)]
            for context in range(CONTEXTS):
                set_record(ctx, dut.record[context], TINY, records[context])
                ctx.set(dut.slot[context], slots[context])
            ctx.set(dut.valid, 15)
            flat, coming, loaded, done = set(), [], set(), set()
            held = None
            for step in range(150):
                cycle += 1
                for port in (dut.decided, dut.row_read):
                    ctx.set(port.valid, 0)
                context = rng.randrange(CONTEXTS)
                if step < 60 and records[context]["progressive"] and rng.random() < 0.15:
                    flat.add(context)
                    decide(ctx, dut, context, 1)
                ready = rng.random() < 0.4
                ctx.set(dut.command.ready, ready)
                complete = bool(coming) and step - coming[0][1] > 6 and rng.random() < 0.2
                ctx.set(dut.done, complete)
                valid, word = ctx.get(dut.command.valid), ctx.get(Value.cast(dut.command.payload))
                if held is not None and (not valid or word != held):
                    raise ProtocolError("command changed before it was taken")
                held = word if valid and not ready else None
                busy = ctx.get(dut.busy)
                assert all(busy >> c & 1 for c, _ in coming), "a load under way does not hold its region"
                assert ctx.get(dut.loaded) == sum(1 << c for c in loaded)
                if valid:
                    command = unpack(dut.command.payload.shape(), word)
                    wanted = [c for c in flat - done if contains(command, command_of(records[c], slots[c]))]
                    assert wanted, f"no flat row needs {command}"
                    assert busy >> wanted[0] & 1
                    if ready:
                        commands.append((cycle, wanted[0]))
                        coming.append((wanted[0], step))
                        done.add(wanted[0])
                if complete:
                    loaded.add(coming.pop(0)[0])
                await ctx.tick()
            assert done == flat == loaded and not coming, "a flat row has no LSBs"
            ctx.set(dut.valid, 0)
            ctx.set(dut.done, 0)
            await ctx.tick().repeat(2)
            cycle += 2

    return bench, commands


def contains(item, fields):
    return all(
        contains(item[name], value) if isinstance(value, dict) else item[name] == value
        for name, value in fields.items()
    )


@pytest.mark.parametrize("seed", range(3))
def test_each_plane_once(seed):
    dut = made(LsbLoader, TINY)
    bench, commands = random_use(dut, seed)
    simulate(dut, bench, cycles=2000)
    assert commands


def generation_jobs(ctx, dut):
    rng = random.Random(1)
    records = [full_record(TINY, rng, generation=1, progressive=1, key_lsb_base=100 + c) for c in range(CONTEXTS)]
    for context, record in enumerate(records):
        set_record(ctx, dut.record[context], TINY, record)
    ctx.set(dut.valid, 15)


def test_ahead_in_generation():
    """After a flat first pass the LSBs of the next one are loaded when it has been read; after another one, not."""
    dut = made(LsbLoader, TINY)
    loads = []

    async def watch(ctx):
        ctx.set(dut.command.ready, 1)
        while True:
            _, _, valid, base = await ctx.tick().sample(dut.command.valid, dut.command.payload.plane.base)
            if valid:
                loads.append(base - 100)

    async def bench(ctx):
        generation_jobs(ctx, dut)
        for context, flat in ((0, 1), (1, 0), (2, 0)):
            read(ctx, dut, context)
            await ctx.tick()
            ctx.set(dut.row_read.valid, 0)
            await ctx.tick().repeat(8)
            assert loads == ([0, 1] if context else [])
            decide(ctx, dut, context, flat)
            await ctx.tick()
            ctx.set(dut.decided.valid, 0)
            await ctx.tick().repeat(8)
            assert loads == [0, 1][: context + 1]

    simulate(dut, bench, watch, cycles=200)
    assert loads == [0, 1]


def test_not_ahead_of_what_is_final():
    dut = made(LsbLoader, TINY)

    async def bench(ctx):
        generation_jobs(ctx, dut)
        ctx.set(dut.keys_final, 0b0010)
        decide(ctx, dut, 0, 1)
        read(ctx, dut, 1)
        ctx.set(dut.command.ready, 1)
        bases = []
        for _ in range(20):
            _, _, valid, base = await ctx.tick().sample(dut.command.valid, dut.command.payload.plane.base)
            ctx.set(dut.decided.valid, 0)
            ctx.set(dut.row_read.valid, 0)
            if valid:
                bases.append(base)
        assert bases == [100]

    simulate(dut, bench, cycles=100)


def test_latency_and_interval():
    """The command is on offer two cycles after the decision; needed planes follow every other cycle."""
    dut = made(LsbLoader, TINY)

    async def bench(ctx):
        generation_jobs(ctx, dut)
        ctx.set(dut.command.ready, 1)
        taken = []
        for cycle in range(20):
            if cycle < 3:
                decide(ctx, dut, 2 - cycle, 1)
            else:
                ctx.set(dut.decided.valid, 0)
            _, _, valid, base = await ctx.tick().sample(dut.command.valid, dut.command.payload.plane.base)
            if valid:
                taken.append((cycle, base - 100))
        assert taken == [(2, 2), (4, 0), (6, 1)]

    simulate(dut, bench, cycles=100)


def test_reset():
    def prepare(dut):
        bench, commands = random_use(dut, 7, 2)
        return bench, [], commands

    check_reset(lambda: LsbLoader(TINY), prepare, cycles=1000)
