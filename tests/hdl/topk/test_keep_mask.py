import random

import pytest

from hdl.topk.keep_mask import KeepMask
from tests.bench.harness import Simulation, made


def reference(greater, equal, ties, lanes):
    keep, used = greater, 0
    for lane in range(lanes):
        if equal >> lane & 1 and used < ties:
            keep |= 1 << lane
            used += 1
    return keep, used


@pytest.mark.parametrize("lanes", [1, 2, 3, 8, 16])
@pytest.mark.parametrize("count_width", [1, 3, 11])
def test_keeps_the_earliest_ties(lanes, count_width):
    dut = made(KeepMask, lanes=lanes, count_width=count_width)
    rng = random.Random(lanes)
    limit = (1 << count_width) - 1

    async def bench(ctx):
        for _ in range(100):
            equal = rng.getrandbits(lanes) if rng.random() < 0.8 else (1 << lanes) - 1
            greater = rng.getrandbits(lanes) & ~equal
            ties = rng.choice([0, limit, rng.randint(0, min(limit, lanes)), rng.randint(0, limit)])
            ctx.set(dut.greater, greater)
            ctx.set(dut.equal, equal)
            ctx.set(dut.ties, ties)
            await ctx.delay(1e-9)
            assert (ctx.get(dut.keep), ctx.get(dut.used)) == reference(greater, equal, ties, lanes)

    sim = Simulation(dut)
    sim.add_testbench(bench)
    sim.run()


def test_constructor_errors():
    with pytest.raises(ValueError, match="lanes must be a positive integer, not 0"):
        KeepMask(lanes=0, count_width=4)
    with pytest.raises(ValueError, match="count_width must be a positive integer, not 0"):
        KeepMask(lanes=4, count_width=0)
