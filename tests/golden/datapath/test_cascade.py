"""Importance and selection against integers of Python, and the corners where they saturate."""

import random

import pytest
import torch

from golden.datapath import cascade


def test_probabilities_add_up_and_saturate():
    importance = torch.tensor([0, 5, cascade.LIMIT - 70_000, cascade.LIMIT])
    probs = torch.tensor([[65_536, 0, 65_536, 1], [1, 2, 4_463, 0]])
    assert cascade.accumulate(importance, probs).tolist() == [65_537, 7, cascade.LIMIT - 1, cascade.LIMIT]
    assert cascade.accumulate(importance, probs * 2).tolist()[2:] == [cascade.LIMIT, cascade.LIMIT]


@pytest.mark.parametrize(("decay", "want"), [(0, [0, 1, 7, 4096]), (1, [0, 1, 4, 2048]), (3, [0, 1, 7, 3584])])
def test_decay_takes_a_rounded_down_part(decay, want):
    assert cascade.decayed(torch.tensor([0, 1, 7, 4096]), decay).tolist() == want


def test_head_update_is_exact_in_64_bits():
    rng = random.Random(0)
    rows = [
        (rng.getrandbits(32), rng.getrandbits(rng.choice([8, 30, 48, 52])), rng.getrandbits(16)) for _ in range(500)
    ]
    rows += [(0, 2**48 - 1, 2**16 - 1), (cascade.LIMIT, 0, 1), (0, 2**24 - 1, 1), (0, 2**24, 1), (0, 2**60, 1)]
    before, total, weight = (torch.tensor(column) for column in zip(*rows, strict=True))
    got = cascade.head_update(before, total, weight).tolist()
    want = [min(cascade.LIMIT, old + (min(add, 2**48 - 1) * unit >> 24)) for old, add, unit in rows]
    assert got == want


@pytest.mark.parametrize(
    ("keep", "want"), [(1, [0, 1, 0, 0]), (2, [1, 1, 0, 0]), (3, [1, 1, 0, 1]), (4, [1, 1, 1, 1]), (9, [1, 1, 1, 1])]
)
def test_of_equal_ones_the_earliest_survive(keep, want):
    assert cascade.select(torch.tensor([5, 9, 0, 5]), keep).int().tolist() == want


def test_sequences_select_apart():
    keep = cascade.select(torch.tensor([[1, 2, 3], [3, 2, 1]]), 2)
    assert keep.int().tolist() == [[0, 1, 1], [1, 1, 0]]


@pytest.mark.parametrize(
    ("keep", "pins", "want"),
    [
        (3, {}, [0, 1, 1, 1, 0]),
        (3, {"pin_first": 1}, [1, 0, 1, 1, 0]),
        (3, {"pin_last": 2}, [0, 0, 1, 1, 1]),
        (3, {"pin_first": 2, "pin_last": 2}, [1, 1, 0, 1, 0]),  # more pins than places: the earliest
        (1, {"pin_last": 9}, [1, 0, 0, 0, 0]),
        (5, {"pin_first": 1}, [1, 1, 1, 1, 1]),
    ],
)
def test_pinned_tokens_count_among_those_that_are_kept(keep, pins, want):
    importance = torch.tensor([0, 4, 6, cascade.LIMIT, 1])
    assert cascade.select_tokens(importance, keep, **pins).int().tolist() == want
