import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from golden.layers.quantize import AttentionSettings, keep_count, quantize, unit_of
from hdl.spec.config import PRESETS
from tests.bench.examples import examples

TINY = PRESETS["tiny"]


@examples(100)
@given(st.lists(st.floats(-1e30, 1e30), min_size=1, max_size=20), st.integers(2, 16))
def test_quantize_is_within_half_a_step(values, bits):
    value = torch.tensor([values], dtype=torch.float64)
    unit = unit_of(value, bits)
    word = quantize(value, unit, bits)
    limit = 2 ** (bits - 1) - 1
    assert word.dtype == torch.int64 and unit > 0
    assert ((word.double() * unit - value).abs() <= unit * 0.5 * (1 + 1e-9)).all()
    if value.abs().max() >= limit * torch.finfo(value.dtype).tiny:
        assert int(word.abs().max()) == limit
    assert torch.equal(quantize(-value, unit, bits), -word), "symmetric"


def test_quantize_zeros_and_denormals():
    assert unit_of(torch.zeros(2, 3, 4), 8).tolist() == [[[1.0]]] * 2
    small = torch.tensor([[1e-45, 0.0]]).double()  # of float32 a denormal, of float64 none
    assert quantize(small, unit_of(small, 8), 8).tolist() == [[127, 0]]
    for dtype in (torch.float32, torch.float64):
        tiny = torch.finfo(dtype).tiny
        value = torch.tensor([[tiny, -2 * tiny, tiny * 2**-20]], dtype=dtype)
        assert unit_of(value, 12).item() == tiny
        assert quantize(value, unit_of(value, 12), 12).tolist() == [[1, -2, 0]]


def test_quantize_saturates():
    unit = torch.tensor(0.5)
    assert quantize(torch.tensor([10.0, -10.0, 1.2]), unit, 4).tolist() == [7, -7, 2]


def test_unit_of_a_quantile():
    value = torch.arange(1.0, 101).view(10, 10)
    assert unit_of(value, 8) * 127 == 100 and unit_of(value, 8, clip=0.9) * 127 == pytest.approx(90)
    few = torch.zeros(10, 10)
    few[0, 0] = 3
    assert unit_of(few, 8, clip=0.5) * 127 == pytest.approx(3), "zeros do not clip all the rest"


def test_unit_refuses_one_bit():
    with pytest.raises(ValueError, match="bits must be at least 2, not 1"):
        unit_of(torch.ones(1, 1), 1)


@pytest.mark.parametrize(
    "ratio, n, k", [(1.0, 33, 33), (0.1, 30, 3), (0.1, 31, 4), (0.01, 3, 1), (0.5, 7, 4), (0.7, 10, 7), (1e-9, 1, 1)]
)
def test_keep_count(ratio, n, k):
    assert keep_count(ratio, n) == AttentionSettings(value_keep=ratio).keep_count(n) == k


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"threshold": 0.0}, r"threshold must be in \(0, 1\], not 0.0"),
        ({"threshold": math.nan}, r"threshold must be in \(0, 1\], not nan"),
        ({"value_keep": 1.5}, r"value_keep must be in \(0, 1\], not 1.5"),
        ({"headroom": 1.5}, r"headroom must be in \[0, 1\], not 1.5"),
        ({"clip": 0}, r"clip must be in \(0, 1\], not 0"),
        ({"clip": "max"}, r"clip must be in \(0, 1\], not 'max'"),
        ({"key_transform": "median"}, "key_transform must be one of none, mean, channels, not 'median'"),
        ({"value_transform": 1}, "value_transform must be one of none, mean, channels, not 1"),
        ({"align": 1}, "align must be true or false, not 1"),
        ({"align": True}, 'key_transform or value_transform must be "mean" or "channels" with align, not "none"'),
        (
            {"feedback": True, "value_transform": "mean"},
            'key_transform must be "mean" or "channels" with feedback, not "none"',
        ),
        ({"value_bits": 8.0}, "value_bits must be an integer, not 8.0"),
    ],
)
def test_settings_errors(fields, message):
    with pytest.raises(ValueError, match=message):
        AttentionSettings(**fields)


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
