"""Recovery: what becomes of a fault, of a soft reset, and of a bus that never gives what it owes."""

import itertools

import pytest

from hdl.axi.axi4 import BusFault
from hdl.spec.formats import Code
from hdl.system.recovery import DRAIN_FAILED, Recovery
from tests.bench.harness import check_reset, made, simulate

READS, WRITE = 3, 3
"""Managers that read; the number of the one that writes."""


class Managers:
    """Managers that behave as docs/axi.md says: a stop lasts until they are idle, and its end clears the fault."""

    def __init__(self, dut):
        self.dut, self.codes, self.stopping = dut, [0] * (READS + 1), [False] * (READS + 1)
        self.owed = [0] * (READS + 1)  # cycles until the bus has given all
        self.stops, self.events, self.seen = [], [], []
        self.cycle = 0

    async def serve(self, ctx):
        dut = self.dut
        edge = ctx.tick().sample(dut.stop, dut.event.valid, dut.event.code, dut.halt, dut.drained)
        while True:
            for index in range(READS + 1):
                state = {"code": self.codes[index], "address": 0x100 * index, "idle": self.owed[index] == 0, "hung": 0}
                if self.owed[index] > 900 and (self.stopping[index] or self.codes[index]):
                    state["hung"] = 1
                ctx.set(dut.manager[index], state)
            _, _, stop, told, code, halt, drained = await edge
            self.cycle += 1
            self.stops.append(stop)
            self.events += [code] * told
            self.seen += ["halt"] * halt + ["drained"] * drained
            for index in range(READS + 1):
                stopped, idle = stop >> index & 1, self.owed[index] == 0
                if self.stopping[index] and idle and not stopped:
                    self.codes[index] = 0
                self.stopping[index] = bool(stopped or (self.stopping[index] and not idle))
                if 0 < self.owed[index] <= 900:
                    self.owed[index] -= 1


def story(text):
    """A test of a coroutine (ctx, dut, managers)."""

    def test():
        dut = made(Recovery, managers=READS + 1)
        managers = Managers(dut)

        async def bench(ctx):
            await ctx.tick().repeat(10)
            managers.stops.clear()
            await text(ctx, dut, managers)

        simulate(dut, bench, managers.serve, cycles=500)

    test.__doc__ = text.__doc__
    return test


async def until(ctx, what):
    for _ in range(100):
        if what():
            return
        await ctx.tick()
    raise AssertionError("watchdog")


def stopped(managers):
    """The masks of stops that were seen, without repetitions."""
    return [mask for mask, _ in itertools.groupby(managers.stops) if mask]


ALL, ONLY_READS, ONLY_WRITE = (1 << READS + 1) - 1, (1 << READS) - 1, 1 << WRITE


@pytest.mark.parametrize(
    "fault, code",
    [(BusFault.RESPONSE, Code.READ_ERROR), (BusFault.LAST, Code.READ_ERROR), (BusFault.SURPLUS, Code.READ_ERROR),
     (BusFault.TIMEOUT, Code.TIMEOUT), (BusFault.WINDOW, Code.OUTSIDE)],
)  # fmt: skip
def test_a_fault_of_a_read(fault, code):
    async def text(ctx, dut, managers):
        ctx.set(dut.queue, 5)
        managers.codes[1], managers.owed[2] = int(fault), 5
        await until(ctx, lambda: managers.events)
        event = {name: ctx.get(dut.event[name]) for name in ("code", "channel", "write", "queue", "address")}
        assert event == {"code": code, "channel": 1, "write": 0, "queue": 5, "address": 0x100}
        await ctx.tick().repeat(30)
        assert managers.events == [code] and managers.seen == ["halt"]
        assert ctx.get(dut.code) == code and ctx.get(dut.drop) and not ctx.get(dut.hold) and not stopped(managers)
        ctx.set(dut.quiet, 1)
        await until(ctx, lambda: not ctx.get(dut.code))
        assert stopped(managers) == [ONLY_READS] and not ctx.get(dut.drop) and not any(managers.codes)

    story(text)()


@story
async def test_a_fault_while_others_drain(ctx, dut, managers):
    """What a bus does until all are idle is no fault, and nobody waits for it to go away."""
    managers.codes[0], managers.owed[2] = int(BusFault.RESPONSE), 20
    ctx.set(dut.quiet, 1)
    await until(ctx, lambda: ctx.get(dut.stop))
    managers.codes[1] = int(BusFault.SURPLUS)
    await until(ctx, lambda: not ctx.get(dut.code))
    assert managers.events == [Code.READ_ERROR] and not any(managers.codes)


@story
async def test_a_beat_in_the_cycle_after_a_drain(ctx, dut, managers):
    """A manager that was busy again has kept its fault: it is stopped once more."""
    managers.codes[0] = int(BusFault.RESPONSE)
    ctx.set(dut.quiet, 1)
    await until(ctx, lambda: ctx.get(dut.stop))
    managers.owed[0] = 1
    await ctx.tick()
    managers.owed[0] = 3
    await until(ctx, lambda: not ctx.get(dut.code))
    assert managers.events == [Code.READ_ERROR] and not any(managers.codes) and managers.seen == ["halt"]


@story
async def test_a_fault_of_a_write(ctx, dut, managers):
    """The write manager is stopped at once, again if it fails again; completions are held meanwhile."""
    managers.codes[WRITE], managers.owed[WRITE] = int(BusFault.RESPONSE), 8
    ctx.set(dut.manager[WRITE].code, managers.codes[WRITE])
    assert ctx.get(dut.hold), "from the cycle of the fault on"
    await until(ctx, lambda: managers.events)
    assert ctx.get(dut.event.write) and ctx.get(dut.event.channel) == WRITE
    while managers.codes[WRITE]:
        assert ctx.get(dut.hold)
        await ctx.tick()
    await until(ctx, lambda: not ctx.get(dut.hold))
    assert stopped(managers) == [ONLY_WRITE] and ctx.get(dut.code) == Code.WRITE_ERROR
    managers.codes[WRITE] = int(BusFault.RESPONSE)
    await until(ctx, lambda: ctx.get(dut.hold))
    await until(ctx, lambda: not ctx.get(dut.hold))
    assert managers.events == [Code.WRITE_ERROR]
    ctx.set(dut.quiet, 1)
    await until(ctx, lambda: not ctx.get(dut.code))
    assert stopped(managers)[-1] == ONLY_READS


@story
async def test_the_first_of_several(ctx, dut, managers):
    managers.codes[2] = managers.codes[WRITE] = int(BusFault.TIMEOUT)
    await until(ctx, lambda: managers.events)
    assert ctx.get(dut.event.channel) == 2 and not ctx.get(dut.event.write)


@pytest.mark.parametrize("moment", range(0, 16, 3))
def test_a_soft_reset_at_any_time(moment):
    """Also in the course of a fault, and of another reset."""

    async def text(ctx, dut, managers):
        managers.codes[0], managers.owed[1] = int(BusFault.RESPONSE), 25
        ctx.set(dut.quiet, moment % 2)
        await ctx.tick().repeat(moment + 1)
        for _ in range(2):
            ctx.set(dut.request, 1)
            await ctx.tick()
            ctx.set(dut.request, 0)
            await ctx.tick().repeat(2)
        await until(ctx, lambda: ctx.get(dut.reset))
        while ctx.get(dut.reset):
            assert ctx.get(dut.draining) or not stopped(managers) or managers.owed[1] == 0 or ctx.get(dut.stop) == 0
            await ctx.tick()
        assert managers.owed[1] == 0 and not any(managers.codes) and not ctx.get(dut.code)
        await ctx.tick().repeat(5)
        assert managers.seen.count("drained") == 1 and stopped(managers)[-1] == ALL and not ctx.get(dut.drop)

    story(text)()


@story
async def test_nothing_is_told_after_power_up(ctx, dut, managers):
    await ctx.tick().repeat(20)
    assert not managers.seen and not managers.events and not ctx.get(dut.reset)


@pytest.mark.parametrize("kind", ["read", "write", "reset"])
def test_a_bus_that_gives_nothing_any_more(kind):
    """Told once; when it gives it after all, the drain goes on."""

    async def text(ctx, dut, managers):
        ctx.set(dut.quiet, 1)
        index = WRITE if kind == "write" else 0
        managers.owed[index] = 1000
        if kind == "reset":
            ctx.set(dut.request, 1)
            await ctx.tick()
            ctx.set(dut.request, 0)
        else:
            managers.codes[index] = int(BusFault.TIMEOUT)
        await until(ctx, lambda: ctx.get(dut.drain_failed))
        await ctx.tick().repeat(40)
        assert managers.events == ([] if kind == "reset" else [Code.TIMEOUT]) + [DRAIN_FAILED]
        assert ctx.get(dut.drain_failed) and ctx.get(dut.draining) and managers.seen[-1] == "drained"
        managers.owed[index] = 4
        await until(ctx, lambda: not ctx.get(dut.draining))
        await ctx.tick().repeat(12)
        assert not ctx.get(dut.drain_failed) and not any(managers.codes) and not ctx.get(dut.reset)

    story(text)()


def test_reset():
    def prepare(dut):
        managers = Managers(dut)

        async def bench(ctx):
            await ctx.tick().repeat(10)
            managers.codes[0] = int(BusFault.RESPONSE)
            await ctx.tick().repeat(10)
            ctx.set(dut.quiet, 1)
            await ctx.tick().repeat(20)

        return bench, [managers.serve], managers.events

    check_reset(lambda: Recovery(managers=READS + 1), prepare, cycles=100)
