import dataclasses
import random

import pytest
import torch

from golden.datapath import integer
from hdl.pruning.threshold_finder import ThresholdFinder
from tests.bench.harness import check_stream_reset, made, run_streams
from tests.bench.lines import make_lines
from tests.hdl.pruning.test_value_pruner import EIGHT, LEAN, ODD, TINY, line_fields

CONFIGS = {"eight": EIGHT, "odd": ODD, "one engine": LEAN, "tiny": TINY}


def make_items(config, rng, count, *, length=None, prune=None):
    """Lines and rows of scores with many ties, and the selections of the pruned rows."""
    scores, rows, selections = [], [], []
    for number in range(count):
        n = length or rng.randint(2, config.max_tokens)
        spread = rng.choice([1, 3, 1 << config.score_width - 1])
        scores.append([rng.randrange(-spread, spread) for _ in range(n)])
        tag = {"context": 0, "query": number % config.max_tokens, "group": 0, "second": 0}
        row = {"tag": tag, "gather": 0, "log_slices": 0, "dim": 16}
        row |= {"prune": int(rng.random() < 0.6 if prune is None else prune), "k": rng.randint(1, n - 1)}
        rows.append(row)
        if row["prune"]:
            mask = torch.ones(n, dtype=torch.bool)
            threshold, ties = integer.kth_largest(torch.tensor(scores[-1]), mask, row["k"])
            selections.append({"threshold": int(threshold), "ties": int(ties)})
    lines = make_lines(scores, config.lanes, length is not None, width=config.lanes)
    return {"line": [line_fields(line, scores=line["lanes"]) for line in lines], "row": rows}, selections


def watcher(dut, busy, done):
    async def run(ctx):
        while True:
            _, _, *now = await ctx.tick().sample(dut.busy, dut.done)
            busy.append(now[0])
            done.append(now[1])

    return run


@pytest.mark.parametrize("name", CONFIGS)
@pytest.mark.parametrize("length", [None, 11])
@pytest.mark.parametrize("stall", [0, 0.4])
def test_equals_golden(name, length, stall):
    config = CONFIGS[name]
    inputs, selections = make_items(config, random.Random(f"{name} {length}"), 10, length=length)
    dut, busy, done = made(ThresholdFinder, config), [], []
    outputs, options = {"o": len(selections)}, {"stall": stall, "processes": [watcher(dut, busy, done)]}
    results, _ = run_streams(dut, inputs, outputs, **options)
    assert results["o"] == selections
    assert sum(done) == len(selections)
    assert max(busy) <= config.num_topk_engines and busy[-1] == 0


@pytest.mark.parametrize("engines", [1, 2, 3])
def test_all_engines_are_at_work(engines):
    config = dataclasses.replace(EIGHT, num_topk_engines=engines)
    inputs, _ = make_items(config, random.Random(1), 9, length=40, prune=True)
    dut, busy, done = made(ThresholdFinder, config), [], []
    run_streams(dut, inputs, {"o": 9}, stall=0, processes=[watcher(dut, busy, done)])
    assert max(busy) == engines


def test_selections_wait_for_a_slow_consumer():
    """SELECTIONS thresholds wait, and those that the engines hold; then they come in order."""
    config = LEAN
    inputs, selections = make_items(config, random.Random(2), 14, length=9, prune=True)
    dut, done, got = made(ThresholdFinder, config), [], []

    async def consume(ctx):
        for _ in range(700):
            _, _, pulse = await ctx.tick().sample(dut.done)
            done.append(pulse)
        assert sum(done) == ThresholdFinder.SELECTIONS
        ctx.set(dut.o.ready, 1)
        while len(got) < 14:
            _, _, valid, threshold, ties = await ctx.tick().sample(
                dut.o.valid, dut.o.payload.threshold, dut.o.payload.ties
            )
            if valid:
                got.append({"threshold": threshold, "ties": ties})

    run_streams(dut, inputs, {}, stall=0, settle=1600, processes=[consume])
    assert got == selections


def test_reset_in_mid_stream():
    inputs, selections = make_items(ODD, random.Random(3), 8)
    check_stream_reset(lambda: ThresholdFinder(ODD), inputs, {"o": len(selections)})
