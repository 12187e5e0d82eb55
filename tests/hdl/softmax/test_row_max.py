"""RowMax against the integer golden model."""

import random

import pytest
import torch

from golden.datapath import integer
from hdl.softmax.row_max import RowMax
from tests.bench.harness import check_stream_reset, made, run_streams
from tests.hdl.softmax.test_softmax import CONFIGS, score_lines


def expected(scores):
    rows = [torch.tensor(row) for row in scores]
    return [int(integer.row_max(row, torch.ones_like(row, dtype=torch.bool))) for row in rows]


def random_scores(config, rng, lengths):
    """Rows of any magnitude, also of negative scores only, and the extremes."""
    top = 1 << config.score_width - 1
    rows = []
    for length in lengths:
        low = rng.choice([-top, -top, -5, top - 2])
        high = rng.choice([top - 1, -1, low, low + 1])
        rows.append([rng.randint(min(low, high), max(low, high)) for _ in range(length)])
    return rows


def check(config, scores, rng, *, packing=False, stall=0.3):
    """Undefined lanes hold large numbers as often as small ones."""
    lines = score_lines(config, scores, rng, packing=packing)
    result, last = run_streams(made(RowMax, config), {"i": lines}, {"o": len(scores)}, stall=stall)
    assert result["o"] == expected(scores)
    return lines, last


@pytest.mark.parametrize("stall", [0, 0.3, 0.6])
@pytest.mark.parametrize("name", CONFIGS)
def test_rows_of_any_length(name, stall):
    config, rng = CONFIGS[name], random.Random(name)
    lengths = [1, 1, config.lanes, config.lanes + 1, config.max_tokens] + [rng.randint(1, 9) for _ in range(12)]
    check(config, random_scores(config, rng, lengths), rng, stall=stall)


@pytest.mark.parametrize("stall", [0, 0.3])
@pytest.mark.parametrize("name", ["tiny", "four_lanes", "eight_lanes"])
def test_packed_rows(name, stall):
    config, rng = CONFIGS[name], random.Random(name)
    scores = random_scores(config, rng, [config.lanes + 1] * 20)
    lines, _ = check(config, scores, rng, packing=True, stall=stall)
    assert any(line["b_count"] for line in lines)


@pytest.mark.parametrize("name", CONFIGS)
def test_latency(name):
    config, rng = CONFIGS[name], random.Random(1)
    assert check(config, [[5]], rng, stall=0)[1] == RowMax(config).latency


@pytest.mark.parametrize("name", CONFIGS)
@pytest.mark.parametrize("length", [1, 20])
def test_line_per_cycle(name, length):
    config, rng = CONFIGS[name], random.Random(2)
    lines, last = check(config, random_scores(config, rng, [min(length, config.max_tokens)] * 30), rng, stall=0)
    assert last == len(lines) - 1 + RowMax(config).latency


def test_reset_in_mid_stream():
    config, rng = CONFIGS["eight_lanes"], random.Random(3)
    scores = random_scores(config, rng, [20] * 6)
    lines = score_lines(config, scores, rng, packing=True)
    check_stream_reset(lambda: RowMax(config), {"i": lines}, {"o": 6})
