"""Probability against the integer golden model."""

import random

import pytest
import torch

from golden.datapath import integer
from hdl.pruning.probability import Probability
from tests.bench.harness import check_stream_reset, made, run_streams
from tests.hdl.pruning.test_value_pruner import EIGHT, ODD, ONE, TINY

CONFIGS = {"eight": EIGHT, "odd": ODD, "one": ONE, "tiny": TINY}


def make_facts(config, rng, recip=None, pe=None):
    tag = {"context": rng.randrange(4), "query": rng.randrange(config.max_tokens), "group": 0, "second": 0}
    recip = rng.choice([65536, 32768, rng.randint(32768, 65536)]) if recip is None else recip
    pe = rng.randrange(16) if pe is None else pe
    flat = rng.randrange(2)
    return {"tag": tag, "recip": recip, "pe": pe, "flat": flat, "gather": 0, "log_slices": 0, "resized": 0}


def make_line(config, rng):
    a = rng.randint(1, config.lanes)
    line = {"start": rng.randrange(config.max_tokens), "a_count": a, "b_count": rng.randint(0, config.lanes - a)}
    line |= {"a_last": int(line["b_count"] > 0 or rng.random() < 0.5), "keep": rng.getrandbits(config.lanes)}
    line["exps"] = [rng.choice([0, 1, 65536, rng.randint(0, 65536)]) for _ in range(config.lanes)]
    return {**line, "a": make_facts(config, rng), "b": make_facts(config, rng)}


def expected(config, line):
    rows = [line["a"]] * line["a_count"] + [line["b"]] * (config.lanes - line["a_count"])
    recip, pe = (torch.tensor([row[name] for row in rows]) for name in ("recip", "pe"))
    fields = {name: line[name] for name in ("start", "a_count", "b_count", "a_last")}
    fields |= {f"{row}_tag": line[row]["tag"] for row in "ab"} | {f"{row}_drop": line[row]["flat"] for row in "ab"}
    probs = [int(integer.probs(torch.tensor([exp]), recip[lane], pe[lane])) for lane, exp in enumerate(line["exps"])]
    return {**fields, "probs": probs}


def check(config, lines, **options):
    results, last = run_streams(made(Probability, config), {"i": lines}, {"o": len(lines)}, **options)
    assert results["o"] == [expected(config, line) for line in lines]
    return last


@pytest.mark.parametrize("name", CONFIGS)
@pytest.mark.parametrize("stall", [0, 0.3, 0.6])
def test_equals_golden(name, stall):
    rng = random.Random(name)
    check(CONFIGS[name], [make_line(CONFIGS[name], rng) for _ in range(40)], stall=stall)


@pytest.mark.parametrize("pe", [0, 15])
def test_corners(pe):
    """Around every rounding, with another reciprocal in each row."""
    rng, lines = random.Random(1), []
    values = [0, 1, 2, 32767, 32768, 32769, 65535, 65536]
    for recip in (32768, 32769, 49151, 65535, 65536):
        for exps in (values, values[::-1]):
            line = make_line(EIGHT, rng) | {"a_count": 4, "b_count": 4, "a_last": 1, "exps": exps}
            lines.append(
                {**line, "a": make_facts(EIGHT, rng, recip, pe), "b": make_facts(EIGHT, rng, 98304 - recip, pe)}
            )
    check(EIGHT, lines, stall=0)


def test_a_line_a_cycle():
    rng = random.Random(2)
    assert check(TINY, [make_line(TINY, rng) for _ in range(60)], stall=0) == 59 + Probability.LATENCY


def test_lines_wait_for_a_slow_consumer():
    """As many come in as have a place; none is lost."""
    rng = random.Random(3)
    dut, lines, taken = Probability(TINY), [make_line(TINY, rng) for _ in range(30)], []

    async def consume(ctx):
        for _ in range(50):
            _, _, valid, ready = await ctx.tick().sample(dut.i.valid, dut.i.ready)
            taken.append(valid and ready)
        assert sum(taken) == Probability.STAGES + 8
        ctx.set(dut.o.ready, 1)
        starts = []
        while len(starts) < 30:
            _, _, valid, start = await ctx.tick().sample(dut.o.valid, dut.o.payload.start)
            starts.extend([start] * valid)
        assert starts == [line["start"] for line in lines]
        taken.append("all")

    run_streams(dut, {"i": lines}, {}, stall=0, settle=150, processes=[consume])
    assert taken[-1] == "all"


def test_reset_in_mid_stream():
    rng = random.Random(4)
    lines = [make_line(TINY, rng) for _ in range(30)]
    check_stream_reset(lambda: Probability(TINY), {"i": lines}, {"o": 30})
