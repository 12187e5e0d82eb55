"""Coalescer: an interrupt after so many completions, or so long after the first of them."""

import random

import pytest

from hdl.answer.interrupts import Coalescer
from tests.bench.harness import check_reset, made, simulate


class Use:
    """Random completions; ``events``: cycles of interrupts. ``want`` is the rule, cycle by cycle."""

    def __init__(self, dut, count, cycles, *, seed=0, chance=0.2, urgent=0.05):
        self.dut, self.count, self.cycles, self.rng = dut, count, cycles, random.Random(f"{seed} coalescer")
        self.chance, self.urgent = chance, urgent
        self.events, self.want = [], []

    async def bench(self, ctx):
        dut, waiting, first, enabled = self.dut, 0, 0, 1
        ctx.set(dut.count, self.count)
        ctx.set(dut.cycles, self.cycles)
        for cycle in range(400):
            published = int(self.rng.random() < self.chance)
            urgent = int(self.rng.random() < self.urgent)
            enabled = enabled ^ (self.rng.random() < 0.02)
            for name, value in (("published", published), ("urgent", urgent), ("enable", enabled)):
                ctx.set(getattr(dut, name), value)
            _, _, event = await ctx.tick().sample(dut.event)
            self.events += [cycle] * event
            old = waiting and self.cycles and cycle - first >= self.cycles
            due = (published and (urgent or waiting + 1 >= self.count)) or old
            if published and not waiting:
                first = cycle
            waiting = 0 if due or not enabled else waiting + published
            self.want += [cycle + 1] * bool(due and enabled)


@pytest.mark.parametrize("count, cycles", [(0, 0), (1, 0), (3, 0), (3, 20), (255, 7), (2, 1), (255, 0)])
def test_rule(count, cycles):
    use = Use(made(Coalescer), count, cycles, seed=count)
    simulate(use.dut, use.bench, cycles=500)
    assert use.events == [cycle for cycle in use.want if cycle < 400]
    assert use.events or count == 255


def test_reset():
    def prepare(dut):
        use = Use(dut, 3, 20, seed=4)
        return use.bench, [], use.events

    check_reset(Coalescer, prepare, cycles=500)
