"""The decoder's side of a CommandPort, to test a block that executes commands alone."""

import random

from fpga.spec.protocol import Error
from tests.bench.harness import wait


class CommandBench:
    """Gives commands to ``dut.command`` and takes what the block answers; body bytes come with random stalls."""

    WATCHDOG = 20_000

    def __init__(self, dut, *, stall=0.3, seed=0):
        self.port = dut.command
        self.stall = stall
        self.rng = random.Random(seed)
        self.taken = 0

    async def execute(self, ctx, type, payload=b""):
        """(error code or 0, bytes of the answer); ``taken`` bytes of the body were taken."""
        port, answer = self.port, b""
        ctx.set(port.type, type)
        ctx.set(port.length, len(payload))
        await wait(ctx, 2)
        ctx.set(port.start, 1)
        await ctx.tick()
        ctx.set(port.start, 0)
        self.taken, given = 0, False
        for _ in range(self.WATCHDOG):
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
            if done:
                ctx.set(port.body.valid, 0)
                assert self.taken <= len(payload)
                return (Error(error), b"") if error else (0, answer)
        raise AssertionError(f"watchdog: the command was not done after {self.WATCHDOG} cycles")
