import dataclasses
import random

import pytest
import torch

from golden.datapath import chain
from hdl.softmax.sum_fold import SumFold
from tests.bench.harness import check_stream_reset, made, run_streams
from tests.hdl.softmax.test_softmax import CONFIGS, make_rows

CONFIG = dataclasses.replace(CONFIGS["eight_lanes"], chain_rows=8)


def make_items(count, seed=0, *, chained=0.7):
    """Rows of chains of up to four rows, of some jobs each, among rows of none; and what leaves."""
    rng = random.Random(f"{count} {seed}")
    items, expected = [], []
    far = 1 << CONFIG.octave_width - 2

    def put(query, joins, more, before):
        (row,) = make_rows(CONFIG, [1], rng)[1]
        below = rng.choice((rng.randint(-3, 3), rng.randint(-70, 70), rng.randrange(-far, far))) if joins else 0
        exp_sum = rng.choice((1 << 16, CONFIG.max_tokens << 16, rng.randint(1 << 15, CONFIG.max_tokens << 16)))
        facts = {"tag": {**row["tag"], "query": query}, "flat_limit": row["flat_limit"], "check": 0}
        facts |= {"joins": joins, "more": more, "below": below}
        fold = {"joins": joins, "more": more}
        total, state = exp_sum << 7, None
        if joins or more:
            zero = torch.zeros(1, dtype=torch.int64)
            state = chain.fold(zero, torch.tensor([below]), torch.tensor([exp_sum]), zero[:, None], before)
            total, highest = int(state.exp_sum), int(state.below)
            fold["old_shift"] = min(63, int(before.below) - highest) if joins else 0
            fold["new_shift"] = min(63, below - highest)
        items.append({"facts": facts, "exp_sum": exp_sum})
        expected.append({"facts": facts, "exp_sum": exp_sum, "total": total, "fold": fold})
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
    return items, expected


def shown(results):
    """The shifts of a row that is in no chain mean nothing."""
    rows = []
    for row in results:
        fold = row["fold"]
        names = ("joins", "more", "old_shift", "new_shift") if fold["joins"] or fold["more"] else ("joins", "more")
        rows.append({**row, "fold": {name: fold[name] for name in names}})
    return rows


@pytest.mark.parametrize("stall", [0, 0.3, 0.6])
def test_equals_golden(stall):
    items, expected = make_items(60, stall)
    results, _ = run_streams(made(SumFold, CONFIG), {"i": items}, {"o": len(expected)}, stall=stall)
    assert shown(results["o"]) == expected


def test_rows_of_no_chain_pass_at_once():
    items, expected = make_items(40, chained=0)
    results, last = run_streams(made(SumFold, CONFIG), {"i": items}, {"o": len(expected)}, stall=0)
    assert shown(results["o"]) == expected
    assert last == len(expected) - 1, "a row a cycle"


def test_cycles_of_a_chained_row():
    items, expected = make_items(20, chained=1)
    _, last = run_streams(made(SumFold, CONFIG), {"i": items}, {"o": len(expected)}, stall=0)
    assert last + 1 == len(expected) * (SumFold.LATENCY + 1)


def test_reset_in_mid_stream():
    items, expected = make_items(12, chained=1)
    check_stream_reset(lambda: SumFold(CONFIG), {"i": items}, {"o": len(expected)})
