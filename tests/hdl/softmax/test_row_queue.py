import random

import pytest

from hdl.softmax.row_queue import RowQueue
from tests.bench.harness import check_stream_reset, made, run_streams
from tests.hdl.softmax.test_softmax import CONFIGS, make_rows

CONFIG = CONFIGS["eight_lanes"]


def make_items(count):
    """Maxima and rows, the facts of the rows, and (maximum, scale, shift) of each."""
    rng = random.Random(count)
    _, rows = make_rows(CONFIG, [1] * count, rng)
    top = 1 << CONFIG.score_width - 1
    maxima = [rng.randrange(-top, top) for _ in rows]
    facts = [{name: row[name] for name in ("tag", "flat_limit", "check")} for row in rows]
    factors = [
        {"maximum": maximum, "scale": row["scale"], "shift": row["shift"]}
        for maximum, row in zip(maxima, rows, strict=True)
    ]
    return {"maximum": maxima, "row": rows}, facts, factors


def taker(dut, factors, stall, taken):
    """Takes the oldest row, and looks at both."""
    rng = random.Random(2)

    async def run(ctx):
        while True:
            take = ctx.get(dut.a_valid) and rng.random() >= stall
            ctx.set(dut.take, take)
            for index, valid in enumerate((dut.a_valid, dut.b_valid)):
                if ctx.get(valid):
                    row = dut.rows[index]
                    shown = {name: ctx.get(row[name]) for name in ("maximum", "scale", "shift")}
                    assert shown == factors[len(taken) + index]
            if take:
                taken.append(shown)
            await ctx.tick()

    return run


@pytest.mark.parametrize("stall", [0, 0.3, 0.6])
def test_joins_and_shows_two_rows(stall):
    inputs, facts, factors = make_items(40)
    dut, taken = RowQueue(CONFIG), []
    results, last = run_streams(dut, inputs, {"facts": 40}, stall=stall, processes=[taker(dut, factors, stall, taken)])
    assert results["facts"] == facts
    assert len(taken) == 40
    if not stall:
        assert last == 39, "a row a cycle"


def test_b_is_shown_and_a_full_window_waits():
    """Without ``take`` three rows come in, of which two are shown."""
    inputs, facts, factors = make_items(5)
    dut = made(RowQueue, CONFIG)

    async def watch(ctx):
        await ctx.tick().repeat(20)
        assert ctx.get(dut.a_valid) and ctx.get(dut.b_valid) and not ctx.get(dut.row.ready)
        assert [ctx.get(row.maximum) for row in dut.rows] == [row["maximum"] for row in factors[:2]]

    results, _ = run_streams(dut, inputs, {"facts": 3}, stall=0, processes=[watch])
    assert results["facts"] == facts[:3]


def test_reset_in_mid_stream():
    inputs, _, factors = make_items(12)
    check_stream_reset(
        lambda: RowQueue(CONFIG), inputs, {"facts": 12}, processes=lambda dut: [taker(dut, factors, 0.5, [])]
    )
