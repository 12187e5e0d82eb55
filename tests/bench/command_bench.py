"""The decoder's side of a CommandPort, to test a block that executes commands alone."""

import random

from fpga.spec.protocol import Error
from tests.bench.harness import ProtocolError, check_reset, wait

__all__ = ["CommandBench", "check_command_reset"]


class CommandBench:
    """Gives commands to ``dut.command`` and takes what the block answers; body bytes come with random stalls.

    Of the last command: ``taken`` bytes of the body were taken, the bytes of the answer came ``times`` cycles after
    ``start``, and ``done`` after ``cycles``.
    """

    WATCHDOG = 20_000

    def __init__(self, dut, *, stall=0.3, seed=0):
        self.port = dut.command
        self.stall = stall
        self.rng = random.Random(seed)
        self.taken = self.cycles = 0
        self.times = []

    async def execute(self, ctx, type, payload=b""):
        """(error code or 0, bytes of the answer)."""
        port = self.port
        ctx.set(port.type, type)
        ctx.set(port.length, len(payload))
        await self._quiet(ctx, 2)
        ctx.set(port.start, 1)
        await ctx.tick()
        ctx.set(port.start, 0)
        error, answer = await self._answer(ctx, payload)
        ctx.set(port.body.valid, 0)
        assert self.taken <= len(payload)
        await self._quiet(ctx, 1)
        return (Error(error), b"") if error else (0, answer)

    async def _answer(self, ctx, payload):
        port, answer, given = self.port, b"", False
        self.taken, self.times = 0, []
        for cycle in range(1, self.WATCHDOG):
            given = given or self.rng.random() >= self.stall
            byte = payload[self.taken] if self.taken < len(payload) else self.rng.randrange(256)
            ctx.set(port.body.valid, given)
            ctx.set(port.body.payload, byte)
            signals = (port.body.ready, port.answer.valid, port.answer.payload, port.done, port.error)
            _, _, ready, valid, out, done, error = await ctx.tick().sample(*signals)
            if ready and given:
                self.taken += 1
                given = False
            if valid:
                answer += bytes((out,))
                self.times.append(cycle)
            if done:
                self.cycles = cycle
                return error, answer
        raise AssertionError(f"watchdog: the command was not done after {self.WATCHDOG} cycles")

    async def _quiet(self, ctx, cycles):
        """Between commands the block does nothing at the port."""
        port = self.port
        for _ in range(cycles):
            _, _, ready, valid, done = await ctx.tick().sample(port.body.ready, port.answer.valid, port.done)
            if ready or valid or done:
                raise ProtocolError(f"between commands: body.ready {ready}, answer.valid {valid}, done {done}")


def check_command_reset(make, commands, *, background=lambda dut, results: (), cycles=5000, resets=6):
    """:func:`check_reset` for a block that executes ``commands``, (type, payload): same answers in the same cycles.

    ``background(dut, results)``: what runs beside it, made anew for each use; it may add to the results.
    """

    def prepare(dut):
        bench, results = CommandBench(dut), []

        async def run(ctx):
            for type, payload in commands:
                results.append((*await bench.execute(ctx, type, payload), bench.taken, bench.times, bench.cycles))
            await wait(ctx, 5)

        return run, background(dut, results), results

    check_reset(make, prepare, cycles=cycles, resets=resets)
