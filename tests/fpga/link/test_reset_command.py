"""ResetCommand: how long the core is held in reset, and the echo."""

import random

import pytest

from fpga.link.reset_command import ResetCommand
from fpga.spec.protocol import MAX_PAYLOAD, Command
from tests.bench.command_bench import CommandBench, check_command_reset
from tests.bench.harness import ProtocolError, made, simulate, wait


def resets_of(dut, lengths):
    """A process that adds the cycles of each reset of the core; nothing is answered while it lasts."""

    async def watch(ctx):
        length = 0
        while True:
            signals = dut.core_reset, dut.command.answer.valid, dut.command.done
            _, _, reset, valid, done = await ctx.tick().sample(*signals)
            if reset and (valid or done):
                raise ProtocolError("an answer while the core is in reset")
            if length and not reset:
                lengths.append(length)
            length = length + 1 if reset else 0

    return watch


@pytest.mark.parametrize("stall", [0, 0.5])
def test_echo(stall):
    """Of every length; each command resets the core once, for CYCLES cycles if the memory is idle."""
    dut, rng, lengths = made(ResetCommand), random.Random(1), []
    bench = CommandBench(dut, stall=stall)
    sizes = (0, 1, 2, 30, MAX_PAYLOAD, 0)

    async def run(ctx):
        ctx.set(dut.memory_idle, 1)
        await wait(ctx, 5)
        assert lengths == []
        for size in sizes:
            payload = rng.randbytes(size)
            assert await bench.execute(ctx, Command.RESET, payload) == (0, payload)
            assert bench.taken == size
            assert not ctx.get(dut.core_reset)

    simulate(dut, run, resets_of(dut, lengths), cycles=10_000)
    assert lengths == [ResetCommand.CYCLES] * len(sizes)


@pytest.mark.parametrize("busy", [0, 1, 7, 8, 9, 50])
def test_waits_for_the_memory(busy):
    """The reset ends with the later of CYCLES and the memory's last request."""
    dut, lengths = made(ResetCommand), []
    bench = CommandBench(dut)

    async def memory(ctx):
        while not ctx.get(dut.core_reset):
            await ctx.tick()
        await wait(ctx, busy)
        ctx.set(dut.memory_idle, 1)

    async def run(ctx):
        assert await bench.execute(ctx, Command.RESET, b"nonce\x7e") == (0, b"nonce\x7e")

    simulate(dut, run, memory, resets_of(dut, lengths), cycles=1000)
    assert lengths == [max(ResetCommand.CYCLES, busy + 1)]


def test_reset():
    def background(dut, results):
        async def memory(ctx):
            ctx.set(dut.memory_idle, 1)

        return [memory, resets_of(dut, results)]

    commands = [(Command.RESET, b"some more"), (Command.RESET, b""), (Command.RESET, b"x")]
    check_command_reset(ResetCommand, commands, background=background)
