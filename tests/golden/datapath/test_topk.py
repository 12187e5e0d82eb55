import random

import pytest
import torch

from golden.datapath.integer import keep_mask, kth_largest
from golden.datapath.topk import (
    BENCH_KINDS,
    bench_rows,
    pivot_ranks,
    quick_select_cycles,
    quick_select_passes,
    survivors,
)


def mask_of(row):
    return torch.ones(1, len(row), dtype=torch.bool)


@pytest.mark.parametrize("kind", BENCH_KINDS)
@pytest.mark.parametrize("parallelism", [1, 2, 4, 16, 32])
def test_result_equals_the_integer_model(kind, parallelism):
    rng = random.Random(parallelism)
    for n in (1, 2, 17, 64, 130):
        for row in bench_rows(kind, n, 3, seed=n):
            for k in {1, n, rng.randint(1, n), n + 3}:
                threshold, ties, passes = quick_select_passes(row, k, parallelism)
                truth = kth_largest(torch.tensor([row]), mask_of(row), min(k, n))
                assert (threshold, ties) == tuple(int(x) for x in truth)
                assert [item.size for item in passes] == sorted({item.size for item in passes}, reverse=True)
                kept = keep_mask(torch.tensor([row]), mask_of(row), k)[0].nonzero().flatten().tolist()
                assert survivors(row, k) == kept


def test_equal_rows_take_one_pass():
    row = bench_rows("equal", 1024, 1, seed=0)[0]
    assert len(quick_select_passes(row, 512, 16)[2]) == 1


@pytest.mark.parametrize(("kind", "mean"), [("random", 150), ("scores", 150), ("eight", 110), ("sorted", 300)])
@pytest.mark.parametrize("k", [512, 256, 102])
def test_mean_cycles(kind, mean, k):
    cycles = [quick_select_cycles(row, k, 16) for row in bench_rows(kind, 1024, 40, seed=3)]
    assert sum(cycles) / len(cycles) <= mean


@pytest.mark.parametrize("parallelism", [1, 2, 4, 16])
def test_pivot_ranks_are_ordered_and_inside(parallelism):
    for size in (1, 2, 15, 16, 17, 100):
        for k in range(1, size + 1):
            high, low = pivot_ranks(k, size, parallelism)
            assert 0 <= high <= low < parallelism


def test_errors():
    with pytest.raises(ValueError, match="kind must be one of random, sorted, equal, eight, scores, not 'odd'"):
        bench_rows("odd", 8, 1, 0)
    with pytest.raises(ValueError, match="a row needs scores and k >= 1, not 0 and 1"):
        quick_select_cycles([], 1, 4)
    with pytest.raises(ValueError, match="a row needs scores and k >= 1, not 1 and 0"):
        quick_select_cycles([3], 0, 4)
