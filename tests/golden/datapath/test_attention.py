"""attend in float64 equals the integer stages of the datapath, one after the other."""

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from golden.datapath import integer
from golden.datapath.attention import attend
from tests.bench.examples import examples


def stages(query, key, value, mask, *, key_lsb_bits, value_bits, scale, shift, flat_limit, value_keep, operand_width):
    """int64 in every stage, all rows with both planes."""
    scale, shift = scale[:, None, None], shift[:, None, None]
    first = integer.scores(query, (key >> key_lsb_bits) << key_lsb_bits)
    flat = torch.zeros(first.shape[:-1], dtype=torch.bool)
    if key_lsb_bits:
        flat = integer.is_flat(integer.exps(first, mask, scale, shift).sum(-1), flat_limit)
    score = torch.where(flat[..., None], integer.scores(query, key), first)
    exp = integer.exps(score, mask, scale, shift)
    recip, pe = integer.reciprocal(exp.sum(-1))
    keep = integer.keep_mask(score, mask, value_keep)
    acc = integer.accumulate(exp, keep, integer.justify_value(value, value_bits, operand_width))
    probs = integer.probs(exp, recip[..., None], pe[..., None])
    return integer.normalize(acc, recip, pe, operand_width), flat, score, exp, probs, keep


def uniform(generator, bits, *shape):
    return torch.randint(-(2 ** (bits - 1)), 2 ** (bits - 1), shape, generator=generator)


@examples(150)
@given(
    seed=st.integers(0, 2**31),
    width=st.sampled_from([8, 12, 14, 16]),
    lsb=st.sampled_from([0, 4]),
    narrow=st.booleans(),
    shape=st.tuples(st.integers(1, 3), st.integers(1, 6), st.integers(1, 24), st.sampled_from([16, 48, 128])),
    causal=st.booleans(),
    temperature=st.floats(-12, 2),
    limit=st.floats(1, 12),
    keep=st.floats(0.05, 1),
)
def test_equals_the_stages(seed, width, lsb, narrow, shape, causal, temperature, limit, keep):
    heads, q, n, dim = shape
    q = min(q, n) if causal else q
    generator = torch.Generator().manual_seed(seed)
    key_bits, value_bits = (6, 4) if narrow else (width, width)  # narrow planes: equal scores
    query = uniform(generator, 4 if narrow else width, heads, q, dim)
    key, value = uniform(generator, key_bits, heads, n, dim), uniform(generator, value_bits, heads, n, dim)
    mask = torch.ones(q, n, dtype=torch.bool)
    mask = mask.tril(n - q) if causal else mask
    # The temperature is the log2 of how many octaves two scores are apart, about.
    spread = float((query @ key.transpose(1, 2)).double().std(correction=0)) + 1
    shift = 16 - math.frexp(2**temperature * 4096 / spread)[1]
    common = dict(
        key_lsb_bits=lsb,
        value_bits=value_bits,
        scale=torch.randint(2**15, 2**16, (heads,), generator=generator),
        shift=torch.tensor([min(63, max(1, shift + head)) for head in range(heads)]),
        flat_limit=round(limit * 65536),
        value_keep=max(1, round(keep * n)),
        operand_width=width,
    )
    hidden = torch.where(mask, 0.0, -math.inf).double() if causal else None
    rows = attend(query, key.short(), value.short(), hidden, **common)
    out, flat, score, exp, probs, kept = stages(query, key, value, mask, **common)
    assert torch.equal(rows.flat, flat)
    assert torch.equal(rows.score.long(), score)
    assert torch.equal(rows.exp.long(), exp)
    assert torch.equal(rows.probs.long(), probs)
    assert torch.equal(kept, mask.expand_as(kept) if rows.keep is None else rows.keep)
    assert torch.equal(rows.out, out)
    assert torch.equal(rows.abs_sum, integer.abs_sum(out))


@pytest.mark.parametrize("width", [12, 14, 16])
def test_rounding_of_extreme_scores(width):
    """The largest scores there are, at every shift: differences just at, above and below half a step."""
    limit = 2 ** (width - 1)
    query = torch.full((1, 1, 128), -limit)
    key = torch.stack([torch.full((128,), limit - 1)] * 3 + [torch.full((128,), -limit)])[None]
    key[0, 1, 0] -= 1
    key[0, 2, :64] -= 3
    mask = torch.ones(1, 4, dtype=torch.bool)
    for shift in range(1, 64):
        for scale in (2**15, 2**15 + 1, 2**16 - 1):
            common = dict(
                key_lsb_bits=0,
                value_bits=width,
                scale=torch.tensor([scale]),
                shift=torch.tensor([shift]),
                flat_limit=0,
                value_keep=4,
                operand_width=width,
            )
            rows = attend(query, key.short(), key.short(), None, **common)
            out, _, _, exp, _, _ = stages(query, key, key, mask, **common)
            assert torch.equal(rows.exp.long(), exp) and torch.equal(rows.out, out)
