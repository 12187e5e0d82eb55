"""Scales and limits as words, who attends what, and a job against the integer stages."""

import math
import random

import pytest
import torch

from golden.datapath import integer
from golden.layers.job import Job, flat_limit_of, run_job, scale_of
from hdl.spec import numerics as N
from hdl.spec.config import PRESETS
from tests.bench.jobs import random_job

TINY, PAPER = PRESETS["tiny"], PRESETS["paper"]


@pytest.mark.parametrize("scale", [7.999, 1.0, 0.75, 1 / 3, 2.0**-30, 1e-9, 3.1e-12])
def test_scale_has_16_bits(scale):
    word, shift = scale_of(scale)
    assert 2**15 <= word < 2**16 and 1 <= shift <= 63
    assert math.ldexp(word, -shift - N.X_FRAC) == pytest.approx(scale, rel=2.0**-16)


def test_scale_rounds_up_to_the_next_power_of_two():
    assert scale_of(1.0 - 2.0**-30) == scale_of(1.0) == (2**15, 3)


def test_a_scale_below_all_shifts_is_the_nearest_that_there_is():
    assert scale_of(2.0**-70) == (2**5, 63)
    assert scale_of(2.0**-300) == (1, 63)


@pytest.mark.parametrize("scale", [0.0, -1.0, math.inf, math.nan])
def test_scale_must_be_a_positive_number(scale):
    with pytest.raises(ValueError, match=f"scale must be positive and finite, not {scale!r}"):
        scale_of(scale)


def test_scale_must_leave_a_shift():
    with pytest.raises(ValueError, match=r"scale must be below 8\.0, not 8\.0"):
        scale_of(8.0)


def test_flat_limit():
    assert flat_limit_of(1.0, PAPER) == 65_536 and flat_limit_of(0.1, PAPER) == 655_360
    assert flat_limit_of(1e-9, PAPER) == 2**PAPER.sum_width - 1
    for threshold in (0, 1.5, -0.1):
        with pytest.raises(ValueError, match=rf"threshold must be in \(0, 1\], not {threshold}"):
            flat_limit_of(threshold, PAPER)


def job_of(rows=2, tokens=5, **fields):
    generator = torch.Generator().manual_seed(rows)
    query, key, value = (torch.randint(-99, 99, (n, 16), generator=generator) for n in (rows, tokens, tokens))
    plain = dict(query_bits=8, key_bits=8, value_bits=8, scale=2**15, shift=20, value_keep=tokens)
    return Job(query=query, key=key, value=value, **(plain | fields))


def test_keys_of_a_job():
    assert job_of().num_keys == 5 and job_of(keys=3).num_keys == 3
    assert job_of(ids=torch.tensor([1, 4])).num_keys == 2


def test_mask_of_a_causal_group():
    job = job_of(rows=4, causal=True, group=2, keys=3)
    assert (job.num_queries, job.rows, job.num_rows, job.dim) == (2, 4, 5, 16)
    assert job.mask().int().tolist() == [[1, 1, 0], [1, 1, 1]] * 2
    assert bool(job_of(rows=4, group=2).mask().all())


@pytest.mark.parametrize("seed", range(20))
def test_result_is_that_of_the_stages(seed):
    job = random_job(TINY, random.Random(seed))
    chosen = job.ids if job.ids is not None else slice(job.num_keys)
    key, value, mask = job.key[chosen], job.value[chosen], job.mask()
    score = integer.scores(job.query, key >> job.key_lsb_bits << job.key_lsb_bits)
    flat = torch.zeros(job.rows, dtype=torch.bool)
    if job.key_lsb_bits:
        flat = integer.is_flat(integer.exps(score, mask, job.scale, job.shift).sum(-1), job.flat_limit)
    score = torch.where(flat[:, None], integer.scores(job.query, key), score)
    exp = integer.exps(score, mask, job.scale, job.shift)
    keep = integer.keep_mask(score, mask, job.value_keep)
    recip, pe = integer.reciprocal(exp.sum(-1))
    word = integer.justify_value(value, job.value_bits, TINY.operand_width)
    out = integer.normalize(integer.accumulate(exp, keep, word), recip, pe, TINY.operand_width)
    got = run_job(job, TINY)
    assert torch.equal(got.out, out) and torch.equal(got.flat, flat)
    assert torch.equal(got.abs_sum, out.abs().sum(-1)) and torch.equal(got.exp_sum, exp.sum(-1))
    assert torch.equal(got.probs, integer.probs(exp, recip[:, None], pe[:, None]))
    assert torch.equal(got.exp, exp) and torch.equal(got.keep, keep)
    assert torch.equal(torch.where(mask, got.score, 0), torch.where(mask, score, 0))
