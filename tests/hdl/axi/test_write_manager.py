import random
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hdl.axi.axi4 import BusFault
from hdl.axi.burst_merger import BurstMerger
from hdl.axi.write_manager import TICKET_WIDTH, WriteManager
from tests.bench.axi_monitor import AxiMonitor
from tests.bench.axi_writes import ORDERS, WriteMemory
from tests.bench.examples import examples
from tests.bench.harness import made, simulate, wait

WATCHDOG = 3000
LATENCY = 4 + BurstMerger.PATIENCE


def manager(depth: int = 8, words: int = 32) -> WriteManager:
    return made(WriteManager, data_width=64, address_width=40, depth=depth, words=words)


def items(rng: random.Random, count: int, longest: int = 20, most: int = 1 << 16) -> list[tuple[int, int, int]]:
    """(word, data, strobes) of runs, some over pages, some words twice."""
    found: list[tuple[int, int, int]] = []
    while len(found) < count:
        first = rng.choice((rng.randrange(most), 512 * rng.randrange(1, 100) - 3))
        for word in range(first, first + rng.randint(1, longest)):
            found.append((word, rng.getrandbits(64), rng.choice((0xFF, 0xFF, rng.randrange(256)))))
    return found[:count]


def written(numbers: list[tuple[int, int, int]]) -> dict[int, int]:
    """Byte address -> byte."""
    return {
        8 * word + byte: data >> 8 * byte & 0xFF
        for word, data, strobes in numbers
        for byte in range(8)
        if strobes >> byte & 1
    }


class Bench:
    """One simulation of ``dut``."""

    def __init__(
        self, dut: Any, *, window=(0, 1 << 37), max_burst=16, max_outstanding=8, period=0, stall=0.0, seed=0, **memory
    ):
        self.dut, self.window, self.period, self.stall = dut, window, period, stall
        self.settings = {"max_burst": max_burst, "max_outstanding": max_outstanding, "cache": 0b0011}
        self.rng = random.Random(f"{seed} items")
        self.memory = WriteMemory(dut.bus, data_width=64, stall=stall, seed=seed, **memory)
        self.monitor = AxiMonitor(dut.bus, data_width=64, window=(8 * window[0], 8 * window[1]))
        self.cycle = 0

    async def _ticks(self, ctx):
        while True:
            await ctx.tick()
            self.cycle += 1
            ctx.set(self.dut.tick, self.period and self.cycle % self.period == 0)

    async def give(self, ctx, numbers):
        stream = self.dut.i
        for word, data, strobes in numbers:
            while self.stall and self.rng.random() < self.stall:
                await ctx.tick()
            ctx.set(stream.payload, {"word": word, "data": data, "strobes": strobes})
            ctx.set(stream.valid, 1)
            ready, waited = 0, 0
            while not ready:
                _, _, ready = await ctx.tick().sample(stream.ready)
                waited += 1
                assert waited < WATCHDOG, f"watchdog: word {word} is not taken"
            ctx.set(stream.valid, 0)

    async def until(self, ctx, what, holds):
        for _ in range(WATCHDOG):
            if holds():
                return
            await ctx.tick()
        raise AssertionError(f"watchdog: {what}")

    async def fence(self, ctx):
        """Until all words taken so far are in memory."""
        dut = self.dut
        ticket, half = ctx.get(dut.taken), 1 << (TICKET_WIDTH - 1)
        await self.until(ctx, "a fence", lambda: (ctx.get(dut.answered) - ticket) % (2 * half) < half)

    async def stop(self, ctx):
        ctx.set(self.dut.stop, 1)
        await ctx.tick()
        ctx.set(self.dut.stop, 0)
        await self.until(ctx, "idle after a stop", lambda: ctx.get(self.dut.idle))
        await ctx.tick()
        assert self.monitor.outstanding == 0 and ctx.get(self.dut.taken) == ctx.get(self.dut.answered)

    def run(self, bench, *, cycles=60_000):
        async def run(ctx):
            ctx.set(self.dut.window_base, self.window[0])
            ctx.set(self.dut.window_limit, self.window[1])
            for name, value in self.settings.items():
                ctx.set(getattr(self.dut, name), value)
            await bench(ctx)

        simulate(self.dut, run, self.memory.serve, self.monitor.watch, self._ticks, cycles=cycles)

    def write(self, numbers):
        """All words come to memory; cycles until the last response."""
        took = []

        async def use(ctx):
            await self.give(ctx, numbers)
            await self.fence(ctx)
            took.append(self.cycle)
            await wait(ctx, 20)
            assert ctx.get(self.dut.idle) and not ctx.get(self.dut.fault.code)

        self.run(use)
        assert self.memory.bytes == written(numbers)
        assert self.monitor.outstanding == 0 and self.monitor.beats == len(numbers)
        return took[0]


@pytest.mark.parametrize("order", ORDERS)
@pytest.mark.parametrize("stall", [0, 0.3, 0.7])
@pytest.mark.parametrize("max_burst, latency", [(1, 1), (2, 3), (16, 20), (256, 7)])
def test_words_come_to_memory(order, stall, max_burst, latency):
    bench = Bench(manager(), order=order, stall=stall, seed=3, max_burst=max_burst, latency=latency)
    bench.write(items(random.Random(max_burst), 250))
    assert max(beats for _, beats in bench.monitor.bursts) <= min(max_burst, 32)


@given(
    st.lists(st.tuples(st.integers(0, 1200), st.integers(1, 20)), min_size=1, max_size=10),
    st.sampled_from(ORDERS),
    st.sampled_from([0, 0.4]),
    st.integers(1, 20),
    st.integers(1, 8),
)
@examples(15)
def test_any_addresses(parts, order, stall, max_burst, max_outstanding):
    numbers = [
        (first + index, (first + index) * 0x0123456789ABCDEF % (1 << 64), 0xFF)
        for first, n in parts
        for index in range(n)
    ]
    bench = Bench(
        manager(), order=order, stall=stall, seed=len(numbers), max_burst=max_burst, max_outstanding=max_outstanding
    )
    bench.write(numbers)
    assert bench.monitor.most <= max_outstanding


def test_bursts_are_as_long_as_they_may_be():
    bench = Bench(manager(), max_burst=16)
    bench.write([(word, word, 0xFF) for word in (*range(492, 515), 5, 6, 7, 6, 5, *range(100, 133))])
    lengths = [(address // 8, beats) for address, beats in bench.monitor.bursts]
    first = [(492, 16), (508, 4), (512, 3)]
    assert lengths == [*first, (5, 3), (6, 1), (5, 1), (100, 16), (116, 16), (132, 1)]


@pytest.mark.parametrize("max_outstanding, most", [(1, 1), (3, 3), (0, 1), (15, 8)])
def test_as_many_bursts_in_flight_as_are_set(max_outstanding, most):
    bench = Bench(manager(), latency=40, max_outstanding=max_outstanding, max_burst=1)
    bench.write([(word, word, 0xFF) for word in range(100)])
    assert bench.monitor.most == most


@pytest.mark.parametrize("max_burst", [1, 4, 16])
def test_full_rate(max_burst):
    bench = Bench(manager(depth=64, words=64), max_burst=max_burst, max_outstanding=64, latency=20)
    assert bench.write([(word, word, 0xFF) for word in range(1000)]) <= 1000 + 20 + LATENCY + 2 * max_burst + 10


def test_a_word_alone_does_not_wait():
    assert Bench(manager()).write([(77, 1, 0xFF)]) <= LATENCY + 6


@pytest.mark.parametrize("order", ORDERS)
@pytest.mark.parametrize("seed", range(4))
def test_a_fence_waits_for_the_responses(order, seed):
    rng = random.Random(seed)
    numbers = items(rng, 200)
    bench = Bench(manager(), order=order, stall=rng.choice((0, 0.4)), latency=rng.choice((1, 40)), seed=seed)

    async def use(ctx):
        given = 0
        while given < len(numbers):
            count = rng.randint(1, 40)
            await bench.give(ctx, numbers[given : given + count])
            given = min(len(numbers), given + count)
            await bench.fence(ctx)
            assert set(written(numbers[:given])) <= bench.memory.answered
            assert bench.monitor.outstanding <= 1, "one whose response is taken in this cycle"

    bench.run(use)
    assert bench.memory.bytes == written(numbers)


@pytest.mark.parametrize("outside", [99, 300, 0, (1 << 37) - 1])
@pytest.mark.parametrize("stall", [0, 0.4])
def test_nothing_outside_the_window_is_written(outside, stall):
    inside = [(word, word, 0xFF) for word in range(250, 300)]
    bench = Bench(manager(), window=(100, 300), stall=stall, latency=5)

    async def use(ctx):
        await bench.give(ctx, [*inside, (outside, 1, 0xFF), *inside])
        await bench.fence(ctx)
        await bench.until(ctx, "idle", lambda: ctx.get(bench.dut.idle))
        assert ctx.get(bench.dut.fault.code) == BusFault.WINDOW and ctx.get(bench.dut.fault.address) == outside
        assert set(bench.memory.bytes.items()) <= set(written(inside).items())
        await bench.stop(ctx)
        assert not ctx.get(bench.dut.fault.code)
        await bench.give(ctx, [(299, 5, 0xFF)])
        await bench.fence(ctx)
        assert bench.memory.bytes[8 * 299] == 5

    bench.run(use)


CODES = {"slverr": BusFault.RESPONSE, "decerr": BusFault.RESPONSE, "silent": BusFault.TIMEOUT}


@pytest.mark.parametrize("fault", CODES)
@pytest.mark.parametrize("order", ORDERS)
@pytest.mark.parametrize("stall, latency, seed", [(0, 1, 0), (0.4, 30, 1)])
def test_faults_of_the_bus(fault, order, stall, latency, seed):
    """All is taken, no fence waits for ever, and after a stop all is right again."""
    rng = random.Random(seed)
    place, numbers = rng.randint(2, 6), items(rng, 300)
    bench = Bench(manager(), order=order, stall=stall, latency=latency, seed=seed, period=150, faults={place: fault})

    async def use(ctx):
        dut = bench.dut
        await bench.give(ctx, numbers)
        await bench.fence(ctx)
        await bench.until(ctx, "a fault", lambda: ctx.get(dut.fault.code))
        assert ctx.get(dut.fault.code) == CODES[fault]
        assert ctx.get(dut.fault.address) == bench.monitor.bursts[place][0] // 8
        if fault == "silent":
            await bench.until(ctx, "hung", lambda: ctx.get(dut.hung))
            assert not ctx.get(dut.idle)
            return
        await bench.until(ctx, "idle", lambda: ctx.get(dut.idle))
        await bench.stop(ctx)
        bench.memory.bytes.clear()
        again = items(rng, 100)
        await bench.give(ctx, again)
        await bench.fence(ctx)
        assert bench.memory.bytes == written(again) and not ctx.get(dut.fault.code)

    bench.run(use)


def test_a_fault_is_told_before_its_fence_is_reached():
    bench = Bench(manager(), faults={0: "slverr"}, latency=20)

    async def use(ctx):
        dut = bench.dut
        await bench.give(ctx, [(5, 1, 0xFF)])
        while ctx.get(dut.answered) != 1:
            before = ctx.get(dut.fault.code)
            await ctx.tick()
        assert before == BusFault.RESPONSE

    bench.run(use)


def test_a_response_before_the_request_is_taken():
    """It answers nothing, though the words are all taken."""
    dut: Any = manager()
    bench = Bench(dut)

    async def use(ctx):
        for name, value in {"window_limit": 1 << 37, "max_burst": 16, "max_outstanding": 8}.items():
            ctx.set(getattr(dut, name), value)
        ctx.set(dut.bus.wready, 1)
        await bench.give(ctx, [(5, 1, 0xFF)])
        await wait(ctx, 20)
        assert ctx.get(dut.bus.awvalid) and not ctx.get(dut.bus.wvalid)
        ctx.set(dut.bus.bvalid, 1)
        await ctx.tick()
        ctx.set(dut.bus.bvalid, 0)
        await wait(ctx, 3)
        assert ctx.get(dut.fault.code) == BusFault.SURPLUS

    simulate(dut, use, cycles=1000)


def test_a_response_too_many():
    bench = Bench(manager(), faults={0: "surplus"})

    async def use(ctx):
        await bench.give(ctx, [(5, 1, 0xFF)])
        await bench.until(ctx, "a fault", lambda: ctx.get(bench.dut.fault.code))
        assert ctx.get(bench.dut.fault.code) == BusFault.SURPLUS

    bench.run(use)


def test_a_bus_that_takes_nothing():
    bench = Bench(manager(), period=50)
    bench.memory.blocked = True

    async def use(ctx):
        dut = bench.dut
        await bench.give(ctx, [(40 + index, index, 0xFF) for index in range(60)])
        await bench.fence(ctx)
        assert ctx.get(dut.fault.code) == BusFault.TIMEOUT and ctx.get(dut.fault.address) == 40
        await bench.until(ctx, "hung", lambda: ctx.get(dut.hung))
        ctx.set(dut.stop, 1)
        await wait(ctx, 200)
        assert ctx.get(dut.bus.awvalid) and ctx.get(dut.bus.wvalid) and not ctx.get(dut.idle)
        bench.memory.blocked = False
        await bench.stop(ctx)
        bench.memory.bytes.clear()
        await bench.give(ctx, [(7, 9, 0xFF)])
        await bench.fence(ctx)
        assert bench.memory.bytes[56] == 9 and not ctx.get(dut.hung)

    bench.run(use)


@pytest.mark.parametrize("order", ORDERS)
@pytest.mark.parametrize("seed", range(6))
def test_stop_in_mid_burst(order, seed):
    """Bursts that were begun are ended with their own words; what was not begun is not written; then all is right."""
    rng = random.Random(seed)
    bench = Bench(
        manager(),
        order=order,
        stall=rng.choice((0, 0.5)),
        seed=seed,
        latency=rng.choice((1, 20)),
        max_burst=rng.choice((1, 8, 16)),
    )

    async def use(ctx):
        for _ in range(8):
            numbers = [(word, rng.getrandbits(64), 0xFF) for word in range(300, 300 + rng.randint(1, 70))]
            await bench.give(ctx, numbers)
            await wait(ctx, rng.choice((0, 1, 2, 3, 5, 20)))
            await bench.stop(ctx)
            assert not ctx.get(bench.dut.bus.awvalid) and not ctx.get(bench.dut.bus.wvalid)
            assert not ctx.get(bench.dut.fault.code)
            found = bench.memory.bytes
            assert found == written(numbers[: len(found) // 8])
            found.clear()

    bench.run(use)


@pytest.mark.parametrize(
    "options, message",
    [
        ({"depth": 0}, "depth must be an integer from 1 to 64, not 0"),
        ({"words": 2}, "words must be an integer from 3 to 256, not 2"),
        ({"data_width": 48}, "data_width must be 8 … 1024, a power of two, not 48"),
        ({"address_width": 65}, "address_width must be 13 … 64, not 65"),
    ],
)
def test_constructor_errors(options, message):
    with pytest.raises(ValueError, match=message):
        WriteManager(**{"data_width": 64, **options})
