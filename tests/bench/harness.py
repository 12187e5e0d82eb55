"""Test bench of all blocks: watchdog, random stalls on every port, protocol monitor, reset in mid-stream.

Tests know no latencies: they give the items of the input streams and the number of items expected of each output.
"""

from __future__ import annotations

import contextlib
import random
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from amaranth.hdl import Const, ResetInserter, Signal, Value
from amaranth.lib.wiring import In

from sim.common.packing import pack, unpack
from tests.bench.simulation import Process, Simulation, clocked, made, simulate

__all__ = [
    "ProtocolError",
    "Simulation",
    "check_reset",
    "check_stream_reset",
    "clocked",
    "give",
    "made",
    "monitor",
    "run_streams",
    "see",
    "simulate",
    "take",
    "wait",
]


class ProtocolError(AssertionError):
    """A stream dropped valid or changed its payload before it was accepted, or waited for ready to become valid."""


# Steps of test benches. They wait by plain ticks: those may also be cut off at the end of a simulation. ----------


async def wait(ctx, cycles):
    for _ in range(cycles):
        await ctx.tick()


async def give(ctx, stream, payload):
    """One item into a stream."""
    ctx.set(stream.payload, payload)
    ctx.set(stream.valid, 1)
    ready = 0
    while not ready:
        _, _, ready = await ctx.tick().sample(stream.ready)
    ctx.set(stream.valid, 0)


async def see(ctx, stream):
    """The bits of the item on offer, after the cycle in which it was first there; it is not taken."""
    valid = 0
    while not valid:
        _, _, valid, bits = await ctx.tick().sample(stream.valid, Value.cast(stream.payload))
    return bits


async def take(ctx, stream):
    """The bits of an item out of a stream."""
    ctx.set(stream.ready, 1)
    bits = await see(ctx, stream)
    ctx.set(stream.ready, 0)
    return bits


def monitor(stream: Any, name: str) -> Process:
    """A background process that watches a stream which others drive: ``valid`` and payload hold until ``ready``."""

    async def run(ctx):
        held = None
        while True:
            signals = stream.valid, stream.ready, Value.cast(stream.payload)
            _, _, valid, ready, word = await ctx.tick().sample(*signals)
            if held is not None and not valid:
                raise ProtocolError(f"{name}: valid fell before ready")
            if held is not None and word != held:
                raise ProtocolError(f"{name}: payload changed before ready")
            held = word if valid and not ready else None

    return run


# Resets --------------------------------------------------------------------------------------------------------


def check_reset(
    make: Callable[[], Any],
    prepare: Callable[[Any], tuple[Process, Sequence[Process], Any]],
    *,
    cycles: int,
    resets: int = 4,
    seed: int = 0,
) -> None:
    """Reset a block in mid-stream: used again, it must do what a fresh block does.

    ``make()`` gives a block. ``prepare(dut)`` gives one use of it: a bench, the processes beside it, and an
    object that they fill with results. Each of ``resets`` simulations cuts a use off in a random cycle, resets the
    block for a cycle with its inputs at their initial values, and uses it once more with what ``prepare`` gives then;
    the results must be those after power-up. Put cycle numbers into the results, counted from the bench's first
    cycle, to compare timing too. ``cycles``: most cycles of a use.

    ::

        def prepare(dut):
            items = []

            async def bench(ctx):
                await give(ctx, dut.i, 5)
                items.append(await take(ctx, dut.o))

            return bench, [], items

        check_reset(lambda: StreamQueue(8, depth=4), prepare, cycles=100)
    """
    rng = random.Random(seed)
    dut, reset = make(), Signal()
    top = ResetInserter(reset)(dut)
    bench, background, expected = prepare(dut)
    length = simulate(top, bench, *background, cycles=cycles)
    assert expected, "a use without results shows nothing"
    for at in sorted(rng.sample(range(1, length), min(resets, length - 1))):
        results = _use_twice(dut, top, reset, prepare, at, cycles)
        assert results == expected, f"after a reset in cycle {at}: {results}, of a fresh block {expected}"


def _use_twice(dut: Any, top: Any, reset: Signal, prepare: Callable, at: int, cycles: int) -> Any:
    """Results of the second use of ``dut``, the first of which ends with a reset after ``at`` cycles."""
    phase = {"reset": False, "again": False}
    first, first_background, _ = prepare(dut)
    second, second_background, results = prepare(dut)

    async def control(ctx):
        await wait(ctx, at)
        phase["reset"] = True
        ctx.set(reset, 1)
        for _, member, port in dut.signature.flatten(dut):
            if member.flow == In and not isinstance(Value.cast(port), Const):
                ctx.set(Value.cast(port), Value.cast(port).init)
        await ctx.tick()
        ctx.set(reset, 0)
        phase["again"] = True

    def before(process):
        async def run(ctx):
            await _Until(process(ctx), lambda: phase["reset"])

        return run

    def after(process):
        async def run(ctx):
            while not phase["again"]:
                await ctx.tick()
            await process(ctx)

        return run

    processes = [control, before(first), *map(before, first_background), *map(after, second_background)]
    simulate(top, after(second), *processes, cycles=at + 1 + cycles)
    return results


class _Until:
    """Awaits a process until it is over or, asked whenever it would go on, ``stopped()``."""

    def __init__(self, process: Any, stopped: Callable[[], bool]):
        self.process, self.stopped = process, stopped

    def __await__(self):
        value = None
        while not self.stopped():
            try:
                trigger = self.process.send(value)
            except StopIteration:
                return
            value = yield trigger
        with contextlib.suppress(RuntimeError):  # raised if it waits in until() or repeat(), and over then too
            self.process.close()


# Streams ---------------------------------------------------------------------------------------------------------


def run_streams(
    dut: Any,
    inputs: Mapping[str, Sequence[Any]],
    outputs: Mapping[str, int],
    *,
    stall: float = 0.3,
    seed: int | float = 0,
    watchdog: int = 2000,
    processes: Sequence[Process] = (),
    setup: Mapping[str, int] | None = None,
    settle: int = 20,
    shy: float | None = None,
) -> tuple[dict[str, list[Any]], int]:
    """Drive ``inputs`` (by port name, Python values), collect ``outputs``; returns (items by port, last cycle).

    stall: chance that a side is not willing in a cycle (0 for full speed). watchdog: most cycles without any transfer.
    processes: further simulator test benches, run in the background (memories, buffers); they take (ctx).
    settle: cycles watched after the last expected item, so that a surplus item is seen.
    shy: chance that an item's consumer is not ready before it has seen ``valid``, which must not wait for it; if not
    given it is 0 at full speed, else for some outputs 1 and for the others 0.3.
    """
    bench = _Streams(
        dut, inputs, outputs, stall=stall, seed=seed, watchdog=watchdog, setup=setup, settle=settle, shy=shy
    )
    simulation = Simulation(dut)
    simulation.add_clock(1e-6)
    for process in (*bench.processes(), *processes):
        simulation.add_testbench(process, background=True)
    simulation.add_testbench(bench.supervise)
    simulation.run()
    for name, count in outputs.items():
        assert len(bench.results[name]) == count, f"{name}: {len(bench.results[name])} items, expected {count}"
    return {name: [item for _, item in items] for name, items in bench.results.items()}, bench.last_item


def check_stream_reset(
    make: Callable[[], Any],
    inputs: Mapping[str, Sequence[Any]],
    outputs: Mapping[str, int],
    *,
    processes: Callable[[Any], Iterable[Process]] = lambda dut: (),
    stall: float = 0.3,
    seed: int = 0,
    resets: int = 4,
    cycles: int = 50_000,
    view: Callable[[Any], Any] = lambda item: item,
    **options: Any,
) -> None:
    """:func:`check_reset` for a block of streams: driven again, every item comes in the cycle of a fresh block's.

    ``make()`` gives a fresh block, ``processes(dut)`` what runs beside it, made anew for each use; ``view`` of an item
    of an output is what is defined of it. The others are as in :func:`run_streams`.
    """

    def prepare(dut):
        bench = _Streams(dut, inputs, outputs, stall=stall, seed=seed, **options)

        async def run(ctx):
            await bench.supervise(ctx)
            for name, items in bench.results.items():
                bench.results[name] = [(cycle, view(item)) for cycle, item in items]

        return run, [*bench.processes(), *processes(dut)], bench.results

    check_reset(make, prepare, cycles=cycles, resets=resets, seed=seed)


class _Streams:
    """Drivers and collectors of a block's streams for one use; ``results`` has (cycle, item) by output."""

    def __init__(self, dut, inputs, outputs, *, stall, seed, watchdog=2000, setup=None, settle=20, shy=None):
        self.dut, self.inputs, self.outputs = dut, inputs, outputs
        self.stall, self.watchdog, self.setup, self.settle, self.shy = stall, watchdog, setup or {}, settle, shy
        self.rng, self.seed = random.Random(seed), seed
        self.results: dict[str, list[tuple[int, Any]]] = {name: [] for name in outputs}
        self.cycle = self.last_transfer = self.last_item = 0
        self.waiting: set[str] = set()  # outputs whose consumer waits for valid
        self.forced = False  # all consumers are ready: does that help?

    def processes(self) -> list[Process]:
        drivers = [self._driver(name, items) for name, items in self.inputs.items()]
        return drivers + [self._collector(name) for name in self.outputs]

    def willing(self) -> bool:
        return self.stall == 0 or self.rng.random() >= self.stall

    def port(self, name: str) -> Any:
        target = self.dut
        for part in name.split("."):
            target = target[int(part)] if part.isdigit() else getattr(target, part)
        return target

    def _driver(self, name: str, items: Sequence[Any]) -> Process:
        stream = self.port(name)
        words = [pack(stream.payload.shape(), item) for item in items]

        async def run(ctx):
            for word in words:
                while not self.willing():
                    await ctx.tick()
                ctx.set(Value.cast(stream.payload), word)
                ctx.set(stream.valid, 1)
                ready = 0
                while not ready:
                    _, _, ready = await ctx.tick().sample(stream.ready)
                ctx.set(stream.valid, 0)
                self.last_transfer = self.cycle

        return run

    def _collector(self, name: str) -> Process:
        stream = self.port(name)
        shape = stream.payload.shape()
        rng = random.Random(f"{self.seed} {name}")
        chance = self.shy
        if chance is None:
            chance = 0 if self.stall == 0 else rng.choice([1, 0.3, 0.3])
        always = isinstance(Value.cast(stream.ready), Const)
        if always:
            chance = 0

        async def run(ctx):
            held, shy = None, rng.random() < chance
            while True:
                (self.waiting.add if shy else self.waiting.discard)(name)
                ready = always or (self.willing() and not shy) or self.forced
                if not always:
                    ctx.set(stream.ready, ready)
                _, _, valid, word = await ctx.tick().sample(stream.valid, Value.cast(stream.payload))
                if held is not None and not valid:
                    raise ProtocolError(f"{name}: valid fell before ready")
                if held is not None and word != held:
                    raise ProtocolError(f"{name}: payload changed before ready")
                if valid and shy and self.forced:
                    raise ProtocolError(f"{name}: valid waits for ready")
                held = word if valid and not ready else None
                shy = shy and not valid
                if valid and ready:
                    self.results[name].append((self.cycle, unpack(shape, word)))
                    self.last_transfer = self.last_item = self.cycle
                    shy = rng.random() < chance

        return run

    async def supervise(self, ctx):
        """Over when all items have come, and ``settle`` cycles after that."""
        for name, value in self.setup.items():
            ctx.set(self.port(name), value)
        left = self.settle
        while left:
            await ctx.tick()
            self.cycle += 1
            done = all(len(self.results[name]) >= count for name, count in self.outputs.items())
            left -= done
            if not done and self.cycle - self.last_transfer > self.watchdog:
                await self._give_up(ctx)

    async def _give_up(self, ctx):
        counts = {name: f"{len(self.results[name])}/{count}" for name, count in self.outputs.items()}
        self.forced = bool(self.waiting)
        await wait(ctx, 50)  # a collector raises an error if an item comes as soon as its consumer is ready
        raise AssertionError(f"watchdog: no transfer for {self.watchdog} cycles; outputs {counts}")
