"""StreamSkid: order, no cycle lost, ready from a flip-flop."""

import pytest
from amaranth.sim import Simulator

from hdl.stream.stream_skid import StreamSkid
from tests.bench.harness import run_streams


@pytest.mark.parametrize("stall", [0, 0.3, 0.7])
def test_items_pass_in_order(stall):
    items = [i * 37 % 256 for i in range(300)]
    results, last = run_streams(StreamSkid(8), {"i": items}, {"o": len(items)}, stall=stall, seed=3)
    assert results["o"] == items
    assert stall or last <= len(items), "an item a cycle, in the cycle in which it comes"


def test_ready_does_not_follow_the_neighbour():
    """An item passes in its cycle or is held; ``i.ready`` tells that only in the next cycle."""
    dut = StreamSkid(8)
    sim = Simulator(dut)
    sim.add_clock(1e-6)

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

    sim.add_testbench(bench)
    sim.run()
