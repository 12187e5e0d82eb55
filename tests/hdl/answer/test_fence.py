"""Fence: whether all that had entered a way has left it, however much follows."""

import random

import pytest

from hdl.answer.fence import Fence
from tests.bench.harness import check_reset, made, simulate


class Use:
    """Random traffic with at most ``most`` on the way, and snaps; ``seen``: ``gone`` in every cycle after the first."""

    def __init__(self, dut, *, most, seed=0, length=1500, snaps=0.02):
        self.dut, self.most, self.length, self.snaps = dut, most, length, snaps
        self.rng, self.seen, self.want = random.Random(f"{seed} fence"), [], []

    async def bench(self, ctx):
        dut, entered, left, ticket = self.dut, 0, 0, None
        for cycle in range(self.length):
            enters = int(entered - left < self.most and self.rng.random() < 0.5)
            leaves = int(entered > left and self.rng.random() < 0.5)
            snap = int(cycle == 3 or self.rng.random() < self.snaps)
            for name, value in (("enters", enters), ("leaves", leaves), ("snap", snap)):
                ctx.set(getattr(dut, name), value)
            _, _, gone = await ctx.tick().sample(dut.gone)
            if ticket is not None:
                self.seen.append(gone)
                self.want.append(int(left >= ticket))
            entered, left = entered + enters, left + leaves
            ticket = entered if snap else ticket


@pytest.mark.parametrize("width, most, snaps", [(4, 7, 0.1), (4, 7, 0.002), (8, 20, 0.05), (3, 1, 0.01)])
def test_gone(width, most, snaps):
    use = Use(made(Fence, width), most=most, seed=width, snaps=snaps)
    simulate(use.dut, use.bench, cycles=2000)
    assert use.seen == use.want and (snaps < 0.01 or set(use.seen) == {0, 1})


def test_reset():
    def prepare(dut):
        use = Use(dut, most=5, length=200)
        return use.bench, [], use.seen

    check_reset(Fence, prepare, cycles=300)
