import itertools
import math

import pytest
import torch

from golden.layers.job import Job, flat_limit_of, run_job, scale_of
from golden.layers.synthetic import make_queries, make_summarization, make_tensor, nested_ids
from hdl.spec.config import PRESETS

CONFIG = PRESETS["paper"]


def generator(seed=1):
    return torch.Generator().manual_seed(seed)


def made(counts=200, *, flat, threshold=0.05, tokens=300, heads=12, dim=64, bits=(6, 4), seed=1):
    """Results of the golden model on rows that are to be flat, or not, and each row's scores in nats."""
    chance, (msb, lsb) = generator(seed), bits
    key = make_tensor(chance, heads, tokens, dim, bits=msb + lsb)
    value = make_tensor(chance, heads, tokens, dim, bits=6)
    ids = nested_ids(torch.rand(tokens, generator=chance), tokens, counts)
    wanted = torch.full((heads,), flat) if isinstance(flat, bool) else torch.tensor(flat)
    limit = flat_limit_of(threshold, CONFIG)
    queries = make_queries(
        chance,
        (key >> lsb << lsb).double(),
        ids,
        query_bits=12,
        flat=wanted,
        threshold=threshold if lsb else None,
        flat_limit=limit if lsb else None,
    )
    results = []
    for head in range(heads):
        job = Job(
            query=queries.query[head : head + 1],
            key=key[head],
            value=value[head],
            ids=ids,
            query_bits=12,
            key_bits=msb,
            key_lsb_bits=lsb,
            value_bits=6,
            scale=queries.scale[head],
            shift=queries.shift[head],
            flat_limit=limit,
            value_keep=counts,
            generation=True,
        )
        result = run_job(job, CONFIG)
        nats = result.score[0] * queries.scale[head] / 2.0 ** (queries.shift[head] + 12) * math.log(2)
        results.append((result, nats))
    return results


@pytest.mark.parametrize("count", [21, 102, 300])
@pytest.mark.parametrize("threshold", [0.05, 0.1, 0.5])
def test_rows_are_flat_by_their_numbers(count, threshold):
    wanted = [head % 3 == 0 for head in range(12)]
    rows = made(count, flat=wanted, threshold=threshold)
    assert [bool(result.flat) for result, _ in rows] == wanted


@pytest.mark.parametrize("bits", [(6, 4), (12, 0)])
def test_scores_spread_like_those_of_models(bits):
    rows = [row for seed in range(8) for row in made(flat=False, bits=bits, seed=seed)]
    spread = torch.stack([nats.std() for _, nats in rows])
    largest = torch.stack([result.probs.max() / 2**16 for result, _ in rows])
    assert 1.0 < spread.median() < 2.0 and spread.max() < 3.5
    assert 0.05 < largest.min() < 0.08 and 0.7 < largest.max() < 0.9 and 0.15 < largest.median() < 0.35


def test_flat_rows_are_not_uniform():
    rows = [row for seed in range(4) for row in made(flat=True, seed=seed)]
    largest = torch.stack([result.probs.max() / 2**16 for result, _ in rows])
    assert largest.min() > 1.2 / 200 and largest.max() < 0.045


@pytest.mark.parametrize("count", [1, 2])
def test_rows_of_few_keys_are_peaked(count):
    assert not any(bool(result.flat) for result, _ in made(count, flat=False))


def test_row_of_few_keys_cannot_be_flat():
    with pytest.raises(ValueError, match=r"row of head 0 cannot be made flat with 10 keys, threshold 0\.05"):
        made(10, flat=True)


@pytest.mark.parametrize("bits", [4, 6, 10, 12])
def test_tensor_uses_its_bits(bits):
    tensor = make_tensor(generator(), 3, 50, 32, bits=bits)
    most = 2 ** (bits - 1) - 1
    assert tensor.shape == (3, 50, 32) and tensor.dtype == torch.int64
    assert tensor.abs().flatten(1).amax(-1).tolist() == [most] * 3
    assert torch.equal(tensor, make_tensor(generator(), 3, 50, 32, bits=bits))


def test_ids_are_nested_and_keep_the_last_token():
    priority = torch.rand(100, generator=generator())
    sets = [nested_ids(priority, 90, count) for count in (1, 2, 30, 60, 90)]
    for small, large in itertools.pairwise(sets):
        assert set(small.tolist()) < set(large.tolist())
    assert sets[0].tolist() == [89] and sets[-1].tolist() == list(range(90))
    assert all(ids.tolist() == sorted(set(ids.tolist())) for ids in sets)
    assert not torch.equal(sets[2], nested_ids(torch.rand(100, generator=generator(2)), 90, 30))


@pytest.mark.parametrize(("tokens", "count"), [(10, 0), (10, 11), (101, 5)])
def test_ids_that_are_not_there(tokens, count):
    with pytest.raises(ValueError, match=f"count must be from 1 to the number of tokens \\({tokens}\\), not {count}"):
        nested_ids(torch.rand(100), tokens, count)


def test_summarization():
    key = make_tensor(generator(), 4, 60, 64, bits=12)
    query, scales = make_summarization(generator(2), key, query_bits=12)
    assert query.shape == (4, 60, 64) and query.abs().max() == 2047
    for head, scale in enumerate(scales):
        scale_of(scale)  # can be written
        nats = query[head].double() @ key[head].double().T * scale * math.log(2)
        assert 0.9 < nats.std(-1).mean() < 2.1
        assert nats.softmax(-1).amax(-1).median() > 0.1


def test_summarization_of_one_token():
    query, scales = make_summarization(generator(), make_tensor(generator(), 2, 1, 16, bits=12), query_bits=12)
    assert query.shape == (2, 1, 16) and all(0 < scale < 8 for scale in scales)
