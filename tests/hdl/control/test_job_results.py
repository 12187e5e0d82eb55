"""JobResults: results with the id and heads of their job; the controller is told of the last result of each row."""

import random

import pytest
from amaranth.hdl import Value

from hdl.control.job_results import JobResults
from hdl.spec import payloads
from hdl.spec.config import PRESETS
from sim.common.packing import unpack
from tests.bench.clocked import Clocked
from tests.bench.harness import run_streams
from tests.bench.records import full_record, set_records

TINY = PRESETS["tiny"]


def tag(rng):
    return {
        "context": rng.randrange(4),
        "query": rng.randrange(64),
        "group": rng.randrange(8),
        "second": rng.randrange(2),
    }


def beat(rng):
    values = [rng.randrange(-100, 100) for _ in range(TINY.norm_lanes)]
    return {"tag": tag(rng), "last": rng.randrange(2), "abs_sum": rng.randrange(1000), "values": values}


def line(rng):
    layout = payloads.prob_line(TINY)
    counts = {name: rng.randrange(2) for name in layout.members if name not in ("a_tag", "b_tag", "probs")}
    return counts | {"a_tag": tag(rng), "b_tag": tag(rng), "probs": [rng.randrange(1 << 16) for _ in range(TINY.lanes)]}


def watch(dut, port, seen):
    stream = getattr(dut, port)

    async def run(ctx):
        while True:
            _, _, valid, word = await ctx.tick().sample(stream.valid, Value.cast(stream.payload))
            if valid:
                seen[port].append(unpack(stream.payload.shape(), word))

    return run


@pytest.mark.parametrize("stall", [0, 0.5])
def test_results_are_named_by_their_jobs(stall):
    rng = random.Random(7)
    dut = Clocked(JobResults(TINY))
    records = [full_record(TINY, rng, head=rng.randrange(16)) for _ in range(4)]
    accumulate = 0b0110
    beats, lines = [beat(rng) for _ in range(80)], [line(rng) for _ in range(80)]
    seen = {name: [] for name in ("output_left", "probs_left", "head_sum")}

    async def table(ctx):
        set_records(ctx, dut.record, TINY, records)

    processes = [table, *(watch(dut, port, seen) for port in seen)]
    got, _ = run_streams(
        dut,
        {"output": beats, "probs": lines},
        {"out": 80, "prob": 80},
        stall=stall,
        processes=processes,
        setup={"accumulate": accumulate},
        shy=0.2 if stall else 0,
    )

    def named(fields, tag):
        record = records[tag["context"]]
        return fields | {"job_id": record["job_id"], "head": record["head"]}

    assert got["out"] == [
        named({name: b[name] for name in ("last", "abs_sum", "values")}, b["tag"])
        | {"query": b["tag"]["query"], "second": b["tag"]["second"]}
        for b in beats
    ]
    assert got["prob"] == [
        named(
            {name: item[name] for name in ("start", "a_count", "b_count", "a_drop", "b_drop", "probs")}, item["a_tag"]
        )
        | {"a_query": item["a_tag"]["query"], "b_query": item["b_tag"]["query"]}
        for item in lines
    ]
    ends = [b for b in beats if b["last"]]
    assert seen["output_left"] == [b["tag"]["context"] for b in ends]
    assert seen["probs_left"] == [item["a_tag"]["context"] for item in lines if item["a_last"] and not item["a_drop"]]
    assert seen["head_sum"] == [
        {"rank": records[b["tag"]["context"]]["head"] + b["tag"]["group"], "abs_sum": b["abs_sum"]}
        for b in ends
        if accumulate >> b["tag"]["context"] & 1
    ]
