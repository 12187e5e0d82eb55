import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hdl.axi.axi4 import BusFault
from hdl.axi.burst_merger import BurstMerger
from hdl.axi.read_manager import ReadManager
from hdl.spec.config import PRESETS
from tests.bench.examples import examples
from tests.bench.harness import made, wait
from tests.bench.read_bench import ReadBench, word_at

TINY = PRESETS["tiny"]
PAGE = 512  # words of a page
LATENCY = 4 + BurstMerger.PATIENCE


def manager(depth: int = 16, words: int = 512) -> ReadManager:
    return made(ReadManager, TINY, depth=depth, words=words)


def runs(rng: random.Random, count: int, longest: int = 40) -> list[int]:
    """Runs of consecutive words, some over pages, some back and forth."""
    numbers: list[int] = []
    while len(numbers) < count:
        first, length = rng.choice((rng.randrange(60_000), PAGE * rng.randrange(1, 100) - 3)), rng.randint(1, longest)
        numbers += range(first, first + length)
    return numbers[:count]


@pytest.mark.parametrize("stall", [0, 0.3, 0.7])
@pytest.mark.parametrize("max_burst, latency", [(1, 1), (2, 3), (16, 1), (16, 30), (256, 7)])
def test_words_are_those_of_the_memory(stall, max_burst, latency):
    numbers = runs(random.Random(max_burst), 400)
    bench = ReadBench(manager(), stall=stall, seed=1, max_burst=max_burst, latency=latency, base=0x12_3456_7000)
    bench.read(numbers)
    assert sum(beats for _, beats in bench.monitor.bursts) == len(numbers)
    assert max(beats for _, beats in bench.monitor.bursts) <= max_burst


@given(
    st.lists(st.tuples(st.integers(0, 1500), st.integers(1, 20)), min_size=1, max_size=12),
    st.sampled_from([0, 0.4]),
    st.integers(1, 20),
    st.integers(1, 16),
)
@examples(15)
def test_any_addresses(parts, stall, max_burst, max_outstanding):
    numbers = [first + index for first, length in parts for index in range(length)]
    bench = ReadBench(
        manager(), stall=stall, seed=len(numbers), max_burst=max_burst, max_outstanding=max_outstanding, latency=9
    )
    bench.read(numbers)
    assert bench.monitor.most <= max_outstanding


def test_bursts_are_as_long_as_they_may_be():
    """While something is on the bus; what comes before goes as it is."""
    bench = ReadBench(manager(), max_burst=16, latency=80)
    bench.read([3, *range(PAGE - 20, PAGE + 3), 5, 6, 7, 6, 5, *range(100, 133)])
    lengths = [(address // 8, beats) for address, beats in bench.monitor.bursts]
    first = [(3, 1), (PAGE - 20, 16), (PAGE - 4, 4), (PAGE, 3)]
    assert lengths == [*first, (5, 3), (6, 1), (5, 1), (100, 16), (116, 16), (132, 1)]


def test_nothing_waits_for_a_burst_while_the_bus_is_idle():
    """The first word of a run goes at once, and the others when it is on its way."""
    bench = ReadBench(manager(), max_burst=16, latency=30)
    bench.read(list(range(16)))
    assert [beats for _, beats in bench.monitor.bursts] == [1, 15]


def test_a_burst_grows_while_the_bus_is_full():
    """Requests with longer gaps than PATIENCE are alone, unless they wait for the bus."""
    for max_outstanding, most in ((16, 1), (1, 8)):
        bench = ReadBench(manager(), max_outstanding=max_outstanding, latency=30)

        async def spaced(ctx, bench=bench):
            for number in range(60):
                await bench.ask(ctx, [number])
                await wait(ctx, BurstMerger.PATIENCE + 1)
            await bench.until(ctx, "words", lambda: len(bench.words) == 60)

        bench.run(spaced)
        assert [word for _, word in bench.words] == [word_at(number) for number in range(60)]
        assert max(beats for _, beats in bench.monitor.bursts) >= most
        assert max_outstanding == 1 or len(bench.monitor.bursts) == 60


@pytest.mark.parametrize("max_burst", [1, 2, 16, 256])
def test_full_rate(max_burst):
    """n words in n cycles, and the latency: that of the manager, the memory, and the first burst."""
    bench = ReadBench(manager(depth=64), max_burst=max_burst, max_outstanding=64, latency=20)
    assert bench.read(range(1000)) <= 1000 + 20 + LATENCY + max_burst + 10


def test_full_rate_of_words_that_do_not_follow():
    bench = ReadBench(manager(depth=64), max_outstanding=64, latency=20)
    assert bench.read([1000 + 2 * number for number in range(1000)]) <= 1000 + 20 + LATENCY + 10
    assert len(bench.monitor.bursts) == 1000


@pytest.mark.parametrize("max_outstanding, max_burst", [(16, 16), (8, 16), (4, 4)])
def test_rate_at_a_latency_of_100(max_outstanding, max_burst):
    """What so many beats in flight allow."""
    bench = ReadBench(manager(), latency=100, max_burst=max_burst, max_outstanding=max_outstanding)
    last, rate = bench.read(range(4000)), min(1, max_outstanding * max_burst / (100 + max_burst))
    assert last * rate <= 4000 / 0.95 + 100


def test_a_word_alone_does_not_wait():
    bench = ReadBench(manager(), latency=1)
    assert bench.read([77]) <= LATENCY + 3


def test_no_more_words_than_may_be_in_flight():
    bench = ReadBench(manager(words=5), latency=50)
    assert bench.read(range(50)) > 10 * 50, "5 words in each latency"
    assert max(beats for _, beats in bench.monitor.bursts) <= 5


@pytest.mark.parametrize(
    "max_outstanding, max_burst, most", [(1, 1, 1), (4, 1, 4), (0, 16, 1), (31, 1, 16), (31, 0, 2)]
)
def test_as_many_bursts_in_flight_as_are_set(max_outstanding, max_burst, most):
    """Settings that make no sense do not stop it: no burst counts as 1, more than depth as depth, 0 words as 256."""
    bench = ReadBench(manager(), latency=40, max_outstanding=max_outstanding, max_burst=max_burst)
    bench.read(range(500))
    assert bench.monitor.most == most
    assert max(beats for _, beats in bench.monitor.bursts) <= (max_burst or 256)


# Windows -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("outside", [99, 300, 0, 65535])
@pytest.mark.parametrize("stall", [0, 0.4])
def test_nothing_outside_the_window_is_read(outside, stall):
    """The monitor has the window, too. What was asked for is answered, right or by 0."""
    numbers = [*range(100, 140), *range(290, 300), outside, *range(280, 300)]
    bench = ReadBench(manager(), window=(100, 300), stall=stall, latency=5)

    async def use(ctx):
        await bench.ask(ctx, numbers)
        await bench.until(ctx, "words", lambda: len(bench.words) == len(numbers))
        await bench.until(ctx, "idle", lambda: ctx.get(bench.dut.idle))
        assert ctx.get(bench.dut.fault.code) == BusFault.WINDOW
        assert ctx.get(bench.dut.fault.address) == outside
        await bench.stop(ctx)
        assert not ctx.get(bench.dut.fault.code)
        await bench.ask(ctx, [100, 299])
        await bench.until(ctx, "words", lambda: len(bench.words) == len(numbers) + 2)

    bench.run(use)
    words = [word for _, word in bench.words]
    right = sum(word != 0 for word in words[:50])
    assert words[:-2] == [word_at(number) for number in numbers[:right]] + [0] * (len(numbers) - right)
    assert words[-2:] == [word_at(100), word_at(299)]


# Faults of the bus ---------------------------------------------------------------------------------------------

CODES = {
    "slverr": {BusFault.RESPONSE},
    "decerr": {BusFault.RESPONSE},
    "early": {BusFault.LAST},
    "late": {BusFault.LAST},
    "missing": {BusFault.LAST},
    # The beat too many is that of the next burst, until it says so.
    "surplus": {BusFault.SURPLUS, BusFault.LAST},
    "silent": {BusFault.TIMEOUT},
}


@pytest.mark.parametrize("fault", CODES)
@pytest.mark.parametrize("stall, latency, seed", [(0, 1, 0), (0, 25, 1), (0.4, 8, 2), (0.4, 60, 3)])
def test_faults_of_the_bus(fault, stall, latency, seed):
    """Every word asked for is answered, none is wrong before the fault is told, and after a stop all is right again."""
    rng = random.Random(seed)
    numbers = [number for first in range(0, 4000, 100) for number in range(first, first + rng.randint(2, 16))]
    bench = ReadBench(
        manager(), stall=stall, seed=seed, latency=latency, period=150, faults={rng.randint(3, 15): fault}
    )
    told = []

    async def use(ctx):
        dut = bench.dut
        await bench.ask(ctx, numbers)
        await bench.until(ctx, "words", lambda: len(bench.words) == len(numbers))
        await bench.until(ctx, "a fault", lambda: ctx.get(dut.fault.code))
        told.append((ctx.get(dut.fault.code), ctx.get(dut.fault.address)))
        if fault == "silent":
            await bench.until(ctx, "hung", lambda: ctx.get(dut.hung))
            assert not ctx.get(dut.idle)
            return
        await bench.until(ctx, "idle", lambda: ctx.get(dut.idle))
        await bench.stop(ctx)
        before = len(bench.words)
        await bench.ask(ctx, numbers[:100])
        await bench.until(ctx, "words", lambda: len(bench.words) == before + 100)
        assert not ctx.get(dut.fault.code) and not ctx.get(dut.hung)

    bench.run(use)
    assert told[0][0] in CODES[fault]
    words = [word for _, word in bench.words]
    given = words.index(0) if 0 in words else len(numbers)
    if fault != "surplus":
        assert words[: len(numbers)] == [word_at(n) for n in numbers[:given]] + [0] * (len(numbers) - given)
        assert 0 in words and told[0][1] == numbers[given], "the address of the first word that did not come"
    if fault != "silent":
        assert words[len(numbers) :] == [word_at(number) for number in numbers[:100]]


def test_a_beat_too_many_that_comes_late():
    """After a wrong RLAST a stop waits until nothing comes any more."""
    bench = ReadBench(manager(), faults={0: "late"}, lag=100, period=150)

    async def use(ctx):
        await bench.ask(ctx, range(5))
        await bench.until(ctx, "a fault", lambda: ctx.get(bench.dut.fault.code))
        assert ctx.get(bench.dut.fault.code) == BusFault.LAST
        await bench.stop(ctx)
        before = len(bench.words)
        await bench.ask(ctx, range(5, 9))
        await bench.until(ctx, "words", lambda: len(bench.words) == before + 4)

    bench.run(use)
    assert [word for _, word in bench.words][-4:] == [word_at(number) for number in range(5, 9)]
    assert bench.dropped


def test_a_beat_that_nobody_asked_for():
    bench = ReadBench(manager(), faults={1: "surplus"})

    async def use(ctx):
        await bench.ask(ctx, range(5))
        await bench.until(ctx, "a fault", lambda: ctx.get(bench.dut.fault.code))
        assert ctx.get(bench.dut.fault.code) == BusFault.SURPLUS
        await bench.stop(ctx)
        await bench.ask(ctx, range(5, 9))
        await bench.until(ctx, "words", lambda: len(bench.words) == 9)

    bench.run(use)
    assert [word for _, word in bench.words] == [word_at(number) for number in range(9)]
    assert bench.dropped == 1


def test_a_request_that_is_never_taken():
    """arvalid stays (the monitor says so); the words are 0, and the request is served when the bus comes back."""
    bench = ReadBench(manager(), depth=0, period=50)

    async def use(ctx):
        dut = bench.dut
        await bench.ask(ctx, range(40, 60))
        await bench.until(ctx, "words", lambda: len(bench.words) == 20)
        assert ctx.get(dut.fault.code) == BusFault.TIMEOUT and ctx.get(dut.fault.address) == 40
        await bench.until(ctx, "hung", lambda: ctx.get(dut.hung))
        ctx.set(dut.stop, 1)
        await wait(ctx, 200)
        assert ctx.get(dut.bus.arvalid) and not ctx.get(dut.idle) and not ctx.get(dut.request.ready)
        bench.memory.depth = 100
        await bench.stop(ctx)
        assert not ctx.get(dut.hung)
        await bench.ask(ctx, [7])
        await bench.until(ctx, "words", lambda: len(bench.words) == 21)

    bench.run(use)
    assert [word for _, word in bench.words] == [0] * 20 + [word_at(7)]
    assert bench.dropped == bench.monitor.bursts[0][1]


def test_no_tick_no_time_out():
    bench = ReadBench(manager(), latency=3000)
    bench.read(range(20))


@pytest.mark.parametrize("period", [8, 30])
def test_a_slow_bus_is_not_silent(period):
    """Beats come one in some cycles, but always sooner than a period."""
    bench = ReadBench(manager(), latency=period - 4, max_burst=1, max_outstanding=1, period=period)
    bench.read(range(40))


@pytest.mark.parametrize("seed", range(12))
def test_stop_in_mid_burst(seed):
    """No word comes after a stop, nothing on the bus is broken off, and the next words are right; time after time."""
    rng = random.Random(seed)
    stall, latency = rng.choice((0, 0.4)), rng.choice((1, 10, 60))
    bench = ReadBench(manager(), stall=stall, seed=seed, latency=latency, max_burst=rng.choice((1, 4, 16)))

    async def use(ctx):
        dut = bench.dut
        for _ in range(6):
            numbers, first = runs(rng, rng.randint(1, 60)), len(bench.words)
            await bench.ask(ctx, numbers)
            await wait(ctx, rng.choice((0, 1, 2, 3, 5, latency)))
            came = [word for _, word in bench.words[first:]]
            assert came == [word_at(number) for number in numbers[: len(came)]]
            await bench.stop(ctx)
            assert bench.monitor.outstanding == 0 and not ctx.get(dut.bus.arvalid)
            assert not ctx.get(dut.fault.code)

    bench.run(use)


@pytest.mark.parametrize(
    "options, message",
    [
        ({"depth": 0}, "depth must be an integer from 1 to 256, not 0"),
        ({"depth": 257}, "depth must be an integer from 1 to 256, not 257"),
        ({"words": 0}, "words must be a positive integer, not 0"),
        ({"address_width": 12}, "address_width must be 13 … 64, not 12"),
    ],
)
def test_constructor_errors(options, message):
    with pytest.raises(ValueError, match=message):
        ReadManager(TINY, **options)
