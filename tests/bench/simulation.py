"""Simulations of blocks with a watchdog; a block that is simulated again is not elaborated and compiled again.

Most of a short simulation is the making of its simulator: tests of one configuration share the block by ``made``.
"""

from __future__ import annotations

import contextlib
import functools
from collections.abc import Awaitable, Callable
from typing import Any

from amaranth.hdl import ClockDomain, Module
from amaranth.sim import Simulator

__all__ = ["Process", "Simulation", "clocked", "made", "simulate"]

Process = Callable[[Any], Awaitable[None]]
"""A test bench of Amaranth's simulator: an async function that takes (ctx)."""


@functools.lru_cache(maxsize=24)
def made(make: Callable[..., Any], *arguments: Any, **options: Any) -> Any:
    """``make(*arguments, **options)``, the same block for all tests that ask for it; not for one that a test changes.

    Each simulation of it begins from the state after power-up.
    """
    return make(*arguments, **options)


class _Machine(Simulator):
    """A compiled block, and slots in which the benches of one use after another run."""

    def __init__(self, toplevel: Any, clock: tuple[float, bool] | None):
        super().__init__(toplevel)
        if clock is not None:
            self.add_clock(clock[0], if_exists=clock[1])
        self.clock, self.slots, self.used = clock, 0, False
        self.benches: list[tuple[Process, bool]] = []

    def use(self, benches: list[tuple[Process, bool]]) -> None:
        """Run the (bench, whether in the background) from the state after power-up."""
        if self.used:
            self.reset()
            self._running = False  # Amaranth's documents allow new benches after a reset; its 0.5.8 forgets this
        self.benches, self.used = benches, True
        while self.slots < len(benches):
            self.add_testbench(self._slot(self.slots), background=True)
            self.slots += 1
        self.run()

    def _slot(self, index: int) -> Process:
        async def run(ctx):
            if index < len(self.benches):
                bench, background = self.benches[index]
                with contextlib.nullcontext() if background else ctx.critical():
                    await bench(ctx)

        return run


class Simulation:
    """A simulation of a block with a watchdog: a run that is not over after ``cycles`` of its clock fails.

    The block keeps what is compiled, for its next simulation.
    """

    def __init__(self, toplevel: Any, *, cycles: int = 200_000):
        self.toplevel, self.cycles, self.count = toplevel, cycles, 0
        self.benches: list[tuple[Process, bool]] = [(self._watch, True)]
        self.clock: tuple[float, bool] | None = None

    def add_clock(self, period: float, *, if_exists: bool = False) -> None:
        self.clock = period, if_exists

    def add_testbench(self, bench: Process, *, background: bool = False) -> None:
        self.benches.append((bench, background))

    def run(self) -> None:
        # In the block's own attributes: a transformed block also shows those of the block in it.
        kept = vars(self.toplevel)
        machine = kept.pop("_machine", None)
        if machine is None or machine.clock != self.clock:
            machine = _Machine(self.toplevel, self.clock)
        machine.use(self.benches)
        kept["_machine"] = machine  # not after an error, which leaves benches that have not begun

    async def _watch(self, ctx):
        try:
            tick = ctx.tick()
        except NameError:  # a combinational block has no clock, and its bench does not wait
            return
        while self.count < self.cycles:
            await tick
            self.count += 1
        raise AssertionError(f"watchdog: not over after {self.cycles} cycles")


def simulate(dut: Any, bench: Process, *background: Process, cycles: int, clock_hz: float = 1e6) -> int:
    """Run ``bench`` beside the ``background``; fails if it is not over after ``cycles``. Returns the cycles it took."""
    simulation = Simulation(dut, cycles=cycles)
    simulation.add_clock(1 / clock_hz)
    for process in background:
        simulation.add_testbench(process, background=True)
    simulation.add_testbench(bench)
    simulation.run()
    return simulation.count


def clocked(dut: Any) -> Module:
    """A combinational block beside a clock, for benches that wait by ticks."""
    m = Module()
    m.domains.sync = ClockDomain()
    m.submodules.dut = dut
    return m
