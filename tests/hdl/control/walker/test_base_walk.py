import random

import pytest

from hdl.control.walker.base_walk import BaseWalk
from hdl.spec.config import PRESETS
from hdl.spec.planes import PLANES
from tests.bench.harness import check_reset, made, simulate
from tests.bench.requests import CONFIG, GOOD

CONFIGS = [CONFIG, PRESETS["ulx3s-d32"]]


def random_layers(config, number, seed):
    """(layer, K/V heads to visit), some of which wrap."""
    rng = random.Random(seed)
    layers = []
    for _ in range(number):
        big = rng.random() < 0.5
        most = (1 << config.address_width) - 1
        layer = {f"{name}_stride": rng.randrange(most // 4 if big else 50) for name in PLANES}
        job = {**GOOD, "skew": rng.randrange(config.num_channels), "key_lsb_bits": rng.choice((0, 4))}
        job |= {f"{name}_base": rng.randrange(most if big else 1000) for name in PLANES}
        heads = sorted(rng.sample(range(12), rng.randint(1, 4)))
        layers.append(({"job": job, **layer}, heads))
    return layers


def expected(config, layer, head):
    job = layer["job"]
    places = {name: job[f"{name}_base"] + head * layer[f"{name}_stride"] for name in PLANES}
    end = 1 << config.address_width
    counted = [name for name in PLANES if name != "key_lsb" or job["key_lsb_bits"]]
    wrapped = int(any(places[name] >= end for name in counted))
    return {name: place % end for name, place in places.items()}, (job["skew"] + head) % config.num_channels, wrapped


def use(layers):
    """(bases, skew, wrapped) at every K/V head, and the cycles to it."""

    def prepare(dut):
        seen = []

        async def bench(ctx):
            for layer, heads in layers:
                ctx.set(dut.layer, layer)
                ctx.set(dut.load, 1)
                ctx.set(dut.kv_head, 0)
                await ctx.tick()
                ctx.set(dut.load, 0)
                # The descriptor may change once it has been taken.
                ctx.set(dut.layer, {"job": GOOD, "key_stride": 1})
                for head in heads:
                    ctx.set(dut.kv_head, head)
                    cycles = 0
                    while not ctx.get(dut.arrived):
                        await ctx.tick()
                        cycles += 1
                    bases = {name: ctx.get(dut.bases[name]) for name in PLANES}
                    seen.append((bases, ctx.get(dut.skew), ctx.get(dut.wrapped), cycles))

        return bench, [], seen

    return prepare


@pytest.mark.parametrize("config", CONFIGS, ids=lambda config: config.name)
def test_random_layers(config):
    layers = random_layers(config, 60, 1)
    dut = made(BaseWalk, config)
    bench, _, seen = use(layers)(dut)
    simulate(dut, bench, cycles=60 * 14)
    want = []
    for layer, heads in layers:
        for before, head in zip([0, *heads], heads, strict=False):
            want.append((*expected(config, layer, head), head - before))
    assert seen == want
    assert {wrapped for _, _, wrapped, _ in want} == {0, 1}


def test_reset_in_mid_stream():
    check_reset(lambda: BaseWalk(CONFIG), use(random_layers(CONFIG, 6, 2)), cycles=200)
