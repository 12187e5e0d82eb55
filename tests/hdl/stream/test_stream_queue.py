import pytest

from hdl.stream.stream_queue import StreamQueue
from tests.bench.harness import run_streams


@pytest.mark.parametrize("depth", [3, 4, 8, 64, 65, 100])
@pytest.mark.parametrize("stall", [0, 0.2, 0.5])
def test_order_and_rate(depth, stall):
    items = [(7 * i) % 251 for i in range(400)]
    queue = StreamQueue(8, depth=depth)
    result, last = run_streams(queue, {"i": items}, {"o": len(items)}, stall=stall)
    assert result["o"] == items
    assert stall or last <= len(items) + 2 + queue.deep, "one item a cycle"


@pytest.mark.parametrize("depth", [3, 64, 65])
def test_takes_as_many_as_it_is_deep(depth):
    from amaranth.sim import Simulator

    queue = StreamQueue(8, depth=depth)

    async def bench(ctx):
        taken = 0
        ctx.set(queue.i.valid, 1)
        for _ in range(2 * depth + 8):
            taken += ctx.get(queue.i.ready)
            await ctx.tick()
            assert ctx.get(queue.level) == taken
        assert taken == depth
        ctx.set(queue.i.valid, 0)
        ctx.set(queue.o.ready, 1)
        for left in range(depth, 0, -1):
            assert ctx.get(queue.level) == left
            assert ctx.get(queue.o.valid)
            await ctx.tick()
        assert not ctx.get(queue.o.valid) and ctx.get(queue.level) == 0

    simulator = Simulator(queue)
    simulator.add_clock(1e-6)
    simulator.add_testbench(bench)
    simulator.run()


def test_depth_must_be_three():
    with pytest.raises(ValueError, match="depth must be at least 3, not 2"):
        StreamQueue(8, depth=2)
