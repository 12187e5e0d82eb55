"""ValueLoader: summarization jobs in job order after older generation jobs; these when their rows come."""

import random

import pytest
from amaranth.hdl import Value

from hdl.control.regions.value_loader import ValueLoader
from hdl.spec import payloads
from sim.common.packing import pack, unpack
from tests.bench.harness import check_reset, simulate
from tests.bench.records import random_record
from tests.bench.region_bench import CONFIGS, Jobs, Monitor, Table

CONFIG = CONFIGS["many"]


class Use:
    """Random jobs through a loader; ``order``: (cycle, job) of each command."""

    def __init__(self, table, seed, count):
        self.loader, self.rng = table, random.Random(seed)
        self.records = [random_record(CONFIG, self.rng, generation=self.rng.random() < 0.6) for _ in range(count)]
        self.jobs = Jobs(CONFIG, table, self.records, seed)
        self.asked, self.offered, self.seq, self.order = set(), None, 0, []
        self.ports = (table.command, table.gather_command)

    def drive(self, ctx, clear):
        loader, job_of, rng = self.loader, self.jobs.job_of, self.rng
        for port in self.ports:
            ctx.set(port.ready, rng.random() < 0.6)
        commanded = ctx.get(loader.commanded)
        generation = sum(self.records[job]["generation"] << c for c, job in job_of.items())
        ctx.set(loader.generation, generation)
        ctx.set(loader.keyed, ctx.get(loader.valid))
        done = ctx.get(loader.done)
        for c in job_of:
            if commanded >> c & 1 and not clear >> c & 1 and rng.random() < 0.1:
                done |= 1 << c
                self.jobs.held.pop(job_of[c], None)
        ctx.set(loader.done, done)
        self.offer_row(ctx, generation, done)

    def offer_row(self, ctx, generation, done):
        """Like the controller: a generation row comes only when no older summarization job is in flight."""
        job_of = self.jobs.job_of

        def alone(job):
            older = ((c, j) for c, j in job_of.items() if j < job)
            return all(self.records[j]["generation"] or done >> c & 1 for c, j in older)

        rows = [c for c, job in job_of.items() if generation >> c & 1 and job not in self.asked and alone(job)]
        if self.offered is None and rows and self.rng.random() < 0.4:
            self.offered = self.rng.choice(rows)
            self.asked.add(job_of[self.offered])
            tag = {"context": self.offered, "query": 0, "group": 0, "second": 0}
            ctx.set(Value.cast(self.loader.gather_row.payload), pack(payloads.row_tag(CONFIG), tag))
        ctx.set(self.loader.gather_row.valid, self.offered is not None)

    def check_command(self, cycle, job, gathers, command):
        record = self.records[job]
        assert record["generation"] == gathers
        rows = record["value_keep"] if gathers else record["num_keys"] + record["repeat"]
        assert command["count"] == (record["value_keep"] if gathers else record["num_keys"])
        assert command["repeat"] == (0 if gathers else record["repeat"])
        assert command["seq"] == self.seq % (1 << CONFIG.seq_width)
        assert command["shift"] == CONFIG.operand_width - record["value_bits"]
        if not gathers:
            older = {j for j in self.jobs.job_of.values() if j < job and self.records[j]["generation"]}
            assert older <= {j for _, j in self.order}, "an older generation job has no region yet"
        self.jobs.claim(job, command["slot"], rows << record["log_slices"], CONFIG.value_slots)
        self.seq += rows
        self.order.append((cycle, job))

    async def bench(self, ctx):
        loader, jobs, cycle = self.loader, self.jobs, 0
        monitors = [Monitor(port) for port in self.ports]
        while not jobs.over:
            cycle += 1
            clear = jobs.begin(ctx)
            self.drive(ctx, clear)
            for monitor in monitors:
                monitor.look(ctx)
            taken = self.offered is not None and ctx.get(loader.gather_row.ready)
            fired = [ctx.get(port.valid) and ctx.get(port.ready) for port in self.ports]
            commands = [unpack(port.payload.shape(), ctx.get(Value.cast(port.payload))) for port in self.ports]
            context = ctx.get(loader.context)
            await ctx.tick()
            if taken:
                self.offered = None
            jobs.end(ctx, clear, loader.done)
            for gathers in range(2):
                if fired[gathers]:
                    self.check_command(cycle, jobs.job_of[context], gathers, commands[gathers])
        assert not jobs.held


@pytest.mark.parametrize("seed", range(4))
def test_regions(seed):
    table = Table(ValueLoader(CONFIG), CONFIG)
    use = Use(table, seed, 60)
    simulate(table, use.bench, cycles=20_000)
    assert sorted(job for _, job in use.order) == list(range(60))


def test_reset():
    def prepare(table):
        use = Use(table, 7, 16)
        return use.bench, [], use.order

    check_reset(lambda: Table(ValueLoader(CONFIG), CONFIG), prepare, cycles=5000, resets=12)
