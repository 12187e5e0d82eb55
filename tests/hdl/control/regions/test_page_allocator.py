import random

import pytest
from amaranth.hdl import ResetInserter, Signal
from hypothesis import given
from hypothesis import strategies as st

from hdl.control.regions.page_allocator import PageAllocator
from tests.bench.examples import examples
from tests.bench.harness import Simulation, made


class Model:
    """Which pages are held. A grant is checked when it shows."""

    def __init__(self, pages):
        self.pages = pages
        self.held = {}  # first page: count

    def taken(self):
        return [page + i for page, count in self.held.items() for i in range(count)]

    def grant(self, page, count):
        run = range(page, page + count)
        assert run.stop <= self.pages, "run goes beyond the last page"
        assert not set(run) & set(self.taken()), "run overlaps another"
        self.held[page] = count

    def fits(self, count):
        taken = set(self.taken())
        return any(not taken & set(range(p, p + count)) for p in range(self.pages - count + 1))


def simulate(pages, bench):
    dut = made(PageAllocator, pages)
    sim = Simulation(dut)
    sim.add_clock(1e-6)

    async def run(ctx):
        await bench(ctx, dut)

    sim.add_testbench(run)
    sim.run()


async def ask(ctx, dut, count, limit=100):
    """Request, then take the grant; returns the page and the cycles from the request to the grant."""
    ctx.set(dut.request.p.count, count)
    ctx.set(dut.request.valid, 1)
    for _ in range(limit):
        _, _, ready = await ctx.tick().sample(dut.request.ready)
        if ready:
            break
    ctx.set(dut.request.valid, 0)
    ctx.set(dut.grant.ready, 1)
    for cycle in range(1, limit):
        _, _, valid, page = await ctx.tick().sample(dut.grant.valid, dut.grant.p.page)
        if valid:
            ctx.set(dut.grant.ready, 0)
            return page, cycle
    raise AssertionError(f"no grant of {count} pages in {limit} cycles")


async def release(ctx, dut, page, count):
    ctx.set(dut.release.p, {"page": page, "count": count})
    ctx.set(dut.release.valid, 1)
    await ctx.tick()
    ctx.set(dut.release.valid, 0)


def random_run(pages, rng, cycles, hold, stall):
    """Random requests, grants and releases in every cycle; a request that fits is granted within one search."""
    model = Model(pages)
    granted = []
    asked = None  # count of the request under way
    fit_for = 0
    limit = 2 * (3 + (pages - 1).bit_length())

    async def bench(ctx, dut):
        nonlocal asked, fit_for
        shown = False
        for _ in range(cycles):
            want = rng.randint(1, pages if rng.random() < 0.1 else max(1, pages // 4))
            valid = rng.random() >= stall
            if not ctx.get(dut.request.valid):
                ctx.set(dut.request.p.count, want)
            ctx.set(dut.request.valid, ctx.get(dut.request.valid) or valid)
            ctx.set(dut.grant.ready, rng.random() >= stall)
            free_now = None
            if model.held and rng.random() < len(model.held) / hold:
                free_now = rng.choice(sorted(model.held))
                ctx.set(dut.release.p, {"page": free_now, "count": model.held[free_now]})
            ctx.set(dut.release.valid, free_now is not None)
            request, taken_count = (
                ctx.get(dut.request.valid) and ctx.get(dut.request.ready),
                ctx.get(dut.request.p.count),
            )
            grant, page, taken = ctx.get(dut.grant.valid), ctx.get(dut.grant.p.page), ctx.get(dut.grant.ready)
            fits = asked is not None and not shown and model.fits(asked)
            if grant and not shown:
                model.grant(page, asked)
                shown = True
            fit_for = fit_for + 1 if fits else 0
            assert fit_for <= limit, "a run is free and was not found"
            if asked is None or shown:
                assert ctx.get(dut.free) == pages - len(model.taken())
            if grant and taken:
                granted.append((page, asked))
                asked, shown = None, False
            if free_now is not None:
                del model.held[free_now]
            if request:
                asked = taken_count
            await ctx.tick()
            if request:
                ctx.set(dut.request.valid, 0)

    simulate(pages, bench)
    return granted


@pytest.mark.parametrize("pages", [1, 2, 3, 16, 24, 32])
@pytest.mark.parametrize("stall", [0, 0.5])
def test_runs_never_overlap_and_are_found(pages, stall):
    granted = random_run(pages, random.Random(f"{pages} {stall}"), 600, hold=12, stall=stall)
    assert len(granted) >= 15


@examples(25)
@given(pages=st.integers(1, 40), hold=st.integers(1, 30), seed=st.integers(0, 1 << 16))
def test_random_sizes(pages, hold, seed):
    random_run(pages, random.Random(seed), 120, hold=hold, stall=0.2)


def test_latency():
    """Runs of 1 and 2 pages within 3 cycles, 8 of 24 within 5; next fit, around the end."""

    async def bench(ctx, dut):
        assert await ask(ctx, dut, 1) == (0, 2)
        assert await ask(ctx, dut, 2) == (1, 3)
        assert await ask(ctx, dut, 8) == (3, 5)
        assert await ask(ctx, dut, 5) == (11, 5)
        await release(ctx, dut, 0, 1)
        assert await ask(ctx, dut, 1) == (16, 2)
        await release(ctx, dut, 3, 8)
        assert await ask(ctx, dut, 7) == (17, 5), "up to the last page"
        assert await ask(ctx, dut, 1) == (0, 2), "then from the first"
        assert await ask(ctx, dut, 8) == (3, 5)
        assert ctx.get(dut.free) == 0

    simulate(24, bench)


def test_fragments_join():
    """A request that no run holds waits until neighbours are released, in any order; the next requests wait with it."""

    async def bench(ctx, dut):
        for i in range(12):
            assert (await ask(ctx, dut, 2))[0] == 2 * i
        for i in (0, 2, 4, 6, 8, 10):
            await release(ctx, dut, 2 * i, 2)
        assert ctx.get(dut.free) == 12
        ctx.set(dut.request.p.count, 8)
        ctx.set(dut.request.valid, 1)
        await ctx.tick()
        ctx.set(dut.request.valid, 0)
        await ctx.tick().repeat(30)
        assert not ctx.get(dut.grant.valid)
        assert not ctx.get(dut.request.ready)
        await release(ctx, dut, 2, 2)
        await ctx.tick().repeat(12)
        assert not ctx.get(dut.grant.valid), "6 pages only"
        await release(ctx, dut, 6, 2)
        await ctx.tick().repeat(12)
        assert ctx.get(dut.grant.valid)
        assert ctx.get(dut.grant.p.page) == 0
        assert ctx.get(dut.free) == 8

    simulate(24, bench)


def test_reset_in_a_search():
    dut = made(PageAllocator, 8)
    reset = Signal()
    sim = Simulation(ResetInserter(reset)(dut))
    sim.add_clock(1e-6)

    async def bench(ctx):
        await ask(ctx, dut, 3)
        ctx.set(dut.request.p.count, 7)
        ctx.set(dut.request.valid, 1)
        await ctx.tick().repeat(6)
        ctx.set(dut.request.valid, 0)
        ctx.set(reset, 1)
        await ctx.tick()
        ctx.set(reset, 0)
        assert ctx.get(dut.free) == 8
        await ctx.tick().repeat(10)
        assert not ctx.get(dut.grant.valid)
        assert (await ask(ctx, dut, 8))[0] == 0
        assert ctx.get(dut.free) == 0

    sim.add_testbench(bench)
    sim.run()


def test_needs_a_page():
    with pytest.raises(ValueError, match="pages must be at least 1, not 0"):
        PageAllocator(0)
