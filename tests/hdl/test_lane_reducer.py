import random

import pytest
from amaranth.sim import Simulator

from hdl.config import PRESETS, Config
from hdl.lane_reducer import LaneReducer


def make(lanes, width, dims, **kwargs):
    defaults = {"max_tokens": 32, "buffer_dim": 32, "norm_lanes": 4, "topk_parallelism": 8, "line_queue": 1028}
    return Config(num_multipliers=lanes * width, lanes=lanes, max_dim=64, dims=dims, **{**defaults, **kwargs})


CONFIGS = {
    "all folds optional": make(8, 8, (16, 32, 64)),
    "one fold always": make(4, 32, (16, 48, 64)),
    "no fold": make(2, 8, (32, 64)),
    "plain tree": make(16, 16, (16,), topk_parallelism=16),
    "one lane": make(1, 16, (16, 64)),
    "wider than a row": make(2, 128, (16,), operand_width=8),
    "tiny": PRESETS["tiny"],
}


def check(config, beats):
    """Send (log_slices, mask_a, mask_b, products) or None for a bubble; compare with sums in Python."""
    dut = LaneReducer(config)
    expected = [None] * dut.latency + list(beats)
    width = min(2, dut.width)

    async def bench(ctx):
        for sent, out in zip([*beats, *[None] * dut.latency], expected, strict=True):
            log_slices, mask_a, mask_b, products = sent or (0, 0, 0, [])
            ctx.set(dut.valid, sent is not None)
            ctx.set(dut.log_slices, log_slices)
            ctx.set(dut.mask_a, mask_a)
            ctx.set(dut.mask_b, mask_b)
            for b, lane in enumerate(products):
                for e, product in enumerate(lane):
                    ctx.set(dut.products[b][dut.width - 1 - e], product)
            compare(ctx, out)
            await ctx.tick()

    def compare(ctx, beat):
        if beat is None:
            return
        log_slices, mask_a, mask_b, products = beat
        count = min(config.lanes, 1 << log_slices)
        for mask, out in ((mask_a, dut.a), (mask_b, dut.b))[: 2 if mask_b else 1]:
            for s in range(count):
                for e in range(width):
                    want = sum(products[b][e] for b in range(s, config.lanes, count) if mask >> b & 1)
                    assert ctx.get(out[s][dut.width - 1 - e]) == want

    sim = Simulator(dut)
    sim.add_clock(1e-6)
    sim.add_testbench(bench)
    sim.run()


def random_beats(config, count, rng, bubbles):
    limit = 1 << (config.operand_width + 16)
    for _ in range(count):
        if rng.random() < bubbles:
            yield None
            continue
        log_slices = config.log_slices(rng.choice(config.dims))
        mask_a = rng.getrandbits(config.lanes)
        mask_b = ~mask_a & rng.getrandbits(config.lanes) if config.lanes >> log_slices > 1 else 0
        products = [
            [rng.choice([-limit, limit - 1, rng.randrange(-limit, limit)]) for _ in range(2)]
            for _ in range(config.lanes)
        ]
        yield log_slices, mask_a, mask_b, products


@pytest.mark.parametrize("name", CONFIGS)
@pytest.mark.parametrize("bubbles", [0, 0.3, 0.6])
def test_sums(name, bubbles):
    config = CONFIGS[name]
    check(config, list(random_beats(config, 25, random.Random(name), bubbles)))


def test_extremes():
    config = CONFIGS["plain tree"]
    low, high = -(1 << 28), (1 << 28) - 1
    full = (1 << config.lanes) - 1
    check(
        config,
        [(0, mask, full ^ mask, [[x, x]] * config.lanes) for x in (low, high) for mask in (full, 1, 0xFF)],
    )


@pytest.mark.parametrize(
    "name, halves, latency",
    [
        ("all folds optional", [4, 2], 1),
        ("one fold always", [2, 1], 1),
        ("no fold", [], 1),
        ("plain tree", [8, 4, 2, 1], 2),
    ],
)
def test_only_needed_folds_are_built(name, halves, latency):
    dut = LaneReducer(CONFIGS[name])
    assert (dut.halves, dut.latency) == (halves, latency)
