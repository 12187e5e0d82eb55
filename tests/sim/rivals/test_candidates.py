"""The greedy search against a slow transcription of A3's algorithm, pointer by pointer."""

import pytest
import torch

from sim.rivals.candidates import search


def literal(query, key, iterations):
    """(greedy scores, candidates, products popped) of a row and its keys, lists of integers."""
    columns = range(len(query))
    ordered = [sorted((row[j], i) for i, row in enumerate(key)) for j in columns]
    # Pointers of the largest and of the smallest product of each column.
    upper = [len(key) - 1 if query[j] > 0 else 0 for j in columns]
    lower = [0 if query[j] > 0 else len(key) - 1 for j in columns]
    greedy, total, steps = [0] * len(key), 0, 0
    for _ in range(iterations):
        # A pointer that has left its column has no product.
        fronts = [(query[j] * ordered[j][upper[j]][0], -j) for j in columns if 0 <= upper[j] < len(key)]
        product, j = max(fronts)
        j = -j
        row = ordered[j][upper[j]][1]
        upper[j] += -1 if query[j] > 0 else 1
        steps += 1
        if product > 0:
            greedy[row] += product
            total += product
        if total < 0:
            continue
        fronts = [(query[j] * ordered[j][lower[j]][0], j) for j in columns if 0 <= lower[j] < len(key)]
        product, j = min(fronts)
        row = ordered[j][lower[j]][1]
        lower[j] += 1 if query[j] > 0 else -1
        steps += 1
        if product < 0:
            greedy[row] += product
            total += product
    chosen = [score > 0 for score in greedy]
    if not any(chosen):
        chosen[greedy.index(max(greedy))] = True
    return greedy, chosen, steps


def test_by_hand():
    """Products 3·(2, -1, 1) and -2·(1, 4, -3), so column 0 has 6, -3, 3 and column 1 has -2, -8, 6.

    Pops: 6 (column 0, key 0); -8 (key 1), the sum is -2; 6 (column 1, key 2), the sum is 4; -3 (key 1).
    """
    query, key = torch.tensor([[[3, -2]]]), torch.tensor([[[2, 1], [-1, 4], [1, -3]]])
    found = search(query, key, torch.tensor([3]), torch.tensor([2]))
    assert found.greedy.tolist() == [[[6, -11, 6]]]
    assert found.candidates.tolist() == [[[True, False, True]]]
    assert found.steps.tolist() == [[4]]


def test_the_smallest_are_not_popped_while_the_sum_is_negative():
    """Column 0 has products 1, -9, -8: 1, then -9, and no more of the smallest: the sum is -8."""
    found = search(torch.tensor([[[1]]]), torch.tensor([[[1], [-9], [-8]]]), torch.tensor([3]), torch.tensor([3]))
    assert found.greedy.tolist() == [[[1, -9, 0]]]
    assert found.steps.tolist() == [[4]]


def test_without_a_candidate_the_best_key_is_taken():
    found = search(torch.tensor([[[1]]]), torch.tensor([[[-3], [-1], [-1]]]), torch.tensor([3]), torch.tensor([1]))
    assert found.greedy.tolist() == [[[-3, 0, 0]]]
    assert found.candidates.tolist() == [[[False, True, False]]]


@pytest.mark.parametrize("largest", (1, 4, 127), ids=lambda largest: f"up to {largest}")
@pytest.mark.parametrize(("keys", "dim"), ((1, 1), (2, 3), (9, 4), (24, 8)))
def test_equals_the_transcription(keys, dim, largest):
    generator = torch.Generator().manual_seed(1000 * keys + largest)
    rows = 6
    query = torch.randint(-largest, largest + 1, (2, rows, dim), generator=generator)
    key = torch.randint(-largest, largest + 1, (2, keys, dim), generator=generator)
    lengths = torch.randint(1, keys + 1, (rows,), generator=generator)
    iterations = (torch.rand(rows, generator=generator) * lengths * dim).long().clamp(min=1)
    found = search(query, key, lengths, iterations)
    for head in range(2):
        for row in range(rows):
            length = int(lengths[row])
            want = literal(query[head, row].tolist(), key[head, :length].tolist(), int(iterations[row]))
            got = found.greedy[head, row], found.candidates[head, row], found.steps[head, row]
            assert (got[0][:length].tolist(), got[1][:length].tolist(), int(got[2])) == want
            assert not got[1][length:].any() and not got[0][length:].any()


def test_wide_integers():
    """Products too large for 32 bits with their places."""
    query, key = torch.tensor([[[30000, 1]]]), torch.tensor([[[30000, -2]] + [[29999, 5]] * 2000])
    found = search(query, key, torch.tensor([2001]), torch.tensor([1]))
    assert found.greedy[0, 0, 0] == 900_000_000 - 2
    assert int(found.candidates.sum()) == 1
