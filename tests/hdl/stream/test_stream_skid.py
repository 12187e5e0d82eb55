"""StreamSkid: order, no cycle lost, ready from a flip-flop."""

import pytest

from hdl.stream.stream_skid import StreamSkid
from tests.bench.harness import check_stream_reset, made, run_streams, simulate


@pytest.mark.parametrize("stall", [0, 0.3, 0.7])
def test_items_pass_in_order(stall):
    items = [i * 37 % 256 for i in range(300)]
    results, last = run_streams(made(StreamSkid, 8), {"i": items}, {"o": len(items)}, stall=stall, seed=3)
    assert results["o"] == items
    assert stall or last <= len(items), "an item a cycle, in the cycle in which it comes"


def test_ready_does_not_follow_the_neighbour():
    """An item passes in its cycle or is held; ``i.ready`` tells that only in the next cycle."""
    dut = made(StreamSkid, 8)

    async def bench(ctx):
        ctx.set(dut.i.valid, 1)
        ctx.set(dut.i.payload, 5)
        for ready in (1, 0):
            ctx.set(dut.o.ready, ready)
            assert (ctx.get(dut.o.valid), ctx.get(dut.o.payload), ctx.get(dut.i.ready)) == (1, 5, 1)
        await ctx.tick()
        ctx.set(dut.i.payload, 6)
        ctx.set(dut.o.ready, 1)
        assert (ctx.get(dut.i.ready), ctx.get(dut.held_valid), ctx.get(dut.held)) == (0, 1, 5)
        assert (ctx.get(dut.o.valid), ctx.get(dut.o.payload)) == (1, 5)
        await ctx.tick()
        assert (ctx.get(dut.i.ready), ctx.get(dut.held_valid), ctx.get(dut.o.payload)) == (1, 0, 6)

    simulate(dut, bench, cycles=20)


@pytest.mark.parametrize("stall", [0, 0.5])
def test_reset(stall):
    """The item in the register is gone."""
    items = [i * 37 % 256 for i in range(60)]
    check_stream_reset(lambda: StreamSkid(8), {"i": items}, {"o": len(items)}, stall=stall, resets=10)
