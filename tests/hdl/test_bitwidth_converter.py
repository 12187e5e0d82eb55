import random

import pytest
from amaranth.hdl import Value
from amaranth.sim import Simulator
from hypothesis import given, settings
from hypothesis import strategies as st

from hdl.bitwidth_converter import BitwidthConverter
from hdl.config import PRESETS, Config
from sim.packing import pack, unpack

TINY = PRESETS["tiny"]
NARROW = Config(num_multipliers=16, lanes=2, operand_width=16, max_dim=16, dims=(16,), max_tokens=16, norm_lanes=4)


def convert(config, items):
    """Feed (elements, width, signed, shift, granules) in every cycle but some; returns the words."""
    dut = BitwidthConverter(config, tag=8)
    results = []
    sim = Simulator(dut)
    sim.add_clock(1e-6)

    async def drive(ctx):
        for i, (elements, width, is_signed, shift, granules) in enumerate(items):
            raw = sum((value & ((1 << width) - 1)) << (e * width) for e, value in enumerate(elements))
            fields = {"width": width, "signed": is_signed, "shift": shift, "granules": granules, "tag": i}
            word = pack(dut.i_shape, {"raw": raw, **fields})
            ctx.set(Value.cast(dut.i.payload), word)
            ctx.set(dut.i.valid, 1)
            await ctx.tick()
            ctx.set(dut.i.valid, 0)
            if i % 3 == 2:
                await ctx.tick()
        await ctx.tick().repeat(dut.LATENCY)

    async def collect(ctx):
        async for _, _, valid, word in ctx.tick().sample(dut.o.valid, Value.cast(dut.o.payload)):
            if valid:
                item = unpack(dut.o_shape, word)
                assert item["tag"] == len(results)
                results.append(item["words"])

    sim.add_testbench(drive)
    sim.add_testbench(collect, background=True)
    sim.run()
    return results


def expected(config, elements, width, is_signed, shift, granules):
    size, limit = config.operand_width, granules * min(16, config.lane_width)
    words = []
    for e, value in enumerate(elements):
        value &= (1 << width) - 1
        value -= (1 << width) * (is_signed and value >> (width - 1))
        value = (value << shift) & ((1 << size) - 1) if e < limit else 0
        words.append(value - (1 << size) if value >> (size - 1) else value)
    return words + [0] * (config.lane_width - len(words))


@pytest.mark.parametrize("config", [TINY, PRESETS["ulx3s"], NARROW], ids=["tiny", "ulx3s", "narrow"])
def test_all_widths_and_shifts(config):
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
    assert convert(config, items) == [expected(config, *item) for item in items]


@settings(deadline=None, max_examples=5, derandomize=True)
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
    assert convert(TINY, items) == [expected(TINY, *item) for item in items]
