import dataclasses
import random

import pytest
import torch
from amaranth.hdl import Module, ResetInserter, Signal, Value
from hypothesis import given
from hypothesis import strategies as st

from golden.datapath.integer import kth_largest
from golden.datapath.topk import bench_rows, quick_select_cycles
from hdl.spec.config import PRESETS, Config
from hdl.topk.quick_select import QuickSelect
from sim.common.packing import pack, unpack
from tests.bench.examples import examples
from tests.bench.harness import Simulation, made, run_streams

TINY = PRESETS["tiny"]
ODD = dataclasses.replace(TINY, name="odd", max_tokens=52, buffer_dim=32, max_dim=16, dims=(16,), operand_width=8)
LIMIT = 1 << (TINY.score_width - 1)


def config_of(parallelism: int, max_tokens: int = 64) -> Config:
    return dataclasses.replace(
        TINY,
        name=f"p{parallelism}",
        lanes=min(2, parallelism),
        topk_parallelism=parallelism,
        max_tokens=max_tokens,
        line_queue=max_tokens + 8,
    )


def lines_of(config: Config, row: list[int], k: int) -> list[dict]:
    lanes = config.topk_parallelism
    lines = []
    for at in range(0, len(row), lanes):
        part = row[at : at + lanes]
        fill = [-1] * (lanes - len(part))
        # k counts with the first line only.
        lines.append(
            {
                "scores": part + fill,
                "count": len(part),
                "last": at + lanes >= len(row),
                "k": k if at == 0 else 0,
            }
        )
    return lines


def expected(row: list[int], k: int) -> dict:
    k = min(k, len(row))
    threshold, ties = kth_largest(torch.tensor([row]), torch.ones(1, len(row), dtype=torch.bool), k)
    return {"threshold": int(threshold), "ties": int(ties)}


def check(config, rows, stall=0.0, seed=0, dut=None):
    lines = [line for row, k in rows for line in lines_of(config, row, k)]
    result, last = run_streams(
        dut or QuickSelect(config), {"i": lines}, {"o": len(rows)}, stall=stall, seed=seed, watchdog=4000
    )
    assert result["o"] == [expected(row, k) for row, k in rows]
    return last


def measured_cycles(config, rows):
    """Cycles of each row from its first line accepted to its result valid, rows one at a time."""
    dut = made(QuickSelect, config)
    cycles, results = [], []

    async def bench(ctx):
        ctx.set(dut.o.ready, 1)
        for row, k in rows:
            count = 0
            words = [pack(dut.i.payload.shape(), line) for line in lines_of(config, row, k)]
            while True:
                ctx.set(dut.i.valid, bool(words))
                if words:
                    ctx.set(Value.cast(dut.i.payload), words[0])
                _, _, taken, valid, word = await ctx.tick().sample(dut.i.ready, dut.o.valid, Value.cast(dut.o.payload))
                if words and taken:
                    words.pop(0)
                if valid:
                    break
                count += 1
            cycles.append(count)
            results.append(unpack(dut.o.payload.shape(), word))
            await ctx.tick().repeat(3)

    sim = Simulation(dut)
    sim.add_clock(1e-6)
    sim.add_testbench(bench)
    sim.run()
    assert results == [expected(row, k) for row, k in rows]
    return cycles


def random_rows(config, count, seed):
    rng = random.Random(seed)
    limit = 1 << (config.score_width - 1)
    rows = []
    for _ in range(count):
        n = rng.choice([1, config.topk_parallelism, config.max_tokens, rng.randint(1, config.max_tokens)])
        spread = rng.choice([1, 2, 8, limit])
        row = [rng.randrange(-spread, spread) for _ in range(n)]
        if rng.random() < 0.2:
            row.sort(reverse=rng.random() < 0.5)
        rows.append((row, rng.choice([1, n, rng.randint(1, n), max(1, n // 2), min(n + 3, config.max_tokens)])))
    return rows


CONFIGS = [TINY, ODD, config_of(1, 16), config_of(2), config_of(8)]


@pytest.mark.parametrize("config", CONFIGS, ids=lambda config: config.name)
@pytest.mark.parametrize("stall", [0, 0.3, 0.6])
def test_equals_golden(config, stall):
    check(config, random_rows(config, 8, seed=7), stall=stall, seed=3)


@pytest.mark.parametrize("config", CONFIGS, ids=lambda config: config.name)
def test_cycles_equal_the_model(config):
    rows = random_rows(config, 12, seed=11)
    assert measured_cycles(config, rows) == [quick_select_cycles(row, k, config.topk_parallelism) for row, k in rows]


@pytest.mark.parametrize("kind", ["random", "sorted", "eight"])
def test_full_size_rows(kind):
    config = PRESETS["paper"]
    rows = [(row, k) for row, k in zip(bench_rows(kind, 1024, 2, seed=2), (512, 102), strict=True)]
    assert measured_cycles(config, rows) == [quick_select_cycles(row, k, 16) for row, k in rows]


def test_extremes():
    low, high = -LIMIT, LIMIT - 1
    rows = [
        ([low, high], 1), ([low, high], 2), ([low] * 64, 64), ([high] * 63, 1), ([high, low] * 32, 33), ([0], 1),
        ([-1, 0] * 20, 20), ([-1, 0] * 20, 21),
        (list(range(64)), 1), (list(range(64)), 64), (list(range(64, 0, -1)), 32),
    ]  # fmt: skip
    check(TINY, rows)


def test_a_poor_row_is_forgotten():
    """The last pass of the first row leaves more than 3/4. The second row must not gather a sample."""
    rows = [([9, 8, 7, 6] + [1] * 60, 30), (list(range(20, 0, -1)), 2)]
    assert measured_cycles(TINY, rows) == [quick_select_cycles(row, k, TINY.topk_parallelism) for row, k in rows]
    check(TINY, rows)


def test_wider_scores():
    """Importances are wider than the scores of this configuration."""
    low, high = -(1 << 32), (1 << 32) - 1
    rng = random.Random(5)
    rows = [([rng.randrange(low, high + 1) for _ in range(n)], k) for n, k in ((64, 20), (33, 33), (50, 1))]
    rows += [([low, high, 0, -1] * 12, 18), ([low] * 40, 7), ([high, high - 1] * 30, 31)]
    check(TINY, rows, stall=0.2, dut=QuickSelect(TINY, score_width=33))


@pytest.mark.parametrize("score_width", [0, -1, "33", 1.5])
def test_score_width_is_checked(score_width):
    with pytest.raises(ValueError, match=f"score_width must be a positive integer, not {score_width!r}"):
        QuickSelect(TINY, score_width=score_width)


@examples(5)
@given(
    rows=st.lists(
        st.tuples(st.lists(st.integers(-6, 6), min_size=1, max_size=64), st.integers(1, 64)), min_size=1, max_size=5
    )
)
def test_any_row(rows):
    check(TINY, rows)


def test_reset_in_mid_row():
    config = TINY
    dut = QuickSelect(config)
    row, k = bench_rows("random", 60, 1, seed=4, score_width=config.score_width)[0], 13
    results = []

    async def bench(ctx):
        ctx.set(dut.o.ready, 1)
        for stop in (1, 5, 9, 14):
            for line in lines_of(config, row, k)[:stop] + lines_of(config, row, k):
                ctx.set(dut.i.payload, line)
                ctx.set(dut.i.valid, 1)
                await ctx.tick().until(dut.i.ready)
                stop -= 1
                if stop == 0:
                    ctx.set(dut.i.valid, 0)
                    ctx.set(reset, 1)
                    await ctx.tick()
                    ctx.set(reset, 0)
            ctx.set(dut.i.valid, 0)
            result = await ctx.tick().sample(dut.o.payload).until(dut.o.valid)
            results.append({"threshold": result[0].threshold, "ties": result[0].ties})

    reset = Signal()
    top = Module()
    top.submodules.dut = ResetInserter(reset)(dut)
    sim = Simulation(top)
    sim.add_clock(1e-6)
    sim.add_testbench(bench)
    sim.run()
    assert results == [expected(row, k)] * 4


def test_results_wait_for_a_slow_consumer():
    dut = made(QuickSelect, TINY)
    rows = [([5, 1, 9], 2), ([7] * 9, 4), ([1, 2, 3, 4], 4)]
    results = []

    async def produce(ctx):
        for row, k in rows:
            for line in lines_of(TINY, row, k):
                ctx.set(dut.i.payload, line)
                ctx.set(dut.i.valid, 1)
                await ctx.tick().until(dut.i.ready)
        ctx.set(dut.i.valid, 0)

    async def consume(ctx):
        for _ in rows:
            await ctx.tick().repeat(60)
            ctx.set(dut.o.ready, 1)
            (payload,) = await ctx.tick().sample(dut.o.payload).until(dut.o.valid)
            ctx.set(dut.o.ready, 0)
            results.append({"threshold": payload.threshold, "ties": payload.ties})

    sim = Simulation(dut)
    sim.add_clock(1e-6)
    sim.add_testbench(produce, background=True)
    sim.add_testbench(consume)
    sim.run()
    assert results == [expected(row, k) for row, k in rows]
