"""LineFilter against the integer golden model: rows of any kind, joined in lines or not."""

import random

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from golden.datapath import integer
from hdl.pruning.line_filter import LineFilter
from tests.bench.examples import examples
from tests.bench.harness import check_stream_reset, made, run_streams
from tests.bench.lines import make_lines, split_lines
from tests.hdl.pruning.test_value_pruner import EIGHT, ODD, ONE, TINY, line_fields

CONFIGS = {"eight": EIGHT, "odd": ODD, "one": ONE, "tiny": TINY}


def make_row(config, rng, number, scores, k, *, prune=1, flat=0):
    """(scores, what the filter knows of the row, what it keeps)."""
    scores = torch.tensor(scores)
    mask = torch.ones_like(scores, dtype=torch.bool)
    threshold, ties = integer.kth_largest(scores, mask, k)
    keep = integer.keep_mask(scores, mask, k if prune else len(scores)) & (not flat)
    tag = {"context": number % 4, "query": number % config.max_tokens, "group": 0, "second": 0}
    facts = {"tag": tag, "recip": rng.randrange(1 << 17), "pe": number % 16, "flat": flat}
    facts |= {"gather": rng.randrange(2), "log_slices": 0, "resized": 0}
    selection = {"threshold": int(threshold), "ties": int(ties)}
    return scores.tolist(), {"facts": facts, "prune": prune, "selection": selection}, keep.int().tolist()


def random_rows(config, rng, lengths):
    rows = []
    for number, length in enumerate(lengths):
        spread = rng.choice([1, 2, 1 << config.score_width - 1])
        scores = [rng.randrange(-spread, spread) for _ in range(length)]
        prune, flat = int(rng.random() < 0.7), int(rng.random() < 0.2)
        rows.append(make_row(config, rng, number, scores, rng.randint(1, length), prune=prune, flat=flat))
    return rows


def make_items(config, rng, rows, packing):
    """Lines with their rows' facts, and the lines that must come."""
    entries, expected, row = [], [], 0
    for line in make_lines([scores for scores, _, _ in rows], config.lanes, packing, width=config.lanes):
        exps = [rng.randint(0, 65536) for _ in range(config.lanes)]
        a, b = rows[row][1], rows[min(row + 1, len(rows) - 1)][1]
        entries.append({"line": line_fields(line, scores=line["lanes"], exps=exps), "a": a, "b": b})
        expected.append(line_fields(line, exps=exps, a=a["facts"], b=b["facts"]))
        row += line["a_last"]
    return entries, expected


def check(config, rng, rows, packing, **options):
    entries, expected = make_items(config, rng, rows, packing)
    results, last = run_streams(made(LineFilter, config), {"i": entries}, {"o": len(entries)}, **options)
    for line, out in zip(expected, results["o"], strict=True):
        assert {name: out[name] for name in line} == line
        out["lanes"] = [out["keep"] >> lane & 1 for lane in range(config.lanes)]
        assert not out["keep"] >> (line["a_count"] + line["b_count"])
    assert split_lines(results["o"]) == [keep for _, _, keep in rows]
    return last


@pytest.mark.parametrize("name", CONFIGS)
@pytest.mark.parametrize("packing", [False, True])
@pytest.mark.parametrize("stall", [0, 0.3, 0.6])
def test_equals_golden(name, packing, stall):
    config, rng = CONFIGS[name], random.Random(f"{name} {packing}")
    lengths = [rng.choice([1, config.lanes, rng.randint(1, config.max_tokens)]) for _ in range(14)]
    lengths = [config.lanes + 2] * 14 if packing else lengths
    check(config, rng, random_rows(config, rng, lengths), packing, stall=stall)


@pytest.mark.parametrize("length", [1, 19])
def test_a_line_a_cycle(length):
    rng = random.Random(1)
    rows = random_rows(EIGHT, rng, [length] * 20)
    last = check(EIGHT, rng, rows, length > 1, stall=0)
    assert last == len(make_lines([row[0] for row in rows], EIGHT.lanes, length > 1)) - 1 + LineFilter.LATENCY


@examples(6)
@given(st.data())
def test_ties_anywhere(data):
    """Rows of few distinct scores, every line joined to the next row where possible."""
    rng, rows = random.Random(2), []
    scores = data.draw(st.lists(st.lists(st.integers(-2, 2), min_size=9, max_size=30), min_size=1, max_size=4))
    for number, row in enumerate(scores):
        rows.append(make_row(EIGHT, rng, number, row, data.draw(st.integers(1, len(row)))))
    check(EIGHT, rng, rows, True, stall=0.3)


def test_reset_in_mid_stream():
    """In the middle of a row with ties, above all."""
    rng = random.Random(3)
    rows = [make_row(EIGHT, rng, number, [5] * 30, 11 + number) for number in range(5)]
    entries, _ = make_items(EIGHT, rng, rows, True)
    check_stream_reset(lambda: LineFilter(EIGHT), {"i": entries}, {"o": len(entries)}, resets=6)
