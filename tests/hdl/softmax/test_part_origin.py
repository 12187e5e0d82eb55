import dataclasses
import random

import pytest
import torch

from golden.datapath import chain
from hdl.softmax.part_origin import PartOrigin
from tests.bench.harness import check_stream_reset, made, run_streams
from tests.hdl.softmax.test_softmax import CONFIGS, make_rows

CONFIG = dataclasses.replace(CONFIGS["eight_lanes"], chain_rows=8)


def make_items(count, seed=0, *, chained=0.7):
    """Rows of chains of up to four rows, of some jobs each, among rows of none; and what leaves."""
    rng = random.Random(f"{count} {seed}")
    top = 1 << CONFIG.score_width - 1
    inputs = {"maximum": [], "row": []}
    expected = []

    def put(query, joins, more, before):
        (row,) = make_rows(CONFIG, [1], rng)[1]
        row = {**row, "tag": {**row["tag"], "query": query}, "joins": joins, "more": more}
        row["shift"] = rng.choice((1, rng.randint(1, 63), rng.randint(10, 20)))
        maximum = rng.choice((-top, top - 1, rng.randrange(-top, top), rng.randrange(-50, 50)))
        below, offset, state = 0, 0, None
        if joins or more:
            values = [torch.tensor([value]) for value in (maximum, row["scale"], row["shift"])]
            origin, octave, steps = chain.octave_of(*values, before)
            zero = torch.zeros(1, dtype=torch.int64)
            state = chain.ChainSums(origin=origin, below=octave, exp_sum=zero, acc=zero)
            below, offset = int(octave), int(steps)
        inputs["maximum"].append(maximum)
        inputs["row"].append(row)
        expected.append({"maximum": maximum, "row": {**row, "below": below, "offset": offset}})
        return state

    while len(expected) < count:
        if rng.random() > chained:
            put(rng.randrange(CONFIG.max_tokens), 0, 0, None)
            continue
        rows, jobs = rng.randint(1, 4), rng.randint(2, 4)
        states = [None] * rows
        for job in range(jobs):
            for query in range(rows):
                states[query] = put(query, int(job > 0), int(job < jobs - 1), states[query])
    return inputs, expected


@pytest.mark.parametrize("stall", [0, 0.3, 0.6])
def test_equals_golden(stall):
    inputs, expected = make_items(60, stall)
    results, _ = run_streams(made(PartOrigin, CONFIG), inputs, {"o": len(expected)}, stall=stall)
    assert results["o"] == expected


def test_rows_of_no_chain_pass_at_once():
    inputs, expected = make_items(40, chained=0)
    results, last = run_streams(made(PartOrigin, CONFIG), inputs, {"o": len(expected)}, stall=0)
    assert results["o"] == expected
    assert last == len(expected) - 1, "a row a cycle"


def test_cycles_of_a_chained_row():
    inputs, expected = make_items(20, chained=1)
    _, last = run_streams(made(PartOrigin, CONFIG), inputs, {"o": len(expected)}, stall=0)
    assert last + 1 == len(expected) * (PartOrigin.LATENCY + 1)


def test_reset_in_mid_stream():
    inputs, expected = make_items(12)
    check_stream_reset(lambda: PartOrigin(CONFIG), inputs, {"o": len(expected)})
