import random

import pytest
import torch

from golden.datapath import integer
from hdl.softmax.row_finish import RowFinish
from tests.bench.harness import check_stream_reset, made, run_streams
from tests.hdl.softmax.test_softmax import CONFIGS, make_rows

CONFIG = CONFIGS["eight_lanes"]


def make_items(count):
    rng = random.Random(count)
    _, rows = make_rows(CONFIG, [rng.randint(1, CONFIG.max_tokens) for _ in range(count)], rng)
    facts = [{name: row[name] for name in ("tag", "flat_limit", "check")} for row in rows]
    sums = [rng.choice([65536, CONFIG.max_tokens << 16, rng.randint(65536, CONFIG.max_tokens << 16)]) for _ in rows]
    expected = []
    for fact, total in zip(facts, sums, strict=True):
        recip, pe = integer.reciprocal(torch.tensor(total))
        flat = int(fact["check"] and integer.is_flat(torch.tensor(total), fact["flat_limit"]))
        expected.append({"tag": fact["tag"], "exp_sum": total, "recip": int(recip), "pe": int(pe), "flat": flat})
    return facts, sums, expected


def summing(dut, sums, stall):
    """Gives the sums of rows that are in, in order, some cycles later."""
    rng = random.Random(3)

    async def run(ctx):
        todo, inside = list(sums), []
        for cycle in range(100_000):
            ready = bool(inside) and cycle - inside[0] >= 4 and rng.random() >= stall
            ctx.set(dut.sum_valid, ready)
            if ready:
                inside.pop(0)
                ctx.set(dut.exp_sum, todo.pop(0))
            _, _, valid, taken = await ctx.tick().sample(dut.facts.valid, dut.facts.ready)
            if valid and taken:
                inside.append(cycle)

    return run


@pytest.mark.parametrize("stall", [0, 0.3, 0.6])
def test_equals_golden(stall):
    facts, sums, expected = make_items(50)
    dut = made(RowFinish, CONFIG)
    results, last = run_streams(dut, {"facts": facts}, {"o": 50}, stall=stall, processes=[summing(dut, sums, stall)])
    assert results["o"] == expected
    if not stall:
        assert last == 49 + 4 + RowFinish.latency_of(CONFIG), "a row a cycle"


def test_no_more_rows_than_places():
    """While no result is taken, ROWS rows come in, and none of their results is lost."""
    facts, sums, expected = make_items(50)
    dut, taken = RowFinish(CONFIG), []

    async def watch(ctx):
        for _ in range(120):
            _, _, valid, ready = await ctx.tick().sample(dut.facts.valid, dut.facts.ready)
            taken.append(valid and ready)
        assert sum(taken) == RowFinish.ROWS
        ctx.set(dut.o.ready, 1)
        got = []
        while len(got) < 50:
            _, _, valid, exp_sum = await ctx.tick().sample(dut.o.valid, dut.o.payload.exp_sum)
            if valid:
                got.append(exp_sum)
        assert got == [row["exp_sum"] for row in expected]
        taken.append("all")

    run_streams(dut, {"facts": facts}, {}, stall=0, settle=250, processes=[summing(dut, sums, 0), watch])
    assert taken[-1] == "all"


def test_reset_in_mid_stream():
    facts, sums, _ = make_items(20)
    check_stream_reset(
        lambda: RowFinish(CONFIG), {"facts": facts}, {"o": 20}, processes=lambda dut: [summing(dut, sums, 0.3)]
    )
