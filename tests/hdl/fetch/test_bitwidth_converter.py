import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hdl.fetch.bitwidth_converter import BitwidthConverter
from hdl.spec.config import PRESETS, Config
from tests.bench.examples import examples
from tests.bench.harness import made, run_streams

TINY = PRESETS["tiny"]
NARROW = Config(num_multipliers=16, lanes=2, operand_width=16, max_dim=16, dims=(16,), max_tokens=16, norm_lanes=4)


def convert(config, items, stall=0):
    """Convert (elements, width, signed, shift, granules); returns the words, and the cycle of the last one."""
    slices = []
    for i, (elements, width, is_signed, shift, granules) in enumerate(items):
        raw = sum((value & ((1 << width) - 1)) << (e * width) for e, value in enumerate(elements))
        fields = {
            "width": 1 << config.plane_widths.index(width),
            "signed": is_signed,
            "shift": shift,
            "granules": granules,
            "tag": i % 256,
        }
        slices.append({"raw": raw, **fields})
    results, cycles = run_streams(made(BitwidthConverter, config, tag=8), {"i": slices}, {"o": len(items)}, stall=stall)
    assert [item["tag"] for item in results["o"]] == [i % 256 for i in range(len(items))]
    return [item["words"] for item in results["o"]], cycles


def expected(config, elements, width, is_signed, shift, granules):
    size, limit = config.operand_width, granules * min(16, config.lane_width)
    words = []
    for e, value in enumerate(elements):
        value &= (1 << width) - 1
        value -= (1 << width) * (is_signed and value >> (width - 1))
        value = (value << shift) & ((1 << size) - 1) if e < limit else 0
        words.append(value - (1 << size) if value >> (size - 1) else value)
    return words


@pytest.mark.parametrize(
    ("config", "stall"),
    [(TINY, 0.3), (TINY, 0.6), (PRESETS["ulx3s"], 0), (NARROW, 0)],
    ids=["tiny", "tiny_slow", "ulx3s", "narrow"],
)
def test_all_widths_and_shifts(config, stall):
    rng = random.Random(1)
    size = min(config.lane_width, config.max_dim)
    items = []
    for width in config.plane_widths:
        for shift in range(0, config.operand_width - width + 1, 2):
            for is_signed in (0, 1):
                granules = rng.randint(1, max(1, size // 16))
                for corner in (0, (1 << width) - 1, 1 << (width - 1), None):
                    values = [rng.getrandbits(width) if corner is None else corner for _ in range(size)]
                    items.append((values, width, is_signed, shift, granules))
    words, cycles = convert(config, items, stall)
    assert words == [expected(config, *item) for item in items]
    assert stall or cycles <= len(items) + BitwidthConverter.LATENCY


@examples(5)
@given(st.data())
def test_any_slices(data):
    item = st.tuples(
        st.lists(st.integers(0, 15), min_size=16, max_size=16),
        st.sampled_from(TINY.plane_widths),
        st.integers(0, 1),
        st.sampled_from(range(0, 12, 2)),
        st.just(1),
    )
    items = data.draw(st.lists(item, min_size=1, max_size=10))
    assert convert(TINY, items)[0] == [expected(TINY, *item) for item in items]
