"""Rounding of appended rows against fractions, and what the constants of a step are."""

from fractions import Fraction

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from golden.datapath.append import AppendConstants, appended
from golden.host.calibration import Grid
from golden.layers.quantize import TRANSFORMS
from tests.bench.examples import examples


def float_of(word, half):
    """The number of a bit pattern, by PyTorch; None of NaN."""
    signed = word - (word >> 15 << 16)
    number = float(torch.tensor([signed], dtype=torch.int16).view(torch.float16 if half else torch.bfloat16))
    return None if number != number else number


def fraction_twin(word, half, mantissa, shift, offset, bits):
    """(integer, saturated) by exact fractions."""
    number = float_of(word, half)
    low, high = -(1 << bits - 1), (1 << bits - 1) - 1
    if number is None:
        return 0, True
    if abs(number) == float("inf"):
        return (high if number > 0 else low), True
    value = Fraction(number) * (1024 + mantissa) * Fraction(2) ** (15 - shift) + Fraction(offset, 16)
    integer = round(value)  # half to even
    return min(max(integer, low), high), not low <= integer <= high


WORDS = st.one_of(
    st.integers(0, 0xFFFF),
    st.sampled_from([0, 0x8000, 1, 0x8001, 0x7F, 0x3FF, 0x400, 0x7C00, 0xFC00, 0x7C01, 0x7F80, 0xFF80, 0xFFFF, 0x7F81]),
)


@examples(200)
@given(
    WORDS,
    st.booleans(),
    st.integers(0, 1023),
    st.integers(0, 63),
    st.integers(-32768, 32767),
    st.sampled_from([4, 6, 8, 10, 12, 14, 16]),
)
def test_equal_to_fractions(word, half, mantissa, shift, offset, bits):
    constants = _constants(mantissa, shift, offset)
    integer, saturated = appended(torch.tensor([[word]]), constants, bits, half=half)
    assert (int(integer), bool(saturated)) == fraction_twin(word, half, mantissa, shift, offset, bits)


def _constants(mantissa, shift, offset):
    return AppendConstants(
        mantissa=torch.tensor([mantissa]), shift=torch.tensor([shift]), offset=torch.tensor([offset])
    )


@pytest.mark.parametrize("half", [False, True])
def test_every_pattern(half):
    """All 65,536 words with a step of 1, an offset, and steps that leave halves."""
    words = torch.arange(1 << 16)[:, None]
    for shift, offset in ((25, 0), (25, -8), (26, 3), (22, 0)):
        integers, saturated = appended(words, _constants(0, shift, offset), 8, half=half)
        for word in range(0, 1 << 16, 7):
            want = fraction_twin(word, half, 0, shift, offset, 8)
            assert (int(integers[word]), bool(saturated[word])) == want, hex(word)


@examples(200)
@given(st.floats(2.0**-24, 2.0**37), st.floats(-2000, 2000))
def test_a_step_is_never_smaller_than_asked_for(step, steps):
    center = torch.tensor([step * steps], dtype=torch.float64)
    constants = AppendConstants.of(torch.tensor([step], dtype=torch.float64), center, 0.5)
    assert step <= float(constants.step) <= step * (1 + 2.0**-10)
    assert abs(float(constants.offset) / 16 + float(center / constants.step) + 0.5) <= 1 / 32
    assert 0 <= int(constants.mantissa) < 1024


@pytest.mark.parametrize(
    ("step", "center", "named"),
    [(0.0, 0.0, "step"), (2.0**45, 0, "step"), (2.0**-40, 0, "step"), (1.0, 3000.0, "center")],
)
def test_what_cannot_be_told(step, center, named):
    with pytest.raises(ValueError, match=f"{named} must be"):
        AppendConstants.of(torch.tensor([step], dtype=torch.float64), torch.tensor([center]))


@pytest.mark.parametrize("kind", TRANSFORMS)
@pytest.mark.parametrize("bits", [4, 8])
def test_serves_the_grids_of_the_host(kind, bits):
    """Every transform of the host, whose grids have an offset: x lies within half a step of what it is stored as."""
    generator = torch.Generator().manual_seed(3)
    rows = torch.randn(1, 2, 200, 32, generator=generator) + 3 * torch.randn(1, 2, 1, 32, generator=generator)
    rows = rows.to(torch.bfloat16)
    grid = Grid.of(rows.double(), kind, bits, clip=1.0)
    center = grid.center[..., 0, :]
    constants = AppendConstants.of((grid.unit * grid.channel)[..., 0, :], center, grid.offset)
    integers, saturated = appended(rows.view(torch.int16).long() & 0xFFFF, constants, bits, half=False)
    step = constants.step[..., None, :]
    error = ((integers + grid.offset) * step + center[..., None, :] - rows.double()).abs() / step
    assert error[~saturated].max() <= 0.5 + 1 / 32
    assert error.max() <= 1.04  # the largest one of a channel lies at the end of the last step
    assert saturated.double().mean() < 0.01
