"""QueueWindows: words of every channel against the formula, and no change while a command is at work."""

import random

import pytest

from hdl.spec.config import PRESETS
from hdl.system.queue_windows import QueueWindows
from tests.bench.harness import check_reset, made, simulate

TINY, PAGE = PRESETS["tiny"], 4096
WORD, MOST = TINY.channel_width // 8, 1 << TINY.address_width


def words(window, base):
    """(base, limit) in words of a channel; nothing of it: (0, 0)."""
    begin, end = (max(0, min(MOST, (address - base) // WORD)) for address in (window["base"], window["limit"]))
    return (begin, end) if begin < end and begin < MOST else (0, 0)


def random_window(rng, bases):
    """About the channels: below, within, after, across; empty ones; at the end of all addresses."""
    near = [rng.choice(bases) + PAGE * rng.randint(-3, MOST * WORD // PAGE + 3) for _ in range(2)]
    base, limit = rng.choice(
        (
            sorted(near),
            sorted(near),
            near,
            (0, 2**64 - PAGE),
            (near[0], near[0]),
            (2**64 - 2 * PAGE, 2**64 - PAGE),
            (0, 0),
        )
    )
    return {"base": max(0, base) % 2**64, "limit": max(0, limit) % 2**64}


class Use:
    """Queues in turn; ``found``: what was set for each."""

    def __init__(self, dut, *, seed, count=20):
        self.dut, self.count, self.rng = dut, count, random.Random(f"{seed} windows")
        self.found, self.want = [], []

    async def bench(self, ctx):
        dut, rng = self.dut, self.rng
        for _ in range(self.count):
            bases = [PAGE * rng.choice((rng.randrange(64), 2**51, 2**52 - 200)) for _ in range(TINY.num_channels)]
            queues = [
                {"enable": 1, "readable": random_window(rng, bases), "writable": random_window(rng, bases)}
                for _ in range(dut.queues)
            ]
            for base, value in zip(dut.base, bases, strict=True):
                ctx.set(base, value)
            for queue, value in zip(dut.queue, queues, strict=True):
                ctx.set(queue, {**value, "enable": 0})
            await ctx.tick()
            for queue, value in zip(dut.queue, queues, strict=True):
                ctx.set(queue, value)
            for wanted in rng.sample(range(dut.queues), dut.queues):
                await self.change(ctx, wanted, queues[wanted], bases)

    async def change(self, ctx, wanted, queue, bases):
        dut = self.dut
        before = ctx.get(dut.current)
        ctx.set(dut.working, 1)
        ctx.set(dut.wanted, wanted)
        ready = ctx.get(dut.ready)
        await ctx.tick().repeat(8)
        if ready:
            assert ctx.get(dut.ready) and ctx.get(dut.current) == wanted == before
        ctx.set(dut.working, 0)
        for _ in range(5 * TINY.num_channels + 8):
            if ctx.get(dut.ready):
                break
            await ctx.tick()
        assert ctx.get(dut.ready) and ctx.get(dut.current) == wanted, "as late as is told"
        channels = [(ctx.get(each.base), ctx.get(each.limit)) for each in dut.channel]
        writable = ctx.get(dut.writable.base), ctx.get(dut.writable.limit)
        self.found.append((channels, (ctx.get(dut.all.base), ctx.get(dut.all.limit)), writable))
        each = [words(queue["readable"], base) for base in bases]
        both = max(base for base, _ in each), min(limit for _, limit in each)
        self.want.append((each, both, (queue["writable"]["base"], queue["writable"]["limit"])))


@pytest.mark.parametrize("queues", [1, 3])
@pytest.mark.parametrize("seed", range(3))
def test_windows(queues, seed):
    use = Use(made(QueueWindows, TINY, queues=queues), seed=seed)
    simulate(use.dut, use.bench, cycles=5000)
    assert use.found == use.want
    assert any(limit for channels, _, _ in use.found for _, limit in channels)


def test_nothing_changes_while_a_command_is_at_work():
    dut = made(QueueWindows, TINY, queues=2)

    async def bench(ctx):
        for queue in range(2):
            window = {"base": PAGE * queue, "limit": PAGE * (queue + 1)}
            ctx.set(dut.queue[queue], {"enable": 1, "readable": window, "writable": window})
        await ctx.tick().repeat(15)
        assert ctx.get(dut.ready)
        ctx.set(dut.working, 1)
        ctx.set(dut.wanted, 1)
        for _ in range(20):
            await ctx.tick()
            assert not ctx.get(dut.ready) and ctx.get(dut.current) == 0 and ctx.get(dut.writable.base) == 0
        ctx.set(dut.working, 0)
        await ctx.tick().repeat(15)
        assert ctx.get(dut.ready) and ctx.get(dut.writable.base) == PAGE

    simulate(dut, bench, cycles=100)


@pytest.mark.parametrize("cycle", range(5 * TINY.num_channels + 4))
def test_windows_that_are_set_in_any_cycle(cycle):
    """However far the work on what was there before has come, it is not taken for that of the new windows."""
    dut = made(QueueWindows, TINY, queues=1)
    window = {"base": PAGE, "limit": 3 * PAGE}

    async def bench(ctx):
        await ctx.tick().repeat(cycle + 1)
        ctx.set(dut.queue[0], {"enable": 0, "readable": window, "writable": window})
        await ctx.tick()
        ctx.set(dut.queue[0].enable, 1)
        while not ctx.get(dut.ready):
            await ctx.tick()
        for each in (*dut.channel, dut.all):
            assert (ctx.get(each.base), ctx.get(each.limit)) == words(window, 0)

    simulate(dut, bench, cycles=100)


def test_reset():
    def prepare(dut):
        use = Use(dut, seed=5, count=2)
        return use.bench, [], use.found

    check_reset(lambda: QueueWindows(TINY, queues=2), prepare, cycles=500)
