"""CountersCommand: one snapshot of counters that all go on, and their clearing."""

import random
import struct

import pytest

from fpga.link.counters_command import CountersCommand
from fpga.spec.protocol import MAX_PAYLOAD, Command, Error
from hdl.control.counters import COUNTER_WIDTH, counters_layout
from hdl.spec.config import PRESETS, Config
from tests.bench.command_bench import CommandBench, check_command_reset
from tests.bench.harness import made, simulate, wait

TINY = PRESETS["tiny"]


class Counters:
    """All counters of a core, in the order of the answer, each with a step of its own; notes what is cleared."""

    def __init__(self, dut, config, rng):
        self.dut = dut
        self.names = list(counters_layout(config).members)
        self.channels = [f"channel {number}" for number in range(config.num_channels)]
        self.state = {name: rng.getrandbits(COUNTER_WIDTH - 1) for name in self.names + self.channels}
        self.cleared = []

    async def run(self, ctx):
        dut, state = self.dut, self.state
        while True:
            ctx.set(dut.counters, {name: state[name] for name in self.names})
            ctx.set(dut.words_read, [state[name] for name in self.channels])
            _, _, clear = await ctx.tick().sample(dut.counters_clear)
            if clear:
                self.cleared.append(list(state.values()))
            for place, name in enumerate(state):
                state[name] = 0 if clear else state[name] + place + 1


def values_of(answer):
    *values, dropped = struct.unpack(f"<{len(answer) // 8}Q", answer)
    return values, dropped


@pytest.mark.parametrize("stall", [0, 0.5])
@pytest.mark.parametrize("preset", ["tiny", "ulx3s"])
def test_counters(preset, stall):
    """A snapshot of one cycle; cleared in the same cycle, once, and only when that is asked for."""
    config = PRESETS[preset]
    dut, rng = made(CountersCommand, config), random.Random(6)
    bench, counters = CommandBench(dut, stall=stall), Counters(dut, config, rng)

    async def run(ctx):
        for clear in (0, 1, 0, 1):
            dropped = rng.getrandbits(32)
            ctx.set(dut.dropped, dropped)
            number, before = len(counters.cleared), list(counters.state.values())
            error, answer = await bench.execute(ctx, Command.COUNTERS, bytes((clear,)))
            values, last = values_of(answer)
            assert (error, last) == (0, dropped)
            assert len(counters.cleared) == number + clear
            if clear:
                assert values == counters.cleared[-1]
            steps = {divmod(value - old, n) for n, (value, old) in enumerate(zip(values, before, strict=True), 1)}
            ((step, rest),) = steps
            assert rest == 0 and 0 < step < 30

    simulate(dut, run, counters.run, cycles=10_000)


@pytest.mark.parametrize("fill", [0, 1])
def test_full_counters(fill):
    """The bytes above a counter are zeros, those of its neighbour are not."""
    dut = made(CountersCommand, TINY)
    bench, names = CommandBench(dut), list(counters_layout(TINY).members)
    largest = fill * ((1 << COUNTER_WIDTH) - 1)

    async def run(ctx):
        ctx.set(dut.counters, {name: largest for name in names})
        ctx.set(dut.words_read, [largest] * TINY.num_channels)
        ctx.set(dut.dropped, fill * 0xFFFFFFFF)
        error, answer = await bench.execute(ctx, Command.COUNTERS, b"\0")
        assert error == 0
        assert values_of(answer) == ([largest] * (len(names) + TINY.num_channels), fill * 0xFFFFFFFF)

    simulate(dut, run, cycles=2000)


def test_refused_lengths_clear_nothing():
    dut = made(CountersCommand, TINY)
    bench, counters = CommandBench(dut), Counters(dut, TINY, random.Random(1))

    async def run(ctx):
        for payload in (b"", b"\1\1", b"\1" * 8, b"\1" * MAX_PAYLOAD):
            assert await bench.execute(ctx, Command.COUNTERS, payload) == (Error.BAD_LENGTH, b"")
            assert bench.taken == 0
        await wait(ctx, 5)
        assert counters.cleared == []

    simulate(dut, run, counters.run, cycles=2000)


def test_a_byte_takes_two_cycles():
    dut = made(CountersCommand, TINY)
    bench = CommandBench(dut, stall=0)

    async def run(ctx):
        await bench.execute(ctx, Command.COUNTERS, b"\0")
        first, length = bench.times[0], dut.num_values * CountersCommand.VALUE_BYTES
        assert bench.times == list(range(first, first + 2 * length, 2))

    simulate(dut, run, cycles=2000)


def test_too_many_channels():
    CountersCommand(Config(num_channels=64))
    with pytest.raises(ValueError, match="num_channels must be at most 104 for the link, not 128"):
        CountersCommand(Config(num_channels=128))


def test_reset():
    def background(dut, results):
        return [Counters(dut, TINY, random.Random(2)).run]

    commands = [(Command.COUNTERS, b"\1"), (Command.COUNTERS, b""), (Command.COUNTERS, b"\0")]
    check_command_reset(lambda: CountersCommand(TINY), commands, background=background, resets=3)
