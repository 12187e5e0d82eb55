"""ContextTable against a list of jobs: who is in which context, and what that means for the id lists."""

import itertools
import random

import pytest
from amaranth.hdl import Value

from hdl.control.context_table import ContextTable
from hdl.spec import payloads
from hdl.spec.config import PRESETS
from sim.common.packing import unpack
from tests.bench.harness import check_reset, made, simulate
from tests.bench.records import full_record, set_record

TINY = PRESETS["tiny"]
CONTEXTS = TINY.contexts


def random_use(dut, seed, jobs=40):
    """Jobs come and end at random; fills ``seen`` with what the ports say in every cycle."""
    rng = random.Random(seed)
    records = [full_record(TINY, rng) for _ in range(jobs)]
    seen = []

    async def bench(ctx):
        begun = ended = 0
        offered, free_since = False, [0] * CONTEXTS
        lists = [False, False]  # free in the cycle before
        cycle = 0
        while ended < jobs:
            if not offered and begun < jobs and rng.random() < 0.5:
                offered = True
                set_record(ctx, dut.job.payload, TINY, records[begun])
                ctx.set(dut.job.valid, 1)
            ends = ended < begun and rng.random() < 0.2
            ctx.set(dut.end, ends)
            valid, ready = ctx.get(dut.valid), ctx.get(dut.job.ready)
            flight = range(ended, begun)
            assert valid == sum(1 << job % CONTEXTS for job in flight)
            assert ctx.get(dut.active) == (valid != 0)
            assert not flight or ctx.get(dut.oldest) == ended % CONTEXTS
            assert ctx.get(dut.accumulate) == sum(records[job]["accumulate"] << job % CONTEXTS for job in flight)
            for job in flight:
                port = dut.record[job % CONTEXTS]
                assert unpack(payloads.job_record(TINY), ctx.get(Value.cast(port))) == records[job]
            assert ctx.get(dut.list_free) == lists[0] | lists[1] << 1
            assert not ready or begun - ended < CONTEXTS
            using = [records[job] for job in flight]
            busy = any(record["accumulate"] for record in using)
            lists = [
                not busy and not any(record["listed"] and record["list"] == index for record in using)
                for index in range(2)
            ]
            seen.append((valid, ready))
            await ctx.tick()
            cycle += 1
            if ends:
                free_since[ended % CONTEXTS] = cycle
                ended += 1
            if offered and ready:
                assert cycle - free_since[begun % CONTEXTS] >= 2, "the context was not free for two cycles"
                offered = False
                begun += 1
                ctx.set(dut.job.valid, 0)

    return bench, seen


@pytest.mark.parametrize("seed", range(3))
def test_random_jobs(seed):
    dut = made(ContextTable, TINY)
    bench, _ = random_use(dut, seed)
    simulate(dut, bench, cycles=2000)


def test_rate():
    """Four jobs in a row: one every two cycles, and then no room."""
    dut = made(ContextTable, TINY)
    taken = []

    async def bench(ctx):
        ctx.set(dut.job.valid, 1)
        for cycle in range(20):
            _, _, ready = await ctx.tick().sample(dut.job.ready)
            if ready:
                taken.append(cycle)

    simulate(dut, bench, cycles=50)
    assert [b - a for a, b in itertools.pairwise(taken)] == [2] * (CONTEXTS - 1)


def test_reset():
    def prepare(dut):
        bench, seen = random_use(dut, 9, 12)
        return bench, [], seen

    check_reset(lambda: ContextTable(TINY), prepare, cycles=900)
