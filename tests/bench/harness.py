"""Stream test bench: random stalls on every port, protocol monitor, watchdog.

Tests know no latencies: they give the items of the input streams and the number of items expected of each output.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from typing import Any

from amaranth.hdl import Value
from amaranth.sim import Simulator

from sim.common.packing import pack, unpack


class ProtocolError(AssertionError):
    """A stream dropped valid, or changed its payload, before it was accepted."""


def run_streams(
    dut: Any,
    inputs: dict[str, Sequence[Any]],
    outputs: dict[str, int],
    *,
    stall: float = 0.3,
    seed: int = 0,
    watchdog: int = 2000,
    processes: Sequence[Callable] = (),
    setup: dict[str, int] | None = None,
    settle: int = 20,
) -> tuple[dict[str, list[Any]], int]:
    """Drive ``inputs`` (by port name, Python values), collect ``outputs``; returns (items by port, last cycle).

    stall: chance that a side is not willing in a cycle (0 for full speed). watchdog: most cycles without any transfer.
    processes: further simulator test benches, run in the background (memories, buffers); they take (ctx).
    settle: cycles watched after the last expected item, so that a surplus item is seen.
    """
    rng = random.Random(seed)
    results: dict[str, list[Any]] = {name: [] for name in outputs}
    state = {"last_transfer": 0, "cycle": 0, "last_item": 0}
    sim = Simulator(dut)
    sim.add_clock(1e-6)

    def willing() -> bool:
        return stall == 0 or rng.random() >= stall

    def port(name: str) -> Any:
        target = dut
        for part in name.split("."):
            target = target[int(part)] if part.isdigit() else getattr(target, part)
        return target

    def driver(name: str, items: Sequence[Any]):
        stream = port(name)
        words = [pack(stream.payload.shape(), item) for item in items]

        async def run(ctx):
            for word in words:
                while not willing():
                    await ctx.tick()
                ctx.set(Value.cast(stream.payload), word)
                ctx.set(stream.valid, 1)
                await ctx.tick().until(stream.ready)
                ctx.set(stream.valid, 0)
                state["last_transfer"] = state["cycle"]

        return run

    def collector(name: str):
        stream = port(name)
        shape = stream.payload.shape()

        async def run(ctx):
            held = None
            while True:
                ready = willing()
                ctx.set(stream.ready, ready)
                _, _, valid, word = await ctx.tick().sample(stream.valid, Value.cast(stream.payload))
                if held is not None and not valid:
                    raise ProtocolError(f"{name}: valid fell before ready")
                if held is not None and word != held:
                    raise ProtocolError(f"{name}: payload changed before ready")
                held = word if valid and not ready else None
                if valid and ready:
                    results[name].append(unpack(shape, word))
                    state["last_transfer"] = state["last_item"] = state["cycle"]

        return run

    async def supervisor(ctx):
        for name, value in (setup or {}).items():
            ctx.set(port(name), value)
        left = settle
        while left:
            await ctx.tick()
            state["cycle"] += 1
            done = all(len(results[name]) >= count for name, count in outputs.items())
            left -= done
            if not done and state["cycle"] - state["last_transfer"] > watchdog:
                counts = {name: f"{len(results[name])}/{count}" for name, count in outputs.items()}
                raise AssertionError(f"watchdog: no transfer for {watchdog} cycles; outputs {counts}")

    for name, items in inputs.items():
        sim.add_testbench(driver(name, items), background=True)
    for name in outputs:
        sim.add_testbench(collector(name), background=True)
    for process in processes:
        sim.add_testbench(process, background=True)
    sim.add_testbench(supervisor)
    sim.run()
    for name, count in outputs.items():
        assert len(results[name]) == count, f"{name}: {len(results[name])} items, expected {count}"
    return results, state["last_item"]
