import itertools
import random

import pytest

from fpga.memory.refresh_timer import RefreshTimer
from tests.bench.harness import check_reset, made, simulate


async def seen(ctx, dut, cycles, refresh, events):
    """(powered, due) of each cycle; a REFRESH is given in those of ``refresh``."""
    for cycle in range(cycles):
        ctx.set(dut.refresh, cycle in refresh)
        _, _, powered, due = await ctx.tick().sample(dut.powered, dut.due)
        events.append((powered, due))
    ctx.set(dut.refresh, 0)


def expected(cycles, refresh, power_up, interval):
    """A REFRESH counts from its cycle on; what is due stays due until one is given."""
    events, due, since = [], 0, 0
    for cycle in range(cycles):
        events.append((int(cycle >= power_up), due))
        due = int((due or since == interval - 1) and cycle not in refresh)
        since = 0 if cycle - 1 in refresh else since + 1
    return events


@pytest.mark.parametrize(("power_up", "interval"), [(16, 8), (8, 16), (4, 32)])
def test_times(power_up, interval):
    """Each REFRESH comes some cycles after it is due; never is one as late as an interval."""
    refresh, cycle, rng = set(), 0, random.Random(interval)
    while cycle < 200:
        cycle += interval + rng.randint(1, interval // 2)
        refresh.add(cycle)
    events = []
    dut = made(RefreshTimer, power_up=power_up, interval=interval)
    simulate(dut, lambda ctx: seen(ctx, dut, 200, refresh, events), cycles=210)
    assert events == expected(200, refresh, power_up, interval)
    assert 200 // (2 * interval) < sum(now and not before for (_, before), (_, now) in itertools.pairwise(events))


def test_reset():
    def prepare(dut):
        events = []
        return lambda ctx: seen(ctx, dut, 60, {20, 31, 50}, events), [], events

    check_reset(lambda: RefreshTimer(power_up=16, interval=8), prepare, cycles=70)
