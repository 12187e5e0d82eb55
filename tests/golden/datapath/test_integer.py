"""The integer golden model against float64 on the same quantized inputs."""

import math
import random

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from golden.datapath import integer
from golden.layers.job import scale_of
from hdl.spec import numerics as N
from hdl.spec.config import PRESETS
from tests.bench.examples import examples

WIDTH = PRESETS["paper"].operand_width
PROB_ERROR = 2**-11  # absolute
OUT_ERROR = 2**-9  # relative, L2 norm of a row


def attention(query, key, value, value_bits, factor, keep=None):
    """Probabilities and outputs of integer and of float64 arithmetic; factor: score -> natural exponent."""
    scale, shift = scale_of(factor * math.log2(math.e))
    score = integer.scores(query, key)
    mask = torch.ones_like(score, dtype=torch.bool)
    keep = mask if keep is None else keep
    exp = integer.exps(score, mask, scale, shift)
    recip, pe = integer.reciprocal(exp.sum(-1, keepdim=True))
    words = integer.justify_value(value, value_bits, WIDTH)
    out = integer.normalize(integer.accumulate(exp, keep, words), recip[..., 0], pe[..., 0], WIDTH)
    # With the same scale: its rounding, at most 2**-16 relative, is the host's.
    exact = torch.softmax(score.double() * (scale / 2**shift / 2**N.X_FRAC * math.log(2)), -1)
    exact_out = torch.where(keep, exact, 0) @ words.double()
    return integer.probs(exp, recip, pe) / 2**16, exact, out / 2**N.OUT_FRAC, exact_out


def check(query, key, value, value_bits, factor, keep=None):
    prob, exact, out, exact_out = attention(query, key, value, value_bits, factor, keep)
    assert (prob - exact).abs().max() <= PROB_ERROR
    assert ((out - exact_out).norm(dim=-1) <= OUT_ERROR * exact_out.norm(dim=-1)).all()


def uniform(generator, bits, *shape):
    return torch.randint(-(1 << bits - 1), 1 << bits - 1, shape, generator=generator)


@pytest.mark.parametrize("n", [1, 2, 3, 25, 127, 1024])
@pytest.mark.parametrize("value_bits", [4, 8, 12])
@pytest.mark.parametrize("spread", [0.001, 0.1, 1, 3, 30])
def test_random(n, value_bits, spread):
    generator = torch.Generator().manual_seed(n)
    dim = 64
    query, key = uniform(generator, 10, 8, dim), uniform(generator, 10, n, dim)
    value = uniform(generator, value_bits, n, dim)
    deviation = (1 << 20) / 12 * math.sqrt(dim)
    check(query, key, value, value_bits, spread / deviation)


@pytest.mark.parametrize("n", [1, 2, 5, 1024])
def test_all_equal(n):
    generator = torch.Generator().manual_seed(1)
    query = uniform(generator, 12, 4, 32)
    key = uniform(generator, 12, 1, 32).expand(n, 32)
    prob, exact, _, _ = attention(query, key, uniform(generator, 8, n, 32), 8, 1e-5)
    assert (prob - exact).abs().max() <= 2**-17 + 1e-9  # 1/n rounded to the nearest code
    check(query, key, uniform(generator, 8, n, 32) | 64, 8, 1e-5)


@pytest.mark.parametrize("n", [2, 3, 1024])
def test_one_dominates(n):
    generator = torch.Generator().manual_seed(2)
    query = torch.full((1, 128), 2047)
    key = torch.full((n, 128), -2048)
    key[n // 2] = 2047
    value = uniform(generator, 12, n, 128)
    prob, exact, out, _ = attention(query, key, value, 12, 1.0)
    assert prob[0, n // 2] == 1 == exact[0, n // 2]
    assert prob.sum() == 1
    assert out.tolist() == [value[n // 2].tolist()]


def test_tail_below_the_last_bit():
    # The worst case: every key of a long tail is lost by rounding, and the largest gets its share.
    n = 1024
    score = torch.zeros(1, n, dtype=torch.int64)
    score[0, 1:] = -(17 << N.X_FRAC) - 1
    exp = integer.exps(score, torch.ones_like(score, dtype=torch.bool), 2, 1)
    assert exp.sum() == 1 << N.EXP_FRAC
    exact = 1 / (1 + (n - 1) * 2.0 ** -(17 + 2.0**-N.X_FRAC))
    assert 2**-8 < 1 - exact < n * 2.0**-17


@pytest.mark.parametrize("factor", [2**-46, 2**-40, 2**-20, 2**-10, 1.0, 4.0])
def test_extreme_scales(factor):
    generator = torch.Generator().manual_seed(3)
    query, key = uniform(generator, 12, 4, 128), uniform(generator, 12, 100, 128)
    check(query, key, uniform(generator, 4, 100, 128), 4, factor)


def test_local_value_pruning():
    generator = torch.Generator().manual_seed(4)
    query, key = uniform(generator, 8, 4, 64), uniform(generator, 8, 300, 64)
    score = integer.scores(query, key)
    keep = integer.keep_mask(score, torch.ones_like(score, dtype=torch.bool), 150)
    assert (keep.sum(-1) == 150).all()
    check(query, key, uniform(generator, 8, 300, 64), 8, 1e-4, keep)


@examples(25)
@given(st.data())
def test_any_attention(data):
    bits = data.draw(st.sampled_from([4, 6, 8, 10, 12]))
    value_bits = data.draw(st.sampled_from([4, 6, 8, 10, 12]))
    n = data.draw(st.integers(1, 1024))
    dim = data.draw(st.sampled_from([16, 32, 64, 80, 96, 128]))
    spread = 2.0 ** data.draw(st.floats(-12, 6))
    generator = torch.Generator().manual_seed(data.draw(st.integers(0, 2**30)))
    query, key = uniform(generator, bits, 3, dim), uniform(generator, bits, n, dim)
    deviation = (1 << 2 * bits) / 12 * math.sqrt(dim)
    check(query, key, uniform(generator, value_bits, n, dim), value_bits, spread / deviation)


def test_exponential_error():
    x = torch.arange(2**N.X_WIDTH)
    error = integer.exp2_neg(x) / 2**N.EXP_FRAC - torch.exp2(-x.double() / 2**N.X_FRAC)
    assert error.abs().max() < 2.0 * 2**-16
    values = integer.exp2_neg(x)
    assert (values[1:] <= values[:-1]).all(), "a larger distance never has the larger exponential"
    assert (values[0], values[-1]) == (1 << N.EXP_FRAC, 0)


def test_reciprocal_error():
    # All fractions of 18 bits, exact and with bits below them that are dropped.
    total = torch.cat(
        [torch.arange(1 << 16, 1 << 18), torch.arange(1 << 18, 1 << 19), (torch.arange(1 << 18) << 4) + (1 << 22) + 15]
    )
    recip, pe = integer.reciprocal(total)
    value = recip.double() * 2.0**-16 / 2.0**pe
    assert (value * total.double() / 2**16 - 1).abs().max() < 2.6 * 2**-16
    assert recip.min() == 1 << N.RECIP_FRAC - 1
    assert recip.max() == 1 << N.RECIP_FRAC


@given(st.integers(-(2**50), 2**50), st.integers(0, 40))
@examples(60)
def test_round_shift_rounds_half_up(value, shift):
    exact = math.floor(value / 2**shift + 0.5) if shift else value
    assert integer.round_shift(torch.tensor(value), shift).item() == exact


@pytest.mark.parametrize("seed", range(4))
def test_row_of_the_largest_values_saturates(seed):
    rng = random.Random(seed)
    acc = torch.tensor([[-(2048 << 16) * n, (2047 << 16) * n] for n in (1, rng.randint(2, 1023), 1024)])
    recip, pe = integer.reciprocal(torch.tensor([65536 * n for n in (1, 7, 1024)]))
    out = integer.normalize(acc[::2], recip[::2], pe[::2], WIDTH)
    assert out.tolist() == [[-2048 * 256, 2047 * 256]] * 2
    assert integer.normalize(acc * 2, recip[:1].expand(3), pe[:1].expand(3), WIDTH)[0].tolist() == [-(2**19), 2**19 - 1]
    assert integer.abs_sum(out).tolist() == [(2048 + 2047) * 256] * 2


def test_merged_key_word():
    word = torch.arange(-32, 32).repeat_interleave(16) * 16 + torch.arange(16).repeat(64)
    msb, lsb = word >> 4, word & 15
    assert integer.merge_key(msb, lsb, 4).tolist() == word.tolist()
    assert integer.merge_key(msb, None, 4).tolist() == (msb * 16).tolist()


@given(st.lists(st.integers(-3, 3), min_size=1, max_size=40), st.integers(1, 50))
@examples(60)
def test_keep_mask_keeps_the_earliest_of_equals(values, k):
    score = torch.tensor([values])
    order = sorted(range(len(values)), key=lambda index: (-values[index], index))[:k]
    keep = integer.keep_mask(score, torch.ones_like(score, dtype=torch.bool), k)
    assert keep[0].nonzero()[:, 0].tolist() == sorted(order)
