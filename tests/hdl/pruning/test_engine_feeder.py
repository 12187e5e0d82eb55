import random

import pytest

from hdl.pruning.engine_feeder import EngineFeeder
from tests.bench.harness import check_stream_reset, made, run_streams
from tests.hdl.pruning.test_value_pruner import EIGHT, ODD, ONE, TINY

CONFIGS = {"eight": EIGHT, "odd": ODD, "one": ONE, "tiny": TINY}


def make_items(config, rng, lengths, *, full=False):
    """Segments of 1…lanes scores, and the lines that the rows give: (scores, last, k)."""
    segments, lines, size = [], [], config.topk_parallelism
    top = 1 << config.score_width - 1
    for length in lengths:
        row, k, at = [rng.randrange(-top, top) for _ in range(length)], rng.randint(1, config.max_tokens), 0
        while at < length:
            count = min(length - at, config.lanes if full else rng.randint(1, config.lanes))
            items = row[at : at + count] + [7] * (config.lanes - count)
            at += count
            segments.append({"group": {"items": items, "count": count, "last": at == length}, "k": k})
        lines += [(row[i : i + size], int(i + size >= length), k) for i in range(0, length, size)]
    return segments, lines


def line(item):
    return item["scores"][: item["count"]], item["last"], item["k"]


@pytest.mark.parametrize("name", CONFIGS)
@pytest.mark.parametrize("stall", [0, 0.3, 0.6])
def test_lines_are_full_and_carry_k(name, stall):
    config, rng = CONFIGS[name], random.Random(name)
    lengths = [rng.choice([1, config.lanes, rng.randint(1, config.max_tokens)]) for _ in range(14)]
    segments, lines = make_items(config, rng, lengths)
    dut, starts = EngineFeeder(config), []

    async def watch(ctx):
        while True:
            _, _, start = await ctx.tick().sample(dut.start)
            starts.append(start)

    results, _ = run_streams(dut, {"i": segments}, {"o": len(lines)}, stall=stall, processes=[watch])
    assert list(map(line, results["o"])) == lines
    assert sum(starts) == len(lengths)


@pytest.mark.parametrize("name", CONFIGS)
def test_latency(name):
    segments, _ = make_items(CONFIGS[name], random.Random(1), [1])
    dut = made(EngineFeeder, CONFIGS[name])
    assert run_streams(dut, {"i": segments}, {"o": 1}, stall=0)[1] == dut.latency


@pytest.mark.parametrize("name", ["eight", "tiny"])
def test_a_segment_a_cycle(name):
    config = CONFIGS[name]
    segments, lines = make_items(config, random.Random(2), [config.max_tokens] * 6, full=True)
    dut = made(EngineFeeder, config)
    _, last = run_streams(dut, {"i": segments}, {"o": len(lines)}, stall=0)
    assert last <= len(segments) + dut.latency


def test_reset_in_mid_stream():
    segments, lines = make_items(EIGHT, random.Random(3), [20] * 5)
    check_stream_reset(lambda: EngineFeeder(EIGHT), {"i": segments}, {"o": len(lines)}, view=line)
