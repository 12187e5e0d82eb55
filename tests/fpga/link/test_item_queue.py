"""ItemQueue: two registers in a row, nothing but flip-flops at its ports."""

import random

import pytest
from amaranth.lib import data

from fpga.link.item_queue import ItemQueue
from tests.bench.harness import check_stream_reset, give, made, run_streams, simulate, take, wait

PAIR = data.StructLayout({"low": 5, "high": 150})


@pytest.mark.parametrize("stall", [0, 0.4])
@pytest.mark.parametrize("width", [1, 12, 200])
def test_item_queue(width, stall):
    rng = random.Random(width)
    items = [rng.getrandbits(width) for _ in range(40)]
    results, cycle = run_streams(made(ItemQueue, width), {"i": items}, {"o": len(items)}, stall=stall)
    assert results["o"] == items
    if stall == 0:
        assert cycle <= 2 * len(items) + ItemQueue.LATENCY + 2


def test_items_with_fields():
    rng = random.Random(3)
    items = [{"low": rng.getrandbits(5), "high": rng.getrandbits(150)} for _ in range(20)]
    results, _ = run_streams(made(ItemQueue, PAIR), {"i": items}, {"o": len(items)}, stall=0.3)
    assert results["o"] == items


def test_latency_and_interval():
    """Each item leaves LATENCY cycles after it came, and one comes every second cycle."""
    dut = made(ItemQueue, 12)
    came, left = [], []

    async def bench(ctx):
        ctx.set(dut.i.valid, 1)
        ctx.set(dut.o.ready, 1)
        for cycle in range(60):
            _, _, ready, valid = await ctx.tick().sample(dut.i.ready, dut.o.valid)
            came.extend([cycle] if ready else [])
            left.extend([cycle] if valid else [])

    simulate(dut, bench, cycles=100)
    assert came == list(range(0, 60, 2))
    assert left == [cycle + ItemQueue.LATENCY for cycle in came if cycle + ItemQueue.LATENCY < 60]


def test_holds_two():
    """It is full after DEPTH items, and no port follows another one within a cycle."""
    dut = made(ItemQueue, 8)

    async def bench(ctx):
        for item in range(1, 1 + ItemQueue.DEPTH):
            await give(ctx, dut.i, item)
        await wait(ctx, 3)
        assert not ctx.get(dut.i.ready)
        ctx.set(dut.o.ready, 1)
        assert not ctx.get(dut.i.ready)
        ctx.set(dut.o.ready, 0)
        assert [await take(ctx, dut.o), await take(ctx, dut.o)] == [1, 2]
        ctx.set(dut.i.payload, 3)
        ctx.set(dut.i.valid, 1)
        assert ctx.get(dut.i.ready) and not ctx.get(dut.o.valid)

    simulate(dut, bench, cycles=50)


def test_reset():
    items = list(range(100, 125))
    check_stream_reset(lambda: ItemQueue(8), {"i": items}, {"o": len(items)})
