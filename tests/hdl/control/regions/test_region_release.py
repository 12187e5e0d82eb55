"""RegionRelease: each region is given back once, when it is no longer needed, and counted as released."""

import random

import pytest

from hdl.control.regions.region_release import RegionRelease
from hdl.spec.config import PRESETS
from tests.bench.harness import check_reset, made, simulate

TINY = PRESETS["tiny"]
PAGES, CONTEXTS = TINY.key_pages, TINY.contexts


def random_use(dut, seed, regions=40):
    """Regions come, are needed no longer, and are released; fills ``given`` with (cycle, page, count)."""
    rng = random.Random(seed)
    given = []

    async def bench(ctx):
        held = [(rng.randrange(PAGES), rng.randrange(4)) for _ in range(CONTEXTS)]  # count 0: no pages of its own
        expected, over = [], [False] * CONTEXTS
        freed = cycle = late = 0
        while freed < regions:
            cycle, late = cycle + 1, late + 1
            assert late < 200, "watchdog"
            context, released = ctx.get(dut.context), ctx.get(dut.released)
            ctx.set(dut.page, held[context][0])
            ctx.set(dut.count, held[context][1])
            if ctx.get(dut.release.valid):
                run = ctx.get(dut.release.payload.page), ctx.get(dut.release.payload.count)
                given.append((cycle, *run))
                assert run in expected, "a region that is still needed, or was given back before"
                expected.remove(run)
            clear = 0
            for c in range(CONTEXTS):
                if released >> c & 1 and rng.random() < 0.3:
                    assert over[c], "released, but needed"
                    clear |= 1 << c
                    over[c], held[c] = False, (rng.randrange(PAGES), rng.randrange(4))
                    freed, late = freed + 1, 0
                elif not over[c] and not released >> c & 1 and rng.random() < 0.2:
                    over[c] = True
                    expected += [held[c]] if held[c][1] else []
            ctx.set(dut.clear, clear)
            ctx.set(dut.done, sum(flag << c for c, flag in enumerate(over)))
            await ctx.tick()

    return bench, given


@pytest.mark.parametrize("seed", range(4))
def test_each_region_once(seed):
    dut = made(RegionRelease, TINY, pages=PAGES)
    bench, given = random_use(dut, seed)
    simulate(dut, bench, cycles=5000)
    assert given


def test_rate():
    """A region every other cycle, the lowest context first."""
    dut = made(RegionRelease, TINY, pages=PAGES)

    async def bench(ctx):
        ctx.set(dut.done, 15)
        ctx.set(dut.count, 1)
        order = []
        for cycle in range(12):
            _, _, valid, context = await ctx.tick().sample(dut.release.valid, dut.context)
            if valid:
                order.append((cycle, context))
        assert order == [(1 + 2 * c, c) for c in range(CONTEXTS)]

    simulate(dut, bench, cycles=50)


def test_reset():
    def prepare(dut):
        bench, given = random_use(dut, 5, 12)
        return bench, [], given

    check_reset(lambda: RegionRelease(TINY, pages=PAGES), prepare, cycles=2000)
