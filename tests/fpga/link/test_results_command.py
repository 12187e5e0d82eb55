"""ResultsCommand: the mask of results that are kept."""

import random

import pytest

from fpga.link.results_command import ResultsCommand
from fpga.spec.protocol import MAX_PAYLOAD, RESULT_STREAM, Command, Error
from tests.bench.command_bench import CommandBench, check_command_reset
from tests.bench.harness import made, simulate, wait

ALL = (1 << len(RESULT_STREAM)) - 1


@pytest.mark.parametrize("stall", [0, 0.5])
def test_results_mask(stall):
    """Every mask, in any order; bits of no stream are ignored."""
    dut, rng = made(ResultsCommand), random.Random(1)
    bench = CommandBench(dut, stall=stall)
    masks = [*range(ALL + 1), *(rng.randrange(256) for _ in range(20)), 0xF5]
    rng.shuffle(masks)

    async def run(ctx):
        assert ctx.get(dut.keep) == ALL
        for mask in masks:
            assert await bench.execute(ctx, Command.RESULTS, bytes((mask,))) == (0, b"")
            assert ctx.get(dut.keep) == mask & ALL

    simulate(dut, run, cycles=1000)


def test_refused_lengths_change_nothing():
    dut = made(ResultsCommand)
    bench = CommandBench(dut)

    async def run(ctx):
        for mask in (5, 10):
            assert await bench.execute(ctx, Command.RESULTS, bytes((mask,))) == (0, b"")
            for payload in (b"", b"\0\0", b"\xff" * 3, b"\xff" * MAX_PAYLOAD):
                assert await bench.execute(ctx, Command.RESULTS, payload) == (Error.BAD_LENGTH, b"")
                assert ctx.get(dut.keep) == mask
                assert bench.taken == 0

    simulate(dut, run, cycles=1000)


def test_waits_for_the_mask():
    """The old mask holds until the byte is there, in the same cycle as the answer at the earliest."""
    dut = made(ResultsCommand)
    port = dut.command

    async def run(ctx):
        ctx.set(port.length, 1)
        ctx.set(port.body.payload, 0)
        await wait(ctx, 2)
        ctx.set(port.start, 1)
        await ctx.tick()
        ctx.set(port.start, 0)
        for _ in range(30):
            _, _, keep, done = await ctx.tick().sample(dut.keep, port.done)
            assert (keep, done) == (ALL, 0)
        ctx.set(port.body.valid, 1)
        await ctx.tick()
        assert (ctx.get(dut.keep), ctx.get(port.done)) == (0, 1)

    simulate(dut, run, cycles=100)


def test_reset():
    def background(dut, results):
        async def watch(ctx):
            while True:
                results.append(ctx.get(dut.keep))
                await ctx.tick()

        return [watch]

    commands = [(Command.RESULTS, b"\3"), (Command.RESULTS, b""), (Command.RESULTS, b"\x0c"), (Command.RESULTS, b"\0")]
    check_command_reset(ResultsCommand, commands, background=background)
