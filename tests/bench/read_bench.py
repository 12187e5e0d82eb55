"""Bench of a ReadManager: requests with stalls, the words that come, a memory on the bus, and the rules of AXI4."""

from __future__ import annotations

import random
from collections.abc import Sequence
from typing import Any

from tests.bench.axi_monitor import AxiMonitor
from tests.bench.axi_reads import ReadMemory
from tests.bench.harness import simulate, wait

__all__ = ["ReadBench", "word_at"]

WATCHDOG = 4000


def word_at(number: int) -> int:
    """The word of a number: never 0, and its own."""
    return number * 0x9E3779B97F4A7C15 % (1 << 64) | 1


class ReadBench:
    """One simulation of ``dut``, of 64-bit words. Members that tests use in their own bench:

    monitor, memory. words : (cycle, word) that came. cycle : of now. answer : what requests must get, in order.
    """

    def __init__(
        self,
        dut: Any,
        *,
        base: int = 0,
        window: tuple[int, int] = (0, 1 << 16),
        max_burst: int = 16,
        max_outstanding: int = 16,
        period: int = 0,
        stall: float = 0.0,
        seed: int = 0,
        **memory: Any,
    ):
        self.dut, self.base, self.window, self.period, self.stall = dut, base, window, period, stall
        self.settings = {"base": base, "max_burst": max_burst, "max_outstanding": max_outstanding, "cache": 0b0011}
        self.rng = random.Random(f"{seed} requests")
        options = {"stall": stall, "seed": seed, **memory}
        self.memory = ReadMemory(dut.bus, word_at, data_width=64, base=base, **options)
        span = (base + 8 * window[0], base + 8 * window[1])
        self.monitor = AxiMonitor(dut.bus, data_width=64, window=span)
        self.words: list[tuple[int, int]] = []
        self.dropped = 0
        self.cycle = 0

    async def _collect(self, ctx):
        dut = self.dut
        while True:
            _, _, valid, word, dropped = await ctx.tick().sample(dut.response.valid, dut.response.payload, dut.dropped)
            self.cycle += 1
            self.dropped += dropped
            if valid:
                self.words.append((self.cycle, word))

    async def _ticks(self, ctx):
        while self.period:
            await wait(ctx, self.period - 1)
            ctx.set(self.dut.tick, 1)
            await ctx.tick()
            ctx.set(self.dut.tick, 0)

    async def ask(self, ctx, numbers: Sequence[int]) -> None:
        """Requests for words, in turn, with stalls; fails if one is not taken for long."""
        request = self.dut.request
        for number in numbers:
            while self.stall and self.rng.random() < self.stall:
                await ctx.tick()
            ctx.set(request.payload, number)
            ctx.set(request.valid, 1)
            ready, waited = 0, 0
            while not ready:
                _, _, ready = await ctx.tick().sample(request.ready)
                waited += 1
                assert waited < WATCHDOG, f"watchdog: the request for {number} is not taken"
            ctx.set(request.valid, 0)

    async def until(self, ctx, what: str, holds) -> None:
        """Wait until ``holds()``."""
        for _ in range(WATCHDOG):
            if holds():
                return
            await ctx.tick()
        raise AssertionError(f"watchdog: {what}")

    async def stop(self, ctx) -> None:
        """A stop of one cycle, until the manager is idle."""
        dut = self.dut
        ctx.set(dut.stop, 1)
        await ctx.tick()
        ctx.set(dut.stop, 0)
        before = len(self.words)
        await self.until(ctx, "idle after a stop", lambda: ctx.get(dut.idle))
        await ctx.tick()
        assert len(self.words) == before, "words after a stop"

    def run(self, bench, *, cycles: int = 60_000) -> int:
        """Simulate ``bench(ctx)``; cycles it took."""

        async def run(ctx):
            ctx.set(self.dut.window_base, self.window[0])
            ctx.set(self.dut.window_limit, self.window[1])
            for name, value in self.settings.items():
                ctx.set(getattr(self.dut, name), value)
            await bench(ctx)

        background = (self.memory.serve, self.monitor.watch, self._collect, self._ticks)
        return simulate(self.dut, run, *background, cycles=cycles)

    def read(self, numbers: Sequence[int]) -> int:
        """All words asked for come, and are right; cycles from the first request to the last word."""

        async def bench(ctx):
            await self.ask(ctx, numbers)
            await self.until(ctx, "words that do not come", lambda: len(self.words) >= len(numbers))
            await wait(ctx, 30)
            assert ctx.get(self.dut.idle) and not ctx.get(self.dut.fault.code)

        self.run(bench)
        assert [word for _, word in self.words] == [word_at(number) for number in numbers]
        assert not self.dropped and self.monitor.outstanding == 0
        return self.words[-1][0]
