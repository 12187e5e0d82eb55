"""KeyLoader and ValueLoader: regions of random jobs, checked against what is held at the time."""

import dataclasses
import random

import pytest
from amaranth.hdl import Array, Elaboratable, Module, Signal, Value
from amaranth.sim import Simulator

from hdl.control.regions.key_loader import KeyLoader
from hdl.control.regions.value_loader import ValueLoader
from hdl.spec import payloads
from hdl.spec.config import PRESETS
from sim.common.packing import pack, unpack

TINY = PRESETS["tiny"]
CONFIGS = {"tiny": TINY, "many": dataclasses.replace(TINY, contexts=8, key_rows=192, key_pages=12, banks_per_lane=2)}


class Table(Elaboratable):
    """A loader with a context table in front of it."""

    def __init__(self, loader, config):
        self.loader = loader
        shape = payloads.job_record(config)
        self.words = [Signal(shape.size, name=f"word_{c}") for c in range(config.contexts)]

    def elaborate(self, platform):
        m = Module()
        m.submodules.loader = self.loader
        m.d.comb += Value.cast(self.loader.record).eq(Array(self.words)[self.loader.context])
        return m


def random_record(config, rng, *, generation, pair=0, like=None):
    if like is not None:
        return {**like, "pair": pair}
    dim = 16 if pair else rng.choice(config.dims)
    slices = config.slices(dim)
    keys = rng.randint(1, (config.buffer_slots // slices) // (1 + (pair > 0)))
    repeat = 0
    if not generation and config.packs(dim, keys):
        repeat = config.scores_per_line(dim) - 1
    return {
        "dim": dim,
        "log_slices": config.log_slices(dim),
        "num_keys": keys,
        "repeat": repeat,
        "generation": int(generation),
        "pair": pair,
        "value_keep": rng.randint(1, keys),
        "key_bits": 6,
        "value_bits": 8,
        "skew": rng.randrange(config.num_channels),
    }


def job_records(config, rng, count):
    records = []
    while len(records) < count:
        if rng.random() < 0.3:
            first = random_record(config, rng, generation=True, pair=1)
            records += [first, random_record(config, rng, generation=True, pair=2, like=first)]
        else:
            records.append(random_record(config, rng, generation=rng.random() < 0.5))
    return records


class Jobs:
    """Takes contexts in turn and gives them free in turn, some time after the loader's flag ``released`` is set."""

    def __init__(self, config, loader, records, seed):
        self.config, self.loader, self.records = config, loader, records
        self.rng = random.Random(seed)
        self.table = Table(loader, config)
        self.job_of = {}  # context -> job
        self.taken = self.freed = 0
        self.held = {}  # job -> (first slot, behind the last)

    def claim(self, job, slot, slots, limit):
        region = (slot, slot + slots)
        assert slot + slots <= limit
        for other in self.held.values():
            assert region[1] <= other[0] or other[1] <= region[0], "regions overlap"
        self.held[job] = region

    async def contexts(self, ctx):
        """One cycle of the context table."""
        loader, contexts = self.loader, self.config.contexts
        clear = 0
        released = ctx.get(loader.released)
        head = self.freed % contexts
        if self.freed < self.taken and released >> head & 1 and self.rng.random() < 0.3:
            ctx.set(loader.valid, ctx.get(loader.valid) & ~(1 << head))
            del self.job_of[head]
            self.freed += 1
        elif self.taken < len(self.records) and self.taken - self.freed < contexts and self.rng.random() < 0.5:
            context = self.taken % contexts
            clear = 1 << context
            self.entering = context
        ctx.set(loader.clear, clear)
        return clear

    def enter(self, ctx, context):
        record = dict.fromkeys(payloads.job_record(self.config).members, 0) | self.records[self.taken]
        ctx.set(self.table.words[context], pack(payloads.job_record(self.config), record))
        ctx.set(self.loader.valid, ctx.get(self.loader.valid) | 1 << context)
        self.job_of[context] = self.taken
        self.taken += 1


@pytest.mark.parametrize("config", CONFIGS.values(), ids=CONFIGS)
@pytest.mark.parametrize("seed", range(3))
def test_key_regions(config, seed):
    rng = random.Random(seed)
    records = job_records(config, rng, 60)
    loader = KeyLoader(config)
    jobs = Jobs(config, loader, records, seed)
    commands, done = [], set()
    seqs = {}

    def expected_seq():
        seq = 0
        for job, record in enumerate(records):
            seqs[job] = (seqs[job - 1] if record["pair"] == 2 else seq) % (1 << config.seq_width)
            if record["pair"] != 2:
                seq += record["num_keys"] + record["repeat"]

    expected_seq()

    def region(record):
        used = (record["num_keys"] + record["repeat"]) << record["log_slices"]
        return -(-used // config.key_banks) * config.key_banks

    async def bench(ctx):
        quiet = 0
        while jobs.freed < len(records):
            quiet += 1
            assert quiet < 2000, "watchdog"
            clear = await jobs.contexts(ctx)
            ready = rng.random() < 0.6
            ctx.set(loader.command.ready, ready)
            final = ctx.get(loader.final)
            for context in jobs.job_of:
                if ctx.get(loader.keyed) >> context & 1 and not final >> context & 1 and rng.random() < 0.1:
                    final |= 1 << context
            ctx.set(loader.final, final)
            ctx.set(loader.paired, sum((records[job]["pair"] == 1) << context for context, job in jobs.job_of.items()))
            context = ctx.get(loader.context)
            fired = ctx.get(loader.command.valid) and ready
            command = unpack(loader.command.payload.shape(), ctx.get(Value.cast(loader.command.payload)))
            released = ctx.get(loader.released)
            await ctx.tick()
            if clear:
                jobs.enter(ctx, jobs.entering)
                ctx.set(loader.final, ctx.get(loader.final) & ~clear)
                quiet = 0
            now = ctx.get(loader.released)
            for c in range(config.contexts):
                if now & ~released & ~clear & 1 << c:
                    jobs.held.pop(jobs.job_of[c], None)
                    done.add(jobs.job_of[c])
            if fired:
                job = jobs.job_of[context]
                record = records[job]
                assert record["pair"] != 2
                assert command["count"] == record["num_keys"] and command["repeat"] == record["repeat"]
                assert command["plane"]["dim"] == record["dim"] * (2 if record["pair"] else 1)
                assert command["pair"] == (record["pair"] == 1) and command["seq"] == seqs[job]
                assert command["plane"]["skew"] == record["skew"] and command["slot"] % config.key_banks == 0
                jobs.claim(job, command["slot"], region(record) * (1 + record["pair"]), config.key_slots)
                commands.append(job)
            for c, job in jobs.job_of.items():
                if ctx.get(loader.keyed) >> c & 1 and records[job]["pair"] == 2 and job not in done:
                    first = jobs.held.get(job - 1)
                    if first is not None:
                        assert ctx.get(loader.slot[c]) == first[0] + region(records[job])
                    assert ctx.get(loader.seq[c]) == seqs[job]
        assert not jobs.held

    sim = Simulator(jobs.table)
    sim.add_clock(1e-6)
    sim.add_testbench(bench)
    sim.run()
    assert commands == [job for job, record in enumerate(records) if record["pair"] != 2]


@pytest.mark.parametrize("seed", range(4))
def test_value_regions(seed):
    """Summarization jobs in job order behind older generation jobs; these when their rows come, in any order."""
    config, rng = CONFIGS["many"], random.Random(seed)
    records = [random_record(config, rng, generation=rng.random() < 0.6) for _ in range(60)]
    loader = ValueLoader(config)
    jobs = Jobs(config, loader, records, seed)
    order, seq = [], 0

    async def bench(ctx):
        nonlocal seq
        quiet, asked, offered = 0, set(), None
        ctx.set(loader.generation, 0)
        while jobs.freed < len(records):
            quiet += 1
            assert quiet < 2000, "watchdog"
            clear = await jobs.contexts(ctx)
            ready = [rng.random() < 0.6, rng.random() < 0.6]
            ctx.set(loader.command.ready, ready[0])
            ctx.set(loader.gather_command.ready, ready[1])
            commanded = ctx.get(loader.commanded)
            generation = sum(records[job]["generation"] << c for c, job in jobs.job_of.items())
            ctx.set(loader.generation, generation)
            ctx.set(loader.keyed, ctx.get(loader.valid))
            done = ctx.get(loader.done)
            for c in jobs.job_of:
                if commanded >> c & 1 and not clear >> c & 1 and rng.random() < 0.1:
                    done |= 1 << c
                    jobs.held.pop(jobs.job_of[c], None)
            ctx.set(loader.done, done)
            # Like the controller: a generation row comes only when no older summarization job is in flight.
            rows = [
                c for c, job in jobs.job_of.items()
                if generation >> c & 1 and job not in asked
                and all(records[j]["generation"] or done >> k & 1 for k, j in jobs.job_of.items() if j < job)
            ]  # fmt: skip
            if offered is None and rows and rng.random() < 0.4:
                offered = rng.choice(rows)
                asked.add(jobs.job_of[offered])
                tag = {"context": offered, "query": 0, "group": 0, "second": 0}
                ctx.set(Value.cast(loader.gather_row.payload), pack(payloads.row_tag(config), tag))
            ctx.set(loader.gather_row.valid, offered is not None)
            taken = offered is not None and ctx.get(loader.gather_row.ready)
            fired = [
                ctx.get(port.valid) and go
                for port, go in zip((loader.command, loader.gather_command), ready, strict=True)
            ]
            commands = [
                unpack(port.payload.shape(), ctx.get(Value.cast(port.payload)))
                for port in (loader.command, loader.gather_command)
            ]
            context = ctx.get(loader.context)
            await ctx.tick()
            if taken:
                offered = None
            if clear:
                jobs.enter(ctx, jobs.entering)
                ctx.set(loader.done, ctx.get(loader.done) & ~clear)
                quiet = 0
            for gathers in range(2):
                if not fired[gathers]:
                    continue
                job, command = jobs.job_of[context], commands[gathers]
                record = records[job]
                assert record["generation"] == gathers
                rows_of = record["value_keep"] if gathers else record["num_keys"] + record["repeat"]
                assert command["count"] == (record["value_keep"] if gathers else record["num_keys"])
                assert command["repeat"] == (0 if gathers else record["repeat"])
                assert command["seq"] == seq % (1 << config.seq_width)
                assert command["shift"] == config.operand_width - record["value_bits"]
                if not gathers:
                    older = [j for j in jobs.job_of.values() if j < job and records[j]["generation"]]
                    assert set(older) <= set(order), "an older generation job has no region yet"
                jobs.claim(job, command["slot"], rows_of << record["log_slices"], config.value_slots)
                seq += rows_of
                order.append(job)
        assert not jobs.held and sorted(order) == list(range(len(records)))

    sim = Simulator(jobs.table)
    sim.add_clock(1e-6)
    sim.add_testbench(bench)
    sim.run()
