import random

import pytest
import torch

from golden.datapath import integer
from hdl.softmax.exponential import Exponent, Exponential
from hdl.spec import numerics as N
from hdl.spec.config import PRESETS, Config
from tests.bench.harness import Simulation

WIDE = Config(operand_width=16, topk_parallelism=8)  # score_width 39: three partial products


def run_pipeline(dut, items, outputs, *, stall=0.0, seed=0):
    """Items (dicts of port values) through a pipeline with ``en``; returns lists of outputs, LATENCY cycles later."""
    rng = random.Random(seed)
    results = []

    async def bench(ctx):
        for step in range(len(items) + dut.LATENCY):
            while rng.random() < stall:
                ctx.set(dut.en, 0)
                for name, value in rng.choice(items).items():  # what comes without ``en`` is not taken
                    ctx.set(getattr(dut, name), value)
                await ctx.tick()
                assert not results or [ctx.get(getattr(dut, name)) for name in outputs] == results[-1]
            for name, value in items[min(step, len(items) - 1)].items():
                ctx.set(getattr(dut, name), value)
            ctx.set(dut.en, 1)
            await ctx.tick()
            results.append([ctx.get(getattr(dut, name)) for name in outputs])

    sim = Simulation(dut)
    sim.add_clock(1e-6)
    sim.add_testbench(bench)
    sim.run()
    # The result of an item stands behind the registers after the LATENCY-th enabled edge that saw or followed it.
    return results[dut.LATENCY - 1 : dut.LATENCY - 1 + len(items)]


def differences(config, rng, count):
    """(maximum, score, scale, shift) of every magnitude, with the corners."""
    low, high = -(1 << config.score_width - 1), (1 << config.score_width - 1) - 1
    items = [(high, low, 65535, shift) for shift in range(1, 64)]
    items += [(high, low, 1, 1), (low, low, 65535, 1), (high, high, 65535, 1), (5, 4, 0, 1), (5, 4, 1, 1), (7, 4, 1, 1)]
    items += [(0, -1, 1 << 15, 16), (0, -1, (1 << 15) - 1, 16), (0, -(2**17), 1 << 15, 15), (0, -(2**17) + 1, 2, 1)]
    for _ in range(count):
        maximum = rng.randint(low, high) >> rng.randrange(config.score_width)
        diff = rng.randint(0, maximum - low) >> rng.randrange(config.score_width)
        items.append((maximum, maximum - diff, rng.getrandbits(16) >> rng.randrange(16), rng.randint(1, 63)))
    return items


@pytest.mark.parametrize("config", [PRESETS["tiny"], PRESETS["paper"], WIDE], ids=["tiny", "paper", "wide"])
@pytest.mark.parametrize("stall", [0, 0.3])
def test_exponent(config, stall):
    items = differences(config, random.Random(1), 600)
    names = ("maximum", "score", "scale", "shift")
    inputs = [dict(zip(names, item, strict=True), keep=1) for item in items]
    got = run_pipeline(Exponent(config), inputs, ["x"], stall=stall)
    maximum, score, scale, shift = (torch.tensor(column) for column in zip(*items, strict=True))
    assert [x for (x,) in got] == integer.exponent(score, maximum, scale, shift).tolist()


def test_lane_without_keep_saturates():
    item = {"maximum": 3, "score": 3, "scale": 100, "shift": 1, "keep": 0}
    assert run_pipeline(Exponent(PRESETS["tiny"]), [item], ["x"]) == [[2**N.X_WIDTH - 1]]


@pytest.mark.parametrize("stall", [0, 0.3])
def test_exponential(stall):
    rng = random.Random(2)
    items = [0, 1, 2**N.X_WIDTH - 1, 63, 64, 65, 4095, 4096, 4097]
    items += [whole << N.X_FRAC | fraction for whole in range(32) for fraction in (0, 31, 32, 4032, 4095)]
    items += [rng.getrandbits(N.X_WIDTH - rng.randrange(5)) for _ in range(2000)]
    got = run_pipeline(Exponential(PRESETS["tiny"]), [{"x": x} for x in items], ["e"], stall=stall)
    assert [e for (e,) in got] == integer.exp2_neg(torch.tensor(items)).tolist()


def test_saturated_exponent_gives_zero():
    assert integer.exp2_neg(torch.tensor([0, 2**N.X_WIDTH - 1])).tolist() == [65536, 0]
