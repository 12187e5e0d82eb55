import pytest

from hdl.stream.stream_queue import StreamQueue
from tests.bench.harness import check_reset, check_stream_reset, made, run_streams, simulate

DEPTHS = [*range(3, 10), 15, 16, 17, 63, 64, 65, 66, 100, 128]


@pytest.mark.parametrize("depth", [3, 4, 8, 64, 65, 100])
@pytest.mark.parametrize("stall", [0, 0.2, 0.5])
def test_order_and_rate(depth, stall):
    items = [(7 * i) % 251 for i in range(400)]
    queue = made(StreamQueue, 8, depth=depth)
    result, last = run_streams(queue, {"i": items}, {"o": len(items)}, stall=stall)
    assert result["o"] == items
    assert stall or last <= len(items) + StreamQueue.LATENCY + queue.deep, "one item a cycle"


def fill(queue, levels=None):
    """Fill the queue, which takes ``depth`` items, not one less or more; then empty it. Twice, so round about."""
    depth = queue.depth

    async def bench(ctx):
        for start in (0, 100):
            taken = 0
            ctx.set(queue.o.ready, 0)
            ctx.set(queue.i.valid, 1)
            for _ in range(2 * depth + 8):
                ctx.set(queue.i.payload, (start + taken) % 256)
                taken += ctx.get(queue.i.ready)
                await ctx.tick()
                assert ctx.get(queue.level) == taken
                if levels is not None:
                    levels.append(taken)
            assert taken == depth
            ctx.set(queue.i.valid, 0)
            ctx.set(queue.o.ready, 1)
            for left in range(depth, 0, -1):
                assert ctx.get(queue.level) == left
                assert ctx.get(queue.o.valid) and ctx.get(queue.o.payload) == (start + depth - left) % 256
                await ctx.tick()
            for _ in range(2):  # also when nothing is there to be taken
                assert not ctx.get(queue.o.valid) and ctx.get(queue.level) == 0
                await ctx.tick()

    return bench


@pytest.mark.parametrize("depth", DEPTHS)
def test_takes_as_many_as_it_is_deep(depth):
    queue = made(StreamQueue, 8, depth=depth)
    simulate(queue, fill(queue), cycles=10 * depth + 100)


@pytest.mark.parametrize("depth", [3, 4, 65, 66])
def test_takes_as_many_with_pauses(depth):
    """It stays ready while it has room, also when nothing comes for some cycles."""
    queue = made(StreamQueue, 8, depth=depth)

    async def bench(ctx):
        for taken in range(depth):
            await ctx.tick().repeat(4)
            assert ctx.get(queue.i.ready), taken
            ctx.set(queue.i.valid, 1)
            await ctx.tick()
            ctx.set(queue.i.valid, 0)
        await ctx.tick()
        assert not ctx.get(queue.i.ready) and ctx.get(queue.level) == depth

    simulate(queue, bench, cycles=10 * depth + 100)


@pytest.mark.parametrize("depth", [3, 4, 65])
def test_stays_full(depth):
    """An item comes for each that goes, while the queue is full but for the cycle that its ``ready`` takes to rise."""
    queue = made(StreamQueue, 8, depth=depth)

    async def bench(ctx):
        ctx.set(queue.i.valid, 1)
        await ctx.tick().repeat(2 * depth + 8)
        ctx.set(queue.o.ready, 1)
        taken = 0
        for _ in range(40):
            taken += ctx.get(queue.i.ready)
            assert ctx.get(queue.o.valid) and ctx.get(queue.level) >= depth - 1 - queue.deep
            await ctx.tick()
        assert taken >= 38 - queue.deep

    simulate(queue, bench, cycles=10 * depth + 100)


@pytest.mark.parametrize("depth", [3, 5, 64, 65])
@pytest.mark.parametrize("stall", [0, 0.5])
def test_reset(depth, stall):
    items = [(7 * i) % 251 for i in range(60)]
    check_stream_reset(lambda: StreamQueue(8, depth=depth), {"i": items}, {"o": len(items)}, stall=stall, resets=6)


@pytest.mark.parametrize("depth", [3, 8, 65])
def test_reset_when_full(depth):
    """It takes ``depth`` items again."""

    def prepare(queue):
        levels = []
        return fill(queue, levels), [], levels

    check_reset(lambda: StreamQueue(8, depth=depth), prepare, cycles=10 * depth + 100, resets=6)


def test_depth_must_be_three():
    with pytest.raises(ValueError, match="depth must be at least 3, not 2"):
        StreamQueue(8, depth=2)
