"""QueryIssuer: every row of every job in order, flat ones again before later rows."""

import random

import pytest
from amaranth.hdl import Value

from hdl.control.queries.query_issuer import QueryIssuer
from hdl.spec.config import PRESETS
from sim.common.packing import unpack
from tests.bench.harness import ProtocolError, check_reset, made, simulate
from tests.bench.query_bench import Datapath, rows_of
from tests.bench.records import full_record, set_records

TINY = PRESETS["tiny"]
CONTEXTS = TINY.contexts


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
