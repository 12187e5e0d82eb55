"""SecondPasses: flat rows of summarization jobs in order, when their LSBs are on chip."""

import random

import pytest

from hdl.control.queries.second_passes import SecondPasses
from hdl.spec.config import PRESETS
from tests.bench.harness import check_stream_reset, made, run_streams, wait

TINY = PRESETS["tiny"]
GENERATION = 0b1010


def decisions(count, seed):
    rng = random.Random(seed)
    for _ in range(count):
        tag = {"context": rng.randrange(4), "query": rng.randrange(64), "group": rng.randrange(8), "second": 0}
        yield {"tag": tag, "flat": rng.randrange(2)}


def flat_rows(given):
    names = ("context", "query", "group")
    rows = [{name: item["tag"][name] for name in names} for item in given if item["flat"]]
    return [row for row in rows if not GENERATION >> row["context"] & 1]


def loads(dut, seed):
    """The LSBs of one context after the other; a load takes some time."""
    rng = random.Random(seed)

    async def run(ctx):
        for context in rng.sample(range(4), 4):
            await wait(ctx, rng.randrange(60))
            ctx.set(dut.loaded, ctx.get(dut.loaded) | 1 << context)
        while True:
            _, _, valid, context, loaded = await ctx.tick().sample(dut.o.valid, dut.o.payload.context, dut.loaded)
            assert not valid or loaded >> context & 1

    return run


@pytest.mark.parametrize("stall", [0, 0.3, 0.7])
@pytest.mark.parametrize("seed", range(2))
def test_flat_rows_once_in_order(stall, seed):
    given = list(decisions(200, seed))
    rows = flat_rows(given)
    dut = made(SecondPasses, TINY)
    got, _ = run_streams(
        dut,
        {"decided": given},
        {"o": len(rows)},
        stall=stall,
        seed=seed,
        setup={"generation": GENERATION},
        processes=[loads(dut, seed)],
        shy=0.3,
    )
    assert got["o"] == rows


def test_a_place_for_every_row():
    """No LSBs for a long time: DEPTH rows wait, and none is lost."""
    rows = [
        {"tag": {"context": 0, "query": k % 64, "group": k // 64, "second": 0}, "flat": 1}
        for k in range(SecondPasses.DEPTH)
    ]
    dut = made(SecondPasses, TINY)
    early = []

    async def late(ctx):
        for _ in range(SecondPasses.DEPTH + 10):
            _, _, valid = await ctx.tick().sample(dut.o.valid)
            early.append(valid)
        ctx.set(dut.loaded, 1)

    got, _ = run_streams(dut, {"decided": rows}, {"o": len(rows)}, stall=0, processes=[late])
    assert got["o"] == flat_rows(rows) and not any(early)


def test_reset():
    given = list(decisions(60, 3))
    check_stream_reset(
        lambda: SecondPasses(TINY),
        {"decided": given},
        {"o": len(flat_rows(given))},
        setup={"generation": GENERATION},
        processes=lambda dut: [loads(dut, 4)],
        seed=5,
    )
