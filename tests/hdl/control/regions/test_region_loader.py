"""RegionLoader: regions that do not overlap, one job at a time, in the cycles that it promises."""

import random

import pytest
from amaranth.hdl import Value

from hdl.control.regions.region_loader import RegionLoader
from hdl.spec import payloads
from hdl.spec.config import PRESETS
from sim.common.packing import pack, unpack
from tests.bench.harness import check_reset, simulate

TINY = PRESETS["tiny"]
PAGES, PAGE_SLOTS, CONTEXTS = 8, 4, TINY.contexts
RECORD = payloads.job_record(TINY)


def make():
    return RegionLoader(TINY, pages=PAGES, page_slots=PAGE_SLOTS)


class Jobs:
    """Jobs in turn: each starts in a free context, gets slots, and gives them back some time after.

    ``log``: (cycle, job, first slot) of each job that was served.
    """

    def __init__(self, dut, seed, count=60, *, stall=0.4):
        self.dut, self.rng, self.stall, self.log = dut, random.Random(seed), stall, []
        self.sizes, self.pairs = [], []
        while len(self.sizes) < count:
            pair = self.rng.random() < 0.3
            size = self.rng.randint(1, PAGES * PAGE_SLOTS // (1 + pair))
            self.sizes += [size] * (1 + pair)
            self.pairs += [1, 2] if pair else [0]

    async def bench(self, ctx):
        dut, rng = self.dut, self.rng
        job = ended = cycle = late = seq = last = over = valid = 0
        started, granted = None, False
        regions, free = {}, [0] * CONTEXTS  # job -> (first slot, first one after the last); cycle in which it was freed
        while ended < len(self.sizes):
            cycle, late = cycle + 1, late + 1
            assert late < 400, "watchdog"
            context = job % CONTEXTS
            fresh = job < len(self.sizes) and job - ended < CONTEXTS and started is None
            start = fresh and cycle >= free[context] + 2 and ctx.get(dut.idle) and rng.random() >= self.stall
            ctx.set(dut.start, start)
            if start:
                started, valid = job, valid | 1 << context
                ctx.set(dut.context, context)
                ctx.set(Value.cast(dut.record), pack(RECORD, dict.fromkeys(RECORD.members, 0) | {"job_id": job}))
            elif started is not None:
                assert unpack(RECORD, ctx.get(Value.cast(dut.job)))["job_id"] == started
                self.size(ctx, started, seq)
            ctx.set(dut.taken, granted and rng.random() >= self.stall)
            # Jobs end in turn, both of a pair at once.
            ends = range(ended, ended + 1 + (self.pairs[ended] == 1))
            if all(j in regions for j in ends) and rng.random() < 0.1:
                over |= sum(1 << j % CONTEXTS for j in ends)
            if all(ctx.get(dut.released) >> j % CONTEXTS & 1 for j in ends):
                for j in ends:
                    del regions[j]
                    free[j % CONTEXTS] = cycle
                    valid, over = valid & ~(1 << j % CONTEXTS), over & ~(1 << j % CONTEXTS)
                ended += len(ends)
            ctx.set(dut.valid, valid)
            ctx.set(dut.clear, 15 & ~valid)
            ctx.set(dut.over, over)
            served = ctx.get(dut.served)
            granted = (granted or ctx.get(dut.granted)) and not served
            if served:
                assert started is not None
                last = self.serve(ctx, cycle, started, regions, last)
                seq += self.sizes[started] if self.pairs[started] != 2 else 0
            await ctx.tick()
            if served:
                assert ctx.get(dut.given) >> context & 1 and ctx.get(dut.slot_of[context]) == last
                assert ctx.get(dut.seq) == seq % (1 << TINY.seq_width)
                started, late, job = None, 0, job + 1

    def size(self, ctx, job, seq):
        """What the loader tells of the job."""
        dut = self.dut
        ctx.set(dut.slots, self.sizes[job])
        ctx.set(dut.rows, self.sizes[job])
        ctx.set(dut.pair, self.pairs[job] == 1)
        ctx.set(dut.shares, self.pairs[job] == 2)
        ctx.set(dut.first_seq, seq % (1 << TINY.seq_width))

    def serve(self, ctx, cycle, job, regions, last):
        """Checks the region of a job; returns its first slot."""
        slot, size = ctx.get(self.dut.slot), self.sizes[job]
        if self.pairs[job] == 2:
            assert slot == last + size, "not the second half of the first job's region"
        else:
            assert slot % PAGE_SLOTS == 0 and ctx.get(self.dut.job_slots) == size
        end = slot + size * (2 if self.pairs[job] == 1 else 1)
        assert end <= PAGES * PAGE_SLOTS
        for j, (begin, after) in regions.items():
            within = self.pairs[job] == 2 and j == job - 1
            assert within or end <= begin or after <= slot, "regions overlap"
        regions[job] = slot, end
        self.log.append((cycle, job, slot))
        return slot


@pytest.mark.parametrize("stall", [0, 0.6])
@pytest.mark.parametrize("seed", range(3))
def test_regions(seed, stall):
    dut = make()
    jobs = Jobs(dut, seed, stall=stall)
    simulate(dut, jobs.bench, cycles=20_000)
    assert [job for _, job, _ in jobs.log] == list(range(len(jobs.sizes)))


@pytest.mark.parametrize(("slots", "pair", "steps"), [(1, 0, 0), (5, 0, 1), (16, 0, 2), (9, 1, 3)])
def test_latency(slots, pair, steps):
    """From start to grant 5 cycles and one for each doubling of the pages; the next job may start two cycles later."""
    dut = make()

    async def bench(ctx):
        ctx.set(dut.valid, 3)
        ctx.set(dut.slots, slots)
        ctx.set(dut.rows, slots)
        ctx.set(dut.pair, pair)
        ctx.set(dut.start, 1)
        cycles = 0
        while not ctx.get(dut.granted):
            await ctx.tick()
            ctx.set(dut.start, 0)
            cycles += 1
        assert cycles == 5 + steps
        ctx.set(dut.taken, 1)
        await ctx.tick()
        assert ctx.get(dut.served) and not ctx.get(dut.idle)
        await ctx.tick()
        assert ctx.get(dut.idle) and ctx.get(dut.given) == 1
        if pair:
            ctx.set(dut.context, 1)
            ctx.set(dut.shares, 1)
            ctx.set(dut.start, 1)
            await ctx.tick().repeat(2)
            assert ctx.get(dut.served) and ctx.get(dut.slot) == slots
            await ctx.tick()
            assert ctx.get(dut.idle) and ctx.get(dut.given) == 3

    simulate(dut, bench, cycles=100)


def test_reset():
    def prepare(dut):
        jobs = Jobs(dut, 5, 16)
        return jobs.bench, [], jobs.log

    check_reset(make, prepare, cycles=3000)
