"""ValueCompactor: the survivors of a row, S in each line."""

import random

import pytest

from hdl.pruning.value_compactor import ValueCompactor
from tests.bench.harness import check_stream_reset, made, run_streams
from tests.bench.lines import make_lines
from tests.hdl.pruning.test_value_pruner import EIGHT, ODD, ONE, TINY, line_fields

CONFIGS = {"eight": EIGHT, "odd": ODD, "one": ONE, "tiny": TINY}
TAG = {"context": 0, "query": 0, "group": 0, "second": 0}


def facts(log_slices, before):
    """A gathered row after one of ``before``."""
    row = {"tag": TAG, "recip": 0, "pe": 0, "flat": 0, "gather": 1, "log_slices": log_slices}
    return {**row, "resized": int(log_slices != before)}


def make_rows(config, rng, shapes):
    """Rows of (log_slices, length): their lines with at least one survivor, and the lines of survivors."""
    lines, expected, before = [], [], 0
    for log_slices, length in shapes:
        per_line = max(1, config.lanes >> log_slices)
        exps = [rng.randint(0, 65536) for _ in range(length)]
        keep = [rng.random() < rng.choice([0.1, 0.9]) for _ in exps]
        keep[rng.randrange(length)] = True
        row = facts(log_slices, before)
        before = log_slices
        for line in make_lines([list(zip(exps, keep, strict=True))], per_line, width=config.lanes, fill=(7, False)):
            mask = sum(kept << lane for lane, (_, kept) in enumerate(line["lanes"]))
            lines.append(line_fields(line, exps=[exp for exp, _ in line["lanes"]], keep=mask, a=row, b=row))
        kept = [exp for exp, kept in zip(exps, keep, strict=True) if kept]
        expected += [line_fields(line, exps=line["lanes"]) for line in make_lines([kept], per_line, width=config.lanes)]
    return lines, expected


def check(config, shapes, *, stall, seed=0):
    rng = random.Random(seed)
    lines, expected = make_rows(config, rng, shapes)
    dut, empty = ValueCompactor(config), []

    async def watch(ctx):
        while True:
            _, _, value = await ctx.tick().sample(dut.empty)
            empty.append(value)

    results, last = run_streams(dut, {"i": lines}, {"o": len(expected)}, stall=stall, seed=seed, processes=[watch])
    assert results["o"] == expected
    assert empty[0] and empty[-1] and not empty[last]
    return lines, last


@pytest.mark.parametrize("name", CONFIGS)
@pytest.mark.parametrize("stall", [0, 0.3, 0.6])
def test_any_rows(name, stall):
    config, rng = CONFIGS[name], random.Random(name)
    shapes = [(rng.choice([0, 0, 1, 2, 3]), rng.choice([1, rng.randint(1, config.max_tokens)])) for _ in range(14)]
    check(config, shapes, stall=stall)


@pytest.mark.parametrize("name", CONFIGS)
def test_more_rows_than_are_counted(name):
    """Rows of one line, as many as come before the first one has left, and more."""
    check(CONFIGS[name], [(0, 1)] * (2 * ValueCompactor.MAX_ROWS), stall=0.6)


@pytest.mark.parametrize("name", CONFIGS)
def test_latency(name):
    config = CONFIGS[name]
    assert check(config, [(0, 1)], stall=0)[1] == ValueCompactor(config).latency


@pytest.mark.parametrize("name", CONFIGS)
@pytest.mark.parametrize("length", [1, 21])
def test_one_line_a_cycle(name, length):
    config = CONFIGS[name]
    lines, last = check(config, [(0, min(length, config.max_tokens))] * 10, stall=0)
    assert last <= len(lines) + ValueCompactor(config).latency


def test_another_line_size_waits():
    """Rows of one line each; S is the packer's, so it changes only while no row is inside."""
    rng = random.Random(5)
    lines, expected, before = [], [], 0
    for log_slices in [0, 0, 1, 3, 3, 1, 2, 0]:
        count = 8 >> log_slices
        keep = ((1 << count) - 1) & rng.choice([255, 253])
        exps = [rng.randint(0, 65536) for _ in range(8)]
        row = facts(log_slices, before)
        before = log_slices
        geometry = {"start": 0, "a_count": count, "b_count": 0, "a_last": 1}
        lines.append({**geometry, "exps": exps, "keep": keep, "a": row, "b": row})
        kept = [exp for lane, exp in enumerate(exps) if keep >> lane & 1]
        expected.append({**geometry, "a_count": len(kept), "exps": kept + [0] * (8 - len(kept))})
    results, _ = run_streams(made(ValueCompactor, EIGHT), {"i": lines * 3}, {"o": len(lines) * 3}, stall=0)
    assert results["o"] == expected * 3


def test_reset_in_mid_stream():
    """Rows of several line sizes: the size, the rows that are counted and the survivors are forgotten."""
    lines, expected = make_rows(EIGHT, random.Random(4), [(2, 9), (0, 20), (1, 5), (1, 12), (0, 3)])
    check_stream_reset(lambda: ValueCompactor(EIGHT), {"i": lines}, {"o": len(expected)}, resets=6)
