"""QueryIssuer and FirstPasses: every row of every job in order, flat ones again before later rows."""

import itertools
import random

import pytest
from amaranth.hdl import Value

from hdl.control.queries.first_passes import FirstPasses
from hdl.control.queries.query_issuer import QueryIssuer
from hdl.spec.config import PRESETS
from sim.common.packing import pack, unpack
from tests.bench.harness import ProtocolError, check_reset, made, simulate
from tests.bench.records import full_record, set_records

TINY = PRESETS["tiny"]
CONTEXTS = TINY.contexts


def rows_of(records):
    """(context, row, group) of every first pass, in order."""
    return [
        (context, row, row // record["num_queries"])
        for context, record in enumerate(records)
        for row in range(record["rows"])
    ]


def issue_of(record, row, slot, seq, second):
    """Golden of an issue: plane and row of Q, and the keys that the row attends."""
    context, query, group = row
    place = query % record["num_queries"]
    length = record["num_keys"] - record["num_queries"] + place + 1 if record["causal"] else record["num_keys"]
    plane = {"base": record["query_base"], "width": record["query_bits"]}
    return {
        "request": {"plane": plane | {name: record[name] for name in ("dim", "log_slices", "skew")}, "row": query},
        "facts": {
            "tag": {"context": context, "query": query, "group": group, "second": second},
            "length": length,
            "log_slices": record["log_slices"],
            "pack": record["pack"],
            "slot": slot,
            "seq": seq,
            "low": int(not record["progressive"] or second),
        },
    }


class Datapath:
    """Decides rows some time after they were issued; flat ones of summarization jobs come again."""

    def __init__(self, dut, records, rng, *, fast=False):
        self.dut, self.records, self.rng = dut, records, rng
        self.pending, self.final, self.flat = [], [0] * len(records), []
        self.fast, self.settled = fast, 0

    def issued(self, row, second):
        self.pending.append((row, second))

    def drive(self, ctx):
        """Events of a cycle."""
        dut = self.dut
        ctx.set(dut.settled, self.settled)
        self.settled = 0
        ctx.set(dut.decided.valid, 0)
        if not self.pending or not (self.fast or self.rng.random() < 0.3):
            return
        (context, query, group), second = self.pending.pop(0)
        record = self.records[context]
        flat = not second and record["progressive"] and self.rng.random() < 0.5
        tag = {"context": context, "query": query, "group": group, "second": second}
        ctx.set(Value.cast(dut.decided.payload), pack(dut.decided.payload.shape(), {"tag": tag, "flat": flat}))
        ctx.set(dut.decided.valid, 1)
        if flat and not record["generation"]:
            self.flat.append((context, query, group))
        elif not flat:
            self.final[context] += 1
            self.settled = int(self.final[context] == record["rows"] and not record["generation"])
        else:
            self.final[context] += 1  # generation: the second pass does not come this way


def issuer_use(dut, seed):
    rng = random.Random(seed)
    records = [full_record(TINY, rng, queries=8) for _ in range(CONTEXTS)]
    slots = [rng.randrange(TINY.key_slots) for _ in records]
    seqs = [rng.randrange(1 << TINY.seq_width) for _ in records]
    seen = []

    async def bench(ctx):
        set_records(ctx, dut.record, TINY, records)
        for context in range(CONTEXTS):
            ctx.set(dut.slot[context], slots[context])
            ctx.set(dut.seq[context], seqs[context])
        ctx.set(dut.valid, 15)
        datapath = Datapath(dut, records, rng)
        first = rows_of(records)
        held, late, cycle = None, 0, 0
        while first or datapath.pending or datapath.flat:
            cycle, late = cycle + 1, late + 1
            assert late < 300, "watchdog"
            datapath.drive(ctx)
            for port in (dut.keyed, dut.values_commanded):  # V of a context after its K
                if rng.random() < 0.1:
                    context = rng.randrange(CONTEXTS)
                    if port is dut.keyed or ctx.get(dut.keyed) >> context & 1:
                        ctx.set(port, ctx.get(port) | 1 << context)
            if rng.random() < 0.05:
                ctx.set(dut.lsb_loaded, ctx.get(dut.lsb_loaded) | 1 << rng.randrange(CONTEXTS))
            ready = rng.random() < 0.5
            ctx.set(dut.issue.ready, ready)
            valid, word = ctx.get(dut.issue.valid), ctx.get(Value.cast(dut.issue.payload))
            if held is not None and (not valid or word != held):
                raise ProtocolError("issue changed before it was taken")
            held = word if valid and not ready else None
            if valid and ready:
                late = 0
                issue = unpack(dut.issue.payload.shape(), word)
                tag = issue["facts"]["tag"]
                row = tag["context"], tag["query"], tag["group"]
                queue = datapath.flat if tag["second"] else first
                assert queue and queue.pop(0) == row, "out of order"
                assert ctx.get(dut.keyed) >> row[0] & 1
                assert not tag["second"] or ctx.get(dut.lsb_loaded) >> row[0] & 1
                record = records[row[0]]
                assert record["generation"] or ctx.get(dut.values_commanded) >> row[0] & 1
                assert issue == issue_of(record, row, slots[row[0]], seqs[row[0]], tag["second"])
                datapath.issued(row, tag["second"])
                seen.append((cycle, row, tag["second"]))
            await ctx.tick()

    return bench, seen


@pytest.mark.parametrize("seed", range(6))
def test_issuer(seed):
    dut = made(QueryIssuer, TINY)
    bench, seen = issuer_use(dut, seed)
    simulate(dut, bench, cycles=5000)
    assert seen


def test_issuer_reset():
    def prepare(dut):
        bench, seen = issuer_use(dut, 8)
        return bench, [], seen

    check_reset(lambda: QueryIssuer(TINY), prepare, cycles=3000, resets=3)


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
