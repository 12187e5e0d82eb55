import math

import pytest
import torch
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from golden import integer
from golden.job import flat_limit_of, run_job
from golden.quantize import AttentionSettings, dequantize_out, quantize, quantize_layer, split_planes
from hdl import numerics as N
from hdl.config import PRESETS

TINY = PRESETS["tiny"]


def layer(heads=2, q=7, n=7, dim=32, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return [torch.randn(heads, rows, dim, generator=generator) for rows in (q, n, n)]


@hypothesis_settings(deadline=None, max_examples=100, derandomize=True)
@given(st.lists(st.floats(-1e30, 1e30), min_size=1, max_size=20), st.integers(2, 16))
def test_quantize_is_within_half_a_step(values, bits):
    value = torch.tensor(values, dtype=torch.float64)
    word, scale = quantize(value, bits)
    limit = 2 ** (bits - 1) - 1
    assert word.dtype == torch.int64 and scale > 0
    assert int(word.abs().max()) == (limit if value.any() else 0)
    assert ((word.double() * scale - value).abs() <= scale * 0.5 * (1 + 1e-9) + 1e-300).all()
    assert torch.equal(quantize(-value, bits)[0], -word), "symmetric"


def test_quantize_zeros_and_denormals():
    word, scale = quantize(torch.zeros(3, 4), 8)
    assert not word.any() and scale == 1.0
    assert quantize(torch.tensor([1e-45, 0.0]), 8)[0].tolist() == [127, 0]
    assert quantize(torch.tensor([5e-324], dtype=torch.float64), 12)[0].tolist() == [0]
    assert quantize(torch.zeros(0), 8)[0].shape == (0,)


@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf])
def test_quantize_refuses_what_is_not_finite(bad):
    with pytest.raises(ValueError, match="key must be finite, not NaN or infinite in 1 of 3 elements"):
        quantize(torch.tensor([0.0, bad, 1.0]), 8, name="key")


def test_quantize_refuses_one_bit():
    with pytest.raises(ValueError, match="bits must be at least 2, not 1"):
        quantize(torch.ones(1), 1)


@pytest.mark.parametrize("lsb_bits", [0, 4])
def test_planes_merge_to_the_key(lsb_bits):
    key = torch.arange(-2048, 2048)
    msb, lsb = split_planes(key, lsb_bits)
    assert int(lsb.min()) >= 0 and int(lsb.max()) < 2**lsb_bits
    assert int(msb.min()) == -(2048 >> lsb_bits)
    assert torch.equal(integer.merge_key(msb, lsb, lsb_bits), key)


@pytest.mark.parametrize(
    "ratio, n, k", [(1.0, 33, 33), (0.1, 30, 3), (0.1, 31, 4), (0.01, 3, 1), (0.5, 7, 4), (0.7, 10, 7), (1e-9, 1, 1)]
)
def test_keep_count(ratio, n, k):
    assert AttentionSettings(value_keep=ratio).keep_count(n) == k


@pytest.mark.parametrize("name, value", [("threshold", 0.0), ("threshold", 1.5), ("value_keep", 0.0)])
def test_settings_errors(name, value):
    with pytest.raises(ValueError, match=rf"{name} must be in \(0, 1\], not {value}"):
        AttentionSettings(**{name: value})


def test_settings_nan():
    with pytest.raises(ValueError, match="threshold must be in"):
        AttentionSettings(threshold=math.nan)


@pytest.mark.parametrize(
    "fields, message",
    [
        ({"query_bits": 16}, r"query_bits must be one of \(4, 6, 8, 10, 12\), not 16"),
        ({"value_bits": 5}, r"value_bits must be one of \(4, 6, 8, 10, 12\), not 5"),
        ({"key_bits": 12, "key_lsb_bits": 4}, r"split must be one of 4, 6, 8, 10, 12, 4\+4, 6\+4, 8\+4, not 12\+4"),
        ({"key_bits": 8, "key_lsb_bits": 2}, r"split must be one of .*, not 8\+2"),
    ],
)
def test_settings_are_checked_against_the_config(fields, message):
    with pytest.raises(ValueError, match=message):
        AttentionSettings(**fields).check(TINY)


def test_split_text():
    assert AttentionSettings().split == "8+4"
    assert AttentionSettings(key_bits=12, key_lsb_bits=0).split == "12"


def test_layer_jobs():
    query, key, value = layer()
    batch = quantize_layer(query, key, value, AttentionSettings(value_keep=0.5, threshold=0.2), TINY, name="layer 3")
    assert [job.name for job in batch.jobs] == ["layer 3 head 0", "layer 3 head 1"]
    job = batch.jobs[1]
    assert (job.num_queries, job.num_keys, job.dim, job.value_keep) == (7, 7, 32, 4)
    assert job.flat_limit == flat_limit_of(0.2, TINY)
    assert int(job.query.abs().max()) == 2047 and int(job.key.abs().max()) == 2047 and int(job.value.abs().max()) == 127
    # One integer score step in log2 units.
    step = float(query[1].abs().max()) / 2047 * float(key[1].abs().max()) / 2047 / 32**0.5 * math.log2(math.e)
    assert math.ldexp(job.scale, -job.shift - N.X_FRAC) == pytest.approx(step, rel=2**-15)
    static = quantize_layer(query, key, value, AttentionSettings(key_bits=12, key_lsb_bits=0), TINY).jobs[0]
    assert static.flat_limit == 0 and static.key_lsb_bits == 0


@pytest.mark.parametrize("value_bits, limit", [(4, 0.2), (8, 0.015), (12, 0.001)])
def test_output_approaches_float_attention(value_bits, limit):
    query, key, value = layer(heads=3, q=20, n=20, seed=1)
    batch = quantize_layer(
        query, key, value, AttentionSettings(key_bits=12, key_lsb_bits=0, value_bits=value_bits), TINY
    )
    out = batch.dequantize([run_job(job, TINY) for job in batch.jobs], TINY)
    want = (query.double() @ key.double().transpose(1, 2) / 32**0.5).softmax(-1) @ value.double()
    assert out.shape == want.shape
    assert (out - want).norm() / want.norm() < limit


def test_causal_and_own_scaling():
    query, key, value = layer(q=5, n=9, seed=2)
    batch = quantize_layer(
        query, key, value, AttentionSettings(key_bits=12, key_lsb_bits=0), TINY, scaling=0.5, causal=True
    )
    out = batch.dequantize([run_job(job, TINY) for job in batch.jobs], TINY)
    hidden = torch.ones(5, 9, dtype=torch.bool).triu(9 - 5 + 1)
    score = (query @ key.transpose(1, 2) * 0.5).masked_fill(hidden, -math.inf)
    want = (score.softmax(-1) @ value).double()
    assert (out - want).norm() / want.norm() < 0.01


def test_all_zero_layer():
    zeros = torch.zeros(1, 4, 16)
    batch = quantize_layer(zeros, zeros, zeros, AttentionSettings(), TINY)
    result = run_job(batch.jobs[0], TINY)
    assert not dequantize_out(batch.jobs[0], result, batch.value_scales[0], TINY).any()


def test_nan_names_the_head():
    query, key, value = layer()
    key[1, 3, 5] = math.nan
    with pytest.raises(ValueError, match="layer head 1 key must be finite, not NaN or infinite in 1 of 224 elements"):
        quantize_layer(query, key, value, AttentionSettings(), TINY)


def test_shape_errors():
    query, key, value = layer()
    with pytest.raises(ValueError, match=r"must be .heads, tokens, D. of equal heads and D"):
        quantize_layer(query, key, value[:, :3], AttentionSettings(), TINY)
    with pytest.raises(ValueError, match=r"head dimension must be one of \(16, 32, 48, 64\), not 24"):
        quantize_layer(query[..., :24], key[..., :24], value[..., :24], AttentionSettings(), TINY)
