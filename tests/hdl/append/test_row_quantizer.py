"""RowQuantizer: every element equal to the golden twin, in both formats."""

import random

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from golden.datapath.append import AppendConstants, appended
from hdl.append.row_quantizer import RowQuantizer
from hdl.spec.config import PRESETS, Config
from hdl.spec.presets import PRESET_VALUES
from tests.bench.examples import examples
from tests.bench.harness import check_stream_reset, made, run_streams

WIDE = Config(**PRESET_VALUES["tiny"] | {"name": "wide", "operand_width": 16})
WIDTHS = (4, 6, 8, 10, 12, 14, 16)
CORNERS = [0, 1, 0x7F, 0x80, 0x3FF, 0x400, 0x7BFF, 0x7C00, 0x7C01, 0x7E00, 0x7F7F, 0x7F80, 0x7F81, 0x7FFF]


def element(word, mantissa, shift, offset, bits, tensor=0):
    constant = {"mantissa": mantissa, "shift": shift, "offset": offset & 0xFFFF}
    return {"word": word, "constant": constant, "bits": bits, "tensor": tensor}


def golden(item, half):
    """What comes out for an element."""
    constant = item["constant"]
    offset = constant["offset"] - (constant["offset"] >> 15 << 16)
    parts = AppendConstants(
        mantissa=torch.tensor([constant["mantissa"]]),
        shift=torch.tensor([constant["shift"]]),
        offset=torch.tensor([offset]),
    )
    integer, saturated = appended(torch.tensor([[item["word"]]]), parts, item["bits"], half=half)
    low = int(integer) & (1 << item["bits"]) - 1
    return {"integer": low, "saturated": int(saturated), "bits": item["bits"], "tensor": item["tensor"]}


def scene(half, count, seed=0, widths=WIDTHS):
    """Random words with constants that make their values something between nothing and too much."""
    rng, items = random.Random(seed), []
    for _ in range(count):
        word = rng.choice([rng.getrandbits(16), rng.choice(CORNERS) | rng.getrandbits(1) << 15])
        exponent = (word >> 10 & 31) + 112 if half else word >> 7 & 255
        near = exponent - 127 + 15 + 10  # makes values of about 1
        shift = min(63, max(0, near + rng.randint(-17, 7)))
        shift = shift if rng.random() < 0.9 else rng.randrange(64)
        mantissa = rng.choice([0, 1023, rng.randrange(1024), 1 << rng.randrange(10)])
        offset = rng.choice([0, 8, -8, rng.randint(-32768, 32767), rng.randint(-64, 64)])
        items.append(element(word, mantissa, shift, offset, rng.choice(widths), rng.randrange(3)))
    return items, [golden(item, half) for item in items]


@pytest.mark.parametrize("half", [False, True])
@pytest.mark.parametrize("stall", [0, 0.4])
def test_equal_to_golden(half, stall):
    items, want = scene(half, 2500, seed=half)
    got, last = run_streams(
        made(RowQuantizer, WIDE), {"i": items}, {"o": len(want)}, stall=stall, setup={"half": int(half)}
    )
    assert got["o"] == want
    assert stall or last == len(want) - 1 + RowQuantizer.LATENCY
    assert 0.1 < sum(item["saturated"] for item in want) / len(want) < 0.9


def test_narrow_operands():
    config = PRESETS["ulx3s"]
    items, want = scene(False, 1500, seed=7, widths=(4, 6, 8, 10))
    assert run_streams(made(RowQuantizer, config), {"i": items}, {"o": len(want)})[0]["o"] == want


@examples(15)
@given(
    st.booleans(),
    st.lists(
        st.builds(
            element,
            st.integers(0, 0xFFFF),
            st.integers(0, 1023),
            st.integers(0, 63),
            st.integers(-32768, 32767),
            st.sampled_from(WIDTHS),
        ),
        min_size=1,
        max_size=60,
    ),
)
def test_any_bits(half, items):
    want = [golden(item, half) for item in items]
    got = run_streams(made(RowQuantizer, WIDE), {"i": items}, {"o": len(want)}, setup={"half": int(half)})[0]
    assert got["o"] == want


@pytest.mark.parametrize("half", [False, True])
def test_halves_and_ends(half):
    """Steps of 1: halves go to the even number, and the ends of the range are one more than what fits."""
    numbers = [k / 2 for k in range(-18, 19)] + [7.4375, 7.5, -8.5, -8.5625, 0.0, -0.0, 0.49, -0.51]
    kind = torch.float16 if half else torch.bfloat16
    words = [int(bits) & 0xFFFF for bits in torch.tensor(numbers).to(kind).view(torch.int16)]
    items = [element(word, 0, 25, offset, 4) for word in words for offset in (0, 8, -8, 1, -1)]
    want = [golden(item, half) for item in items]
    got = run_streams(made(RowQuantizer, WIDE), {"i": items}, {"o": len(want)}, setup={"half": int(half)})[0]
    assert got["o"] == want
    plain = [item for item, word in zip(want[::5], words, strict=True) if word == words[numbers.index(2.5)]]
    assert plain[0]["integer"] == 2 and not plain[0]["saturated"]


def test_reset():
    items, want = scene(False, 40, seed=3)
    check_stream_reset(lambda: RowQuantizer(WIDE), {"i": items}, {"o": len(want)})
