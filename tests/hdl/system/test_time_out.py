"""TimeOut: a tick in every period, and none without one."""

import pytest

from hdl.system.time_out import TimeOut
from tests.bench.harness import check_reset, made, simulate


def use(dut, periods, length=60):
    found = []

    async def bench(ctx):
        for period in periods:
            ctx.set(dut.cycles, period)
            ticks = []
            for cycle in range(length):
                _, _, tick = await ctx.tick().sample(dut.tick)
                ticks += [cycle] * tick
            found.append(ticks)

    return bench, [], found


@pytest.mark.parametrize("period", [1, 2, 7, 50])
def test_period(period):
    bench, _, found = use(made(TimeOut), [period])
    simulate(made(TimeOut), bench, cycles=100)
    assert found[0] == list(range(period, 60, period))


def test_without_a_period_and_with_another_one():
    bench, _, found = use(made(TimeOut), [0, 9, 0, 1000, 5])
    simulate(made(TimeOut), bench, cycles=400)
    assert found[0] == found[3] == [] and found[2] in ([], [0])
    assert found[1] == list(range(9, 60, 9)) and all(b - a == 5 for a, b in zip(found[4], found[4][1:], strict=False))
    assert found[4][0] == 1, "a period that is over already ends at once"


def test_reset():
    check_reset(TimeOut, lambda dut: use(dut, [7]), cycles=100)
