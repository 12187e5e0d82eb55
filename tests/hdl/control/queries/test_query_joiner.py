"""QueryJoiner: requests in the order of the issues, each Q row with what is known of it, flat generation rows again."""

import random

import pytest
from amaranth.hdl import Value

from hdl.control.control_layouts import query_facts, query_issue
from hdl.control.queries.query_joiner import QueryJoiner
from hdl.spec import payloads
from hdl.spec.config import PRESETS
from sim.common.packing import pack
from tests.bench.harness import check_stream_reset, made, run_streams
from tests.bench.records import full_record, set_records

TINY = PRESETS["tiny"]


def issues(count, rng):
    layout = query_issue(TINY)
    for index in range(count):
        request = {"plane": {name: rng.randrange(2) for name in payloads.plane(TINY).members}, "row": rng.randrange(64)}
        facts = {name: rng.randrange(2) for name in query_facts(TINY).members if name != "tag"}
        tag = {"context": index % 4, "query": rng.randrange(64), "group": 0, "second": 0}
        assert set(layout.members) == {"request", "facts"}
        yield {"request": request, "facts": facts | {"tag": tag}}


def elements(count, rng):
    return [[rng.randrange(-500, 500) for _ in range(TINY.max_dim)] for _ in range(count)]


def joined(issue, row):
    return issue["facts"] | {"elements": row}


def test_requests_do_not_wait_for_rows():
    """Without Q rows, ``query_queue`` + 4 rows are asked for."""
    rng = random.Random(2)
    dut = made(QueryJoiner, TINY)
    given = list(issues(40, rng))
    depth = TINY.query_queue + 4
    got, _ = run_streams(dut, {"issue": given[:depth]}, {"request": depth}, stall=0)
    assert got["request"] == [issue["request"] for issue in given[:depth]]


@pytest.mark.parametrize("stall", [0, 0.3, 0.7])
def test_rows_are_joined_in_order(stall):
    rng = random.Random(3)
    given, rows = list(issues(60, rng)), elements(60, rng)
    got, _ = run_streams(
        made(QueryJoiner, TINY),
        {"issue": given, "elements": rows},
        {"request": 60, "query": 60},
        stall=stall,
        setup={"valid": 15},
        shy=0.3 if stall else 0,
    )
    assert got["request"] == [issue["request"] for issue in given]
    assert got["query"] == [joined(issue, row) for issue, row in zip(given, rows, strict=True)]


def again(dut, flat):
    """When a row of context ``flat`` is taken, it turns out flat; its LSBs are loaded already."""

    async def run(ctx):
        set_records(ctx, dut.record, TINY, [full_record(TINY, random.Random(c), generation=1) for c in range(4)])
        ctx.set(dut.lsb_loaded, 1 << flat)
        decided = dut.decided
        while True:
            tag = dut.query.payload.tag
            _, _, valid, ready, context, second = await ctx.tick().sample(
                dut.query.valid, dut.query.ready, tag.context, tag.second
            )
            ctx.set(decided.valid, valid and ready and context == flat and not second)
            word = {"tag": {"context": context, "query": 0, "group": 0, "second": 0}, "flat": 1}
            ctx.set(Value.cast(decided.payload), pack(decided.payload.shape(), word))

    return run


@pytest.mark.parametrize("stall", [0, 0.3, 0.6])
@pytest.mark.parametrize("flat", range(4))
def test_flat_rows_come_again(stall, flat):
    """Four jobs; the row of one is flat, and comes again between the others, or after them, with all its bits."""
    rng = random.Random(4)
    given, rows = list(issues(4, rng)), elements(4, rng)
    dut = made(QueryJoiner, TINY)
    got, _ = run_streams(
        dut,
        {"issue": given, "elements": rows},
        {"request": 4, "query": 5},
        stall=stall,
        setup={"valid": 15},
        processes=[again(dut, flat)],
    )
    wanted = [joined(issue, row) for issue, row in zip(given, rows, strict=True)]
    second = wanted[flat] | {"low": 1, "tag": wanted[flat]["tag"] | {"second": 1}}
    assert [row for row in got["query"] if not row["tag"]["second"]] == wanted
    assert got["query"].index(second) > got["query"].index(wanted[flat])


def test_rate():
    rng = random.Random(5)
    given, rows = list(issues(50, rng)), elements(50, rng)
    _, last = run_streams(
        made(QueryJoiner, TINY),
        {"issue": given, "elements": rows},
        {"request": 50, "query": 50},
        stall=0,
        setup={"valid": 15},
    )
    assert last < 50 + 5


def test_reset():
    rng = random.Random(6)
    given, rows = list(issues(8, rng)), elements(8, rng)
    check_stream_reset(
        lambda: QueryJoiner(TINY),
        {"issue": given[:4], "elements": rows[:4]},
        {"request": 4, "query": 5},
        setup={"valid": 15},
        processes=lambda dut: [again(dut, 2)],
        seed=7,
    )
