"""FirstPasses: every row of every job in order, when it is safe to issue it."""

import itertools
import random

import pytest

from hdl.control.queries.first_passes import FirstPasses
from hdl.control.queries.second_passes import SecondPasses
from hdl.spec.config import PRESETS
from tests.bench.harness import check_reset, made, simulate
from tests.bench.query_bench import Datapath, rows_of
from tests.bench.records import full_record, set_record, set_records

TINY = PRESETS["tiny"]
CONTEXTS = TINY.contexts


def passes_use(dut, seed, take=0.6):
    """The rows on offer, taken at random."""
    rng = random.Random(seed)
    records = [full_record(TINY, rng, queries=8, progressive=0) for _ in range(CONTEXTS)]
    seen = []

    async def bench(ctx):
        set_records(ctx, dut.record, TINY, records)
        for port in (dut.valid, dut.keyed, dut.values_commanded):
            ctx.set(port, 15)
        datapath = Datapath(dut, records, rng, fast=True)
        rows = rows_of(records)
        cycle = late = 0
        while rows:
            cycle, late = cycle + 1, late + 1
            assert late < 100, "watchdog"
            datapath.drive(ctx)
            offer = ctx.get(dut.offer)
            takes = offer and rng.random() < take
            ctx.set(dut.take, takes)
            row = tuple(ctx.get(dut.row[name]) for name in ("context", "query", "group"))
            if offer:
                assert row == rows[0]
            if takes:
                late = 0
                rows.pop(0)
                datapath.issued(row, 0)
                seen.append((cycle, row))
            await ctx.tick()
        ctx.set(dut.take, 0)
        await ctx.tick().repeat(5)
        assert not ctx.get(dut.offer), "more rows than the jobs have"

    return bench, seen


@pytest.mark.parametrize("take", [0.4, 1])
@pytest.mark.parametrize("seed", range(4))
def test_first_passes(seed, take):
    dut = made(FirstPasses, TINY)
    bench, seen = passes_use(dut, seed, take)
    simulate(dut, bench, cycles=2000)
    if take == 1:  # a row a cycle within a job
        for (cycle, row), (after, following) in itertools.pairwise(seen):
            assert row[0] != following[0] or after == cycle + 1
            assert row[0] == following[0] or after > cycle + 1


def test_first_passes_reset():
    def prepare(dut):
        bench, seen = passes_use(dut, 3)
        return bench, [], seen

    check_reset(lambda: FirstPasses(TINY), prepare, cycles=1000)


class Jobs:
    """Jobs that come and go in their order: each in the next context, which is free when the job before it has left."""

    def __init__(self, dut, config, rng, count):
        self.dut, self.config, self.rng, self.count = dut, config, rng, count
        self.came = self.left = 0
        self.records = [{} for _ in range(config.contexts)]
        self.datapath = Datapath(dut, self.records, rng)
        self.flags = {"valid": 0, "keyed": 0, "values_commanded": 0}
        self.rows = []  # to be offered
        self.second = 0  # second passes that were issued

    def live(self):
        return [job % self.config.contexts for job in range(self.left, self.came)]

    def is_final(self, context):
        return self.datapath.final[context] == self.records[context]["rows"]

    def drive(self, ctx):
        dut, rng, datapath, flags = self.dut, self.rng, self.datapath, self.flags
        datapath.drive(ctx)
        redone = bool(datapath.flat) and rng.random() < 0.5
        ctx.set(dut.redone, redone)
        self.second += redone
        if redone:
            datapath.issued(datapath.flat.pop(0), 1)
        live = self.live()
        if live and self.is_final(live[0]):
            for name in flags:
                flags[name] &= ~(1 << live[0])
            self.left += 1
        elif self.came < self.count and len(live) < self.config.contexts and rng.random() < 0.3:
            self.begin(ctx)
        for name in ("keyed", "values_commanded"):
            for context in self.live():
                flags[name] |= (rng.random() < 0.05) << context
        for name, value in flags.items():
            ctx.set(getattr(dut, name), value)

    def begin(self, ctx):
        context = self.came % self.config.contexts
        record = full_record(self.config, self.rng, queries=8)
        if record["generation"]:  # the rows of a group of heads
            record["rows"] = self.rng.randint(1, self.config.max_group)
        self.records[context] = record
        set_record(ctx, self.dut.record[context], self.config, record)
        self.datapath.final[context] = 0
        self.flags["valid"] |= 1 << context
        self.rows += [(context, row, row // record["num_queries"]) for row in range(record["rows"])]
        self.came += 1

    def check(self, context):
        """The context's row may be issued: its K, and V or all rows of older summarization jobs, have been given."""
        assert (self.flags["valid"] & self.flags["keyed"]) >> context & 1, "no job, or its K is not given"
        if not self.records[context]["generation"]:
            assert self.flags["values_commanded"] >> context & 1, "V is not given"
            return
        for older in itertools.takewhile(lambda older: older != context, self.live()):
            assert self.records[older]["generation"] or self.is_final(older), "older rows are not final"


def jobs_use(dut, config, seed, count):
    """Jobs one after another through all contexts, more than once; (cycle, row) of each that is taken."""
    rng, seen = random.Random(seed), []

    async def bench(ctx):
        jobs = Jobs(dut, config, rng, count)
        cycle = late = 0
        while jobs.left < count:
            cycle, late = cycle + 1, late + 1
            assert late < 300, "watchdog"
            offer = ctx.get(dut.offer)
            row = tuple(ctx.get(dut.row[name]) for name in ("context", "query", "group"))
            takes = offer and rng.random() < 0.6
            if offer:
                assert jobs.rows and jobs.rows[0] == row
                jobs.check(row[0])
            jobs.drive(ctx)
            ctx.set(dut.take, takes)
            if takes:
                late = 0
                jobs.datapath.issued(jobs.rows.pop(0), 0)
                seen.append((cycle, row))
            await ctx.tick()
        assert not jobs.rows
        assert jobs.second > SecondPasses.DEPTH

    return bench, seen


@pytest.mark.parametrize("seed", range(2))
def test_jobs_come_and_go(seed):
    """Many times through all contexts, jobs of both kinds; more flat rows than there are places for second passes."""
    dut = made(FirstPasses, TINY)
    bench, seen = jobs_use(dut, TINY, seed, 60 * CONTEXTS)
    simulate(dut, bench, cycles=20_000)
    assert {row[0] for _, row in seen} == set(range(CONTEXTS))


@pytest.mark.parametrize("missing", ["valid", "keyed", "values_commanded"])
def test_nothing_is_offered_too_early(missing):
    """A summarization job without K or V, or no job at all; it is offered soon after."""
    dut, rng = made(FirstPasses, TINY), random.Random(6)
    record = full_record(TINY, rng, generation=0, progressive=0)

    async def bench(ctx):
        set_records(ctx, dut.record, TINY, [record] * CONTEXTS)
        for name in ("valid", "keyed", "values_commanded"):
            ctx.set(getattr(dut, name), 0 if name == missing else 1)
        for _ in range(30):
            await ctx.tick()
            assert not ctx.get(dut.offer)
        ctx.set(getattr(dut, missing), 1)
        await ctx.tick().repeat(2)
        assert ctx.get(dut.offer)

    simulate(dut, bench, cycles=100)
