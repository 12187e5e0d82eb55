"""KeyLoader: regions of random jobs and pairs, checked against what is held at the time."""

import random

import pytest
from amaranth.hdl import Value

from hdl.control.regions.key_loader import KeyLoader
from sim.common.packing import unpack
from tests.bench.harness import check_reset, simulate
from tests.bench.records import job_records
from tests.bench.region_bench import CONFIGS, Jobs, Monitor, Table


def seqs_of(records, config):
    """Sequence number of each job's first row; the second of a pair has those of the first."""
    seqs, seq = [], 0
    for record in records:
        seqs.append(seqs[-1] if record["pair"] == 2 else seq % (1 << config.seq_width))
        if record["pair"] != 2:
            seq += record["num_keys"] + record["repeat"]
    return seqs


class Use:
    """Random jobs through a loader; ``commands``: (cycle, job) of each load."""

    def __init__(self, config, table, seed, count):
        self.config, self.loader = config, table
        self.rng = random.Random(seed)
        self.records = job_records(config, self.rng, count)
        self.jobs = Jobs(config, table, self.records, seed)
        self.seqs = seqs_of(self.records, config)
        self.done, self.commands = set(), []

    def region(self, record):
        """Slots of a job: whole rows of all banks."""
        used = (record["num_keys"] + record["repeat"]) << record["log_slices"]
        return -(-used // self.config.key_banks) * self.config.key_banks

    def drive(self, ctx):
        loader, job_of, rng = self.loader, self.jobs.job_of, self.rng
        ctx.set(loader.command.ready, rng.random() < 0.6)
        final = ctx.get(loader.final)
        for context in job_of:
            if ctx.get(loader.keyed) >> context & 1 and not final >> context & 1 and rng.random() < 0.1:
                final |= 1 << context
        ctx.set(loader.final, final)
        ctx.set(loader.paired, sum((self.records[job]["pair"] == 1) << context for context, job in job_of.items()))

    def check_command(self, cycle, job, command):
        record, config = self.records[job], self.config
        assert record["pair"] != 2
        assert command["count"] == record["num_keys"] and command["repeat"] == record["repeat"]
        assert command["plane"]["dim"] == record["dim"] * (2 if record["pair"] else 1)
        assert command["pair"] == (record["pair"] == 1) and command["seq"] == self.seqs[job]
        assert not command["pair"] or command["pair_offset"] == self.region(record)
        assert command["plane"]["skew"] == record["skew"] and command["slot"] % config.key_banks == 0
        self.jobs.claim(job, command["slot"], self.region(record) * (1 + record["pair"]), config.key_slots)
        self.commands.append((cycle, job))

    def check_table(self, ctx):
        """Region and sequence numbers of the second job of a pair are those of the first."""
        for c, job in self.jobs.job_of.items():
            if ctx.get(self.loader.keyed) >> c & 1 and job not in self.done:
                assert ctx.get(self.loader.seq[c]) == self.seqs[job]
                if self.records[job]["pair"] == 2 and job - 1 in self.jobs.held:
                    first = self.jobs.held[job - 1][0]
                    assert ctx.get(self.loader.slot[c]) == first + self.region(self.records[job])

    async def bench(self, ctx):
        loader, jobs, monitor, cycle = self.loader, self.jobs, Monitor(self.loader.command), 0
        while not jobs.over:
            cycle += 1
            clear = jobs.begin(ctx)
            self.drive(ctx)
            monitor.look(ctx)
            context, released = ctx.get(loader.context), ctx.get(loader.released)
            fired = ctx.get(loader.command.valid) and ctx.get(loader.command.ready)
            command = unpack(loader.command.payload.shape(), ctx.get(Value.cast(loader.command.payload)))
            await ctx.tick()
            jobs.end(ctx, clear, loader.final)
            now = ctx.get(loader.released) & ~released & ~clear
            for c in range(self.config.contexts):
                if now >> c & 1:
                    if self.records[jobs.job_of[c]]["pair"] == 1:
                        partner = (c + 1) % self.config.contexts
                        assert ctx.get(loader.final) >> partner & 1, "the second of the pair still reads the region"
                    jobs.held.pop(jobs.job_of[c], None)
                    self.done.add(jobs.job_of[c])
            if fired:
                self.check_command(cycle, jobs.job_of[context], command)
            self.check_table(ctx)
        assert not jobs.held


@pytest.mark.parametrize("config", CONFIGS.values(), ids=CONFIGS)
@pytest.mark.parametrize("seed", range(3))
def test_regions(config, seed):
    table = Table(KeyLoader(config), config)
    use = Use(config, table, seed, 60)
    simulate(table, use.bench, cycles=20_000)
    assert [job for _, job in use.commands] == [j for j, record in enumerate(use.records) if record["pair"] != 2]


def test_reset():
    config = CONFIGS["many"]

    def prepare(table):
        use = Use(config, table, 7, 16)
        return use.bench, [], use.commands

    check_reset(lambda: Table(KeyLoader(config), config), prepare, cycles=5000, resets=12)
