import dataclasses

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from golden.layers.job import Job, flat_limit_of, run_job, scale_of
from golden.layers.reference import OUT_GOAL, PROB_GOAL, error_budget, reference, top_k_mask
from hdl.spec.config import PRESETS
from tests.bench.examples import examples

TINY, PAPER = PRESETS["tiny"], PRESETS["paper"]


def normal_job(config, seed, *, q=24, n=200, dim=64, sigma=2.0, split=(8, 4), query_bits=12, value_bits=8, **fields):
    """Normal operands, scores of standard deviation ``sigma`` in natural units: what a layer gives."""
    generator = torch.Generator().manual_seed(seed)

    def tensor(rows, bits):
        values = torch.randn(rows, dim, generator=generator, dtype=torch.float64) * 2 ** (bits - 1) / 4
        return values.round().clamp(-(2 ** (bits - 1)) + 1, 2 ** (bits - 1) - 1).to(torch.int64)

    query, key, value = tensor(q, query_bits), tensor(n, sum(split)), tensor(n, value_bits)
    spread = float((query.double() @ key.double().T).std(correction=0)) or 1e5
    scale, shift = scale_of(min(7.9, sigma / spread / 0.6931))
    plain = dict(query_bits=query_bits, key_bits=split[0], key_lsb_bits=split[1], value_bits=value_bits, value_keep=n)
    plain |= dict(scale=scale, shift=shift, flat_limit=flat_limit_of(0.1, config))
    return Job(query=query, key=key, value=value, **(plain | fields))


@st.composite
def jobs(draw, config, max_keys=48):
    """Any legal job of up to ``max_keys`` keys."""
    dim = draw(st.sampled_from(config.dims))
    n = draw(st.integers(1, max_keys))
    causal = draw(st.booleans())
    q = draw(st.integers(1, min(n, 6) if causal else 6))
    ids = draw(st.none() | st.sets(st.integers(0, n - 1), min_size=max(1, q)).map(sorted)) if q <= n else None
    return normal_job(
        config,
        draw(st.integers(0, 2**31)),
        q=q,
        n=n,
        dim=dim,
        sigma=draw(st.sampled_from([0.01, 0.3, 1.0, 2.0, 5.0, 100.0])),
        split=draw(st.sampled_from(config.splits)),
        query_bits=draw(st.sampled_from(config.plane_widths)),
        value_bits=draw(st.sampled_from(config.plane_widths)),
        flat_limit=flat_limit_of(draw(st.sampled_from([0.02, 0.1, 0.3, 0.9])), config),
        causal=causal,
        ids=None if ids is None else torch.tensor(ids),
        value_keep=draw(st.integers(1, n if ids is None else len(ids))),
    )


def test_reference_is_softmax_attention():
    """By hand: scores 1, 0 and 3 in log2 units, so that the weights are 2, 1 and 8."""
    scale, shift = scale_of(1.0)
    job = Job(
        query=torch.tensor([[1] + [0] * 15]),
        key=torch.tensor([[1] + [0] * 15, [0] * 16, [3] + [0] * 15]),
        value=torch.tensor([[11] * 16, [22] * 16, [-11] * 16]),
        query_bits=8,
        key_bits=8,
        value_bits=12,
        scale=scale,
        shift=shift,
        value_keep=3,
    )
    want = reference(job, TINY)
    assert want.score.tolist() == [[1, 0, 3]]
    torch.testing.assert_close(want.probs, torch.tensor([[2 / 11, 1 / 11, 8 / 11]], dtype=torch.float64))
    torch.testing.assert_close(want.out, torch.full((1, 16), 2.0 + 2.0 - 8.0, dtype=torch.float64))
    pruned = reference(dataclasses.replace(job, value_keep=1), TINY)
    assert pruned.keep.tolist() == [[False, False, True]]
    torch.testing.assert_close(pruned.out, torch.full((1, 16), -8.0, dtype=torch.float64))
    torch.testing.assert_close(pruned.probs, want.probs)


def test_flat_rows_use_all_bits_of_the_key():
    scale, shift = scale_of(1.0)
    query = torch.zeros(2, 16, dtype=torch.int64)
    query[0, 0], query[1, 1] = 1, 1
    key = torch.zeros(4, 16, dtype=torch.int64)
    key[0, 0], key[1, 1] = 15, 32  # 15 has no bits in the MSB plane
    job = Job(
        query=query,
        key=key,
        value=torch.zeros(4, 16, dtype=torch.int64),
        query_bits=8,
        key_bits=8,
        key_lsb_bits=4,
        value_bits=8,
        scale=scale,
        shift=shift,
        flat_limit=flat_limit_of(0.5, TINY),
        value_keep=4,
    )
    want = reference(job, TINY)
    assert want.flat.tolist() == [True, False]
    assert want.score[0].tolist() == [15, 0, 0, 0]
    assert reference(job, TINY, flat=torch.tensor([False, False])).score[0].tolist() == [0, 0, 0, 0]


@pytest.mark.parametrize("k, keep", [(1, [1]), (2, [1, 2]), (3, [1, 2, 4]), (4, [0, 1, 2, 4]), (9, range(5))])
def test_top_k_keeps_the_earliest_of_ties(k, keep):
    score = torch.tensor([[3.0, 7.0, 5.0, 2.0, 5.0]])
    mask = torch.ones(1, 5, dtype=torch.bool)
    assert top_k_mask(score, mask, k)[0].nonzero().flatten().tolist() == list(keep)


def test_top_k_counts_valid_scores_only():
    score = torch.tensor([[1.0, 1.0, 9.0]])
    assert top_k_mask(score, torch.tensor([[True, True, False]]), 1).tolist() == [[True, False, False]]
    assert top_k_mask(score, torch.tensor([[True, True, False]]), 3).tolist() == [[True, True, False]]


@pytest.mark.parametrize("sigma", [0.05, 0.5, 2.0, 6.0])
@pytest.mark.parametrize("fields", [{}, {"value_keep": 60}, {"causal": True}, {"split": (12, 0)}])
def test_ordinary_data_meets_the_goals(sigma, fields):
    """The relative L2 error of every output row, too."""
    for seed in range(2):
        budget = error_budget(normal_job(PAPER, seed, sigma=sigma, **fields), PAPER)
        assert budget.met, budget
        assert budget.out <= OUT_GOAL, budget


@pytest.mark.parametrize("n", [1, 2, 3, 1024])
def test_extreme_lengths(n):
    budget = error_budget(normal_job(PAPER, n, q=1, n=n), PAPER)
    assert budget.met and budget.out <= OUT_GOAL, budget


@pytest.mark.parametrize("fill", [0, 1, -1, 2047, -2048])
def test_equal_keys_and_extreme_values(fill):
    """All scores tie: the probabilities are exactly 1/n, and the first k rows of V count."""
    job = normal_job(PAPER, 0, q=4, n=16)
    job = dataclasses.replace(
        job,
        key=torch.full_like(job.key, fill),
        value=torch.full_like(job.value, max(-128, min(127, fill))),
        value_keep=8,
    )
    result = run_job(job, PAPER)
    assert result.keep.tolist() == [[True] * 8 + [False] * 8] * 4 == reference(job, PAPER).keep.tolist()
    budget = error_budget(job, PAPER, result)
    assert budget.prob == 0 and budget.met, budget


def test_saturated_scores_are_one_hot():
    job = normal_job(PAPER, 1, sigma=1000.0)
    assert error_budget(job, PAPER).met


@pytest.mark.parametrize("config", [TINY, PAPER], ids=["tiny", "paper"])
@examples(40)
@given(data=st.data())
def test_any_job_meets_the_budget(config, data):
    """Longer rows than 48 keys of equal tiny exponentials would lose the rounding of each."""
    job = data.draw(jobs(config))
    budget = error_budget(job, config)
    assert budget.prob <= PROB_GOAL and budget.out_scaled <= OUT_GOAL and budget.flat_wrong == 0, budget


@examples(40)
@given(jobs(TINY, 24))
def test_keep_mask_equals_rank(job):
    """Threshold and ties of the integer model choose what ranking chooses; few distinct scores, many ties."""
    job = dataclasses.replace(job, query=job.query.clamp(-1, 1), key=job.key.clamp(-1, 1), key_lsb_bits=0)
    assert torch.equal(run_job(job, TINY).keep, reference(job, TINY).keep)


def test_budget_sees_errors():
    job = normal_job(PAPER, 2)
    result = run_job(job, PAPER)
    wrong = dataclasses.replace(result, probs=result.probs + 64)
    assert not error_budget(job, PAPER, wrong).met
    wrong = dataclasses.replace(result, out=result.out + 2**12)
    assert not error_budget(job, PAPER, wrong).met
    wrong = dataclasses.replace(result, flat=~result.flat)
    assert error_budget(job, PAPER, wrong).flat_wrong > 0
