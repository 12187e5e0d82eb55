"""PullCommand: whole records, as many as are there and fit."""

import random

import pytest

from fpga.link.pull_command import PullCommand
from fpga.link.result_queue import record_sizes
from fpga.spec.protocol import MAX_PAYLOAD, Command, Error
from hdl.spec.config import PRESETS
from tests.bench.command_bench import CommandBench, check_command_reset
from tests.bench.harness import give, made, simulate, wait

TINY = PRESETS["tiny"]


def record_of(rng, stream, config=TINY):
    return bytes((stream,)) + rng.randbytes(record_sizes(config)[stream] - 1)


def random_record(rng, config=TINY):
    return record_of(rng, rng.randrange(4), config)


def fitting(records, limit):
    """How many of the first records an answer of at most ``limit`` bytes holds."""
    total = count = 0
    for record in records:
        total += len(record)
        if total > min(limit, MAX_PAYLOAD):
            break
        count += 1
    return count


def queue(dut, records, rng, stall, is_open=lambda: True):
    """A process that offers records as ResultQueue does: within a record bytes may be late, between them not."""

    async def run(ctx):
        for record in records:
            while not is_open():
                await ctx.tick()
            for place, byte in enumerate(record):
                while place and rng.random() < stall:
                    await ctx.tick()
                await give(ctx, dut.record, {"byte": byte, "last": place == len(record) - 1})

    return run


def pull_payload(limit):
    return limit.to_bytes(2, "little")


@pytest.mark.parametrize("stall", [0, 0.5])
@pytest.mark.parametrize("preset", ["tiny", "ulx3s"])
def test_pull(preset, stall):
    """Until all are taken; then, as before there were any, the answer is empty."""
    config = PRESETS[preset]
    dut, rng = made(PullCommand, config), random.Random(5)
    bench, gate = CommandBench(dut, stall=stall), {"open": False}
    waiting = [random_record(rng, config) for _ in range(80)]

    async def run(ctx):
        assert await bench.execute(ctx, Command.PULL, pull_payload(1024)) == (0, b"")
        gate["open"] = True
        await wait(ctx, 3)
        left = list(waiting)
        for limit in (0, 5, 200, 1025, 65535, 19, 300, *[1024] * 12):
            count = fitting(left, limit)
            expected = b"".join(left[:count])
            assert await bench.execute(ctx, Command.PULL, pull_payload(limit)) == (0, expected)
            left = left[count:]
        assert not left

    simulate(dut, run, queue(dut, waiting, rng, stall, lambda: gate["open"]), cycles=40_000)


@pytest.mark.parametrize("stream", range(4))
def test_a_record_that_just_fits(stream):
    """A byte less and it stays, whole."""
    dut, rng = made(PullCommand, TINY), random.Random(stream)
    bench = CommandBench(dut)
    records = [record_of(rng, stream), random_record(rng), record_of(rng, stream)]
    first, second = len(records[0]), len(records[0]) + len(records[1])

    async def run(ctx):
        for limit, expected in (
            (first - 1, b""),
            (first, records[0]),
            (second - first - 1, b""),
            (second - 1, records[1]),
            (first, records[2]),
        ):
            assert await bench.execute(ctx, Command.PULL, pull_payload(limit)) == (0, expected)

    simulate(dut, run, queue(dut, records, rng, 0.3), cycles=5000)


def test_refused_lengths_take_nothing():
    dut, rng = made(PullCommand, TINY), random.Random(6)
    bench = CommandBench(dut)
    records = [random_record(rng)]

    async def run(ctx):
        for payload in (b"", b"\1", b"\1\2\3", bytes(MAX_PAYLOAD)):
            assert await bench.execute(ctx, Command.PULL, payload) == (Error.BAD_LENGTH, b"")
            assert bench.taken == 0
        assert await bench.execute(ctx, Command.PULL, pull_payload(1024)) == (0, records[0])

    simulate(dut, run, queue(dut, records, rng, 0), cycles=2000)


def test_a_byte_a_cycle():
    """Of a record, if its bytes are there; before each the size of the record is settled in three cycles."""
    dut, rng = made(PullCommand, TINY), random.Random(8)
    bench = CommandBench(dut, stall=0)
    records = [random_record(rng) for _ in range(6)]

    async def run(ctx):
        assert await bench.execute(ctx, Command.PULL, pull_payload(1024)) == (0, b"".join(records))
        expected, cycle = [], bench.times[0]
        for record in records:
            expected += range(cycle, cycle + len(record))
            cycle += len(record) + 3
        assert bench.times == expected

    simulate(dut, run, queue(dut, records, rng, 0), cycles=2000)


def test_reset():
    commands = [(Command.PULL, pull_payload(limit)) for limit in (40, 0, 100)]

    def background(dut, results):
        rng = random.Random(7)
        return [queue(dut, [random_record(rng) for _ in range(20)], rng, 0.3)]

    check_command_reset(lambda: PullCommand(TINY), commands, background=background)
