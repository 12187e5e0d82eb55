"""Blocks without streams, driven and watched cycle by cycle."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

from amaranth.hdl import ResetInserter, Signal, Value

from sim.common.packing import pack, unpack
from tests.bench.clocked import Clocked
from tests.bench.harness import simulate

__all__ = ["Cycles", "run_cycles"]


class Cycles:
    """Ports of a block as Python values; arrays of ports as lists."""

    def __init__(self, ctx: Any, dut: Any, reset: Signal):
        self.ctx, self.dut, self._reset = ctx, dut, reset

    def set(self, **values: Any) -> None:
        """Inputs by name; a stream's as ``name_valid``, ``name_ready``, ``name_payload``."""
        for name, value in values.items():
            self._set(self._port(name), value)

    def _port(self, name: str) -> Any:
        stem, _, end = name.rpartition("_")
        if end in ("valid", "ready", "payload") and hasattr(getattr(self.dut, stem, None), "payload"):
            return getattr(getattr(self.dut, stem), end)
        return getattr(self.dut, name)

    def _set(self, port: Any, value: Any) -> None:
        if isinstance(port, tuple | list):
            for inner, part in zip(port, value, strict=True):
                self._set(inner, part)
        else:
            self.ctx.set(Value.cast(port), pack(port.shape(), value))

    def get(self, name: str) -> Any:
        """An output as it is in this cycle, with the inputs that are set."""
        return self._get(self._port(name))

    def _get(self, port: Any) -> Any:
        if isinstance(port, tuple | list):
            return [self._get(inner) for inner in port]
        mask = (1 << len(Value.cast(port))) - 1
        return unpack(port.shape(), self.ctx.get(Value.cast(port)) & mask)

    async def tick(self, count: int = 1) -> None:
        for _ in range(count):
            await self.ctx.tick()

    async def reset(self) -> None:
        """A cycle of reset."""
        self.ctx.set(self._reset, 1)
        await self.ctx.tick()
        self.ctx.set(self._reset, 0)


def run_cycles(dut: Any, bench: Callable[[Cycles], Awaitable[None]], *, cycles: int = 5000) -> None:
    """Run ``bench``; fails if it is not over after ``cycles``."""
    reset = Signal()

    async def run(ctx):
        await bench(Cycles(ctx, dut, reset))

    simulate(ResetInserter(reset)(Clocked(dut)), run, cycles=cycles)
