"""OutFormatter: every element equal to the golden twin, in every format and over the whole range of exponents."""

import random

import pytest
import torch

from golden.datapath.out_format import formatted
from hdl.result.out_formatter import OutFormatter
from hdl.spec.config import PRESETS
from hdl.spec.formats import OutFormat
from tests.bench.harness import check_stream_reset, made, run_streams


def scene(config, count, seed=0):
    """(groups, words): random elements, corners, and those halfway between two numbers of bf16."""
    rng, width, lanes = random.Random(seed), config.out_width, config.norm_lanes
    low, high = -(1 << width - 1), (1 << width - 1) - 1
    corners = [0, 1, -1, low, low + 1, high, high - 1, 0x100, 0x101, 0x180, 0x181, 0x17F, 0x1FF, 0x1FE, -0x180, -0x1FF]

    def value():
        kind = rng.random()
        if kind < 0.3:
            return rng.choice([corner for corner in corners if low <= corner <= high])
        if kind < 0.6:  # 8 or 9 bits and zeros, with or without a bit far below
            shift = rng.randrange(width - 9)
            return rng.choice([-1, 1]) * ((rng.getrandbits(9) << shift >> 1) | rng.randint(0, 1)) % (high + 1)
        return rng.randint(low, high)

    groups, words = [], []
    for _ in range(count):
        values = [value() for _ in range(lanes)]
        out_format = rng.choice(list(OutFormat))
        exponent = rng.choice([rng.randint(-128, 127), rng.randint(-20, 4), -127 - rng.randrange(2), 127])
        groups.append({"format": int(out_format), "exponent": exponent, "values": values})
        words.append({"words": formatted(torch.tensor(values), torch.tensor(exponent), out_format).tolist()})
    return groups, words


@pytest.mark.parametrize("preset", ["tiny", "ulx3s-d32", "ulx3s"])
@pytest.mark.parametrize("stall", [0, 0.4])
def test_equal_to_golden(preset, stall):
    config = PRESETS[preset]
    groups, words = scene(config, 1200 // config.norm_lanes, seed=len(preset))
    got, last = run_streams(made(OutFormatter, config), {"i": groups}, {"o": len(words)}, stall=stall)
    assert got["o"] == words
    assert stall or last == len(words) - 1 + OutFormatter.LATENCY


@pytest.mark.parametrize("out_format", [OutFormat.FP32, OutFormat.BF16])
def test_ends_of_the_range(out_format):
    """Values around the smallest and the largest normal number; 511 is rounded up to the next power of two in bf16."""
    config = PRESETS["tiny"]
    pairs = [
        (value, exponent) for value in (1, 2, 3, -3, 511, -511) for exponent in (-128, -127, -126, 118, 119, 126, 127)
    ]
    groups = [{"format": int(out_format), "exponent": exponent, "values": [value] * 4} for value, exponent in pairs]
    want = [{"words": formatted(torch.tensor([v] * 4), torch.tensor(e), out_format).tolist()} for v, e in pairs]
    assert run_streams(made(OutFormatter, config), {"i": groups}, {"o": len(want)})[0]["o"] == want


def test_golden_against_float():
    """The value itself: fp32 is exact, bf16 within half a unit of its last place."""
    out = torch.randint(-(1 << 19), 1 << 19, (2000,), generator=torch.Generator().manual_seed(1))
    exponent = torch.randint(-40, 40, (2000,), generator=torch.Generator().manual_seed(2))
    want = out.double() * torch.exp2(exponent.double())
    single = formatted(out, exponent, OutFormat.FP32).int().view(torch.float32).double()
    assert torch.equal(single, want)
    short = (formatted(out, exponent, OutFormat.BF16) << 16).int().view(torch.float32).double()
    assert ((short - want).abs() <= want.abs() * 2.0**-8).all()
    assert torch.equal(formatted(out, exponent, OutFormat.INT32), out & 0xFFFFFFFF)


def test_beyond_the_range():
    bits = formatted(torch.tensor([1, -1, 1, -1, 3]), torch.tensor([-127, -127, -126, 127, 127]), OutFormat.FP32)
    assert bits.tolist() == [0, 0x80000000, 0x00800000, 0xFF000000, 0x7F800000]


def test_reset():
    groups, words = scene(PRESETS["tiny"], 12)
    check_stream_reset(lambda: OutFormatter(PRESETS["tiny"]), {"i": groups}, {"o": len(words)})
