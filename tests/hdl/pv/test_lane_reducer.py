import random

import pytest

from hdl.pv.lane_reducer import LaneReducer
from hdl.spec.config import PRESETS, Config
from tests.bench.harness import Simulation, made


def make(lanes, width, norm_lanes, **kwargs):
    defaults = {"max_tokens": 32, "buffer_dim": 32, "topk_parallelism": 16, "line_queue": 1028, "max_dim": 64}
    return Config(
        num_multipliers=lanes * width, lanes=lanes, dims=(16, 64), norm_lanes=norm_lanes, **{**defaults, **kwargs}
    )


CONFIGS = {
    "a part of a slice": make(8, 16, 4),
    "a slice": make(4, 16, 16),
    "two slices": make(4, 8, 16),
    "more than a granule": make(2, 64, 32),
    "16 lanes": make(16, 8, 8),
    "one lane": make(1, 16, 2),
    "one lane, two granules": make(1, 64, 32),
    "tiny": PRESETS["tiny"],
}


def check(config, beats):
    """Send (gates, terms) or None for a bubble; compare with sums in Python."""
    dut = made(LaneReducer, config)
    expected = [None] * dut.latency + list(beats)

    async def bench(ctx):
        for sent, out in zip([*beats, *[None] * dut.latency], expected, strict=True):
            gates, terms = sent or ([0] * dut.num_groups, [[0] * dut.width] * config.lanes)
            ctx.set(dut.valid, sent is not None)
            for port, gate in zip(dut.gates, gates, strict=True):
                ctx.set(port, gate)
            for ports, lane in zip(dut.terms, terms, strict=True):
                for port, term in zip(ports, lane, strict=True):
                    ctx.set(port, term)
            await ctx.delay(1e-7)
            compare(ctx, out)
            await (ctx.tick() if dut.latency else ctx.delay(1e-7))

    def compare(ctx, beat):
        if beat is None:
            return
        gates, terms = beat
        for j, out in enumerate(dut.o):
            lanes = [lane[j % dut.width] for b, lane in enumerate(terms) if gates[j // dut.group] >> b & 1]
            assert ctx.get(out) == sum(lanes)

    sim = Simulation(dut)
    sim.add_clock(1e-6, if_exists=True)
    sim.add_testbench(bench)
    sim.run()


def random_beats(config, count, rng, bubbles):
    dut = made(LaneReducer, config)
    limit = (1 << config.acc_width - 1) // config.lanes
    for _ in range(count):
        if rng.random() < bubbles:
            yield None
            continue
        # Where nothing is ever left out, the gates are not looked at.
        gates = [rng.getrandbits(config.lanes) if dut.gated else -1 for _ in range(dut.num_groups)]
        terms = [
            [rng.choice([-limit, limit - 1, rng.randrange(-limit, limit)]) for _ in range(dut.width)]
            for _ in range(config.lanes)
        ]
        yield [gate & (1 << config.lanes) - 1 for gate in gates], terms


@pytest.mark.parametrize("name", CONFIGS)
@pytest.mark.parametrize("bubbles", [0, 0.3, 0.6])
def test_sums(name, bubbles):
    config = CONFIGS[name]
    check(config, list(random_beats(config, 25, random.Random(name), bubbles)))


@pytest.mark.parametrize(
    "name, latency, groups",
    [("a part of a slice", 2, 1), ("two slices", 1, 2), ("16 lanes", 2, 1), ("one lane", 0, 1),
     ("one lane, two granules", 1, 2), ("tiny", 1, 1)],
)  # fmt: skip
def test_latency_and_groups(name, latency, groups):
    dut = made(LaneReducer, CONFIGS[name])
    assert (dut.latency, dut.num_groups) == (latency, groups)
