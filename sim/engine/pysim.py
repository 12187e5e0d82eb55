"""Engine on Amaranth's own simulator: needs no compiler; slow, and cycle for cycle equal to the Verilator engine."""

from __future__ import annotations

import contextlib
from collections import deque
from collections.abc import Callable
from typing import Any

import numpy as np
from amaranth.hdl import Value
from amaranth.sim import Simulator

from hdl import verilog
from hdl.spec.config import Config
from sim.common.packing import unpack
from sim.engine.hbm2 import HBM2Channel
from sim.engine.stream_engine import RawRun, StreamEngine
from sim.engine.timing import (
    SALT_CHANNEL,
    SALT_HEAD,
    SALT_ID,
    SALT_JOB,
    SALT_LAYER,
    SALT_OUT,
    SALT_PROB,
    SALT_STATUS,
    SALT_SURVIVOR,
    MemoryTiming,
    stall_threshold,
    willing,
)
from sim.transport.complete import open_selections
from sim.transport.memory import MemoryImage
from sim.transport.pack import HOST_STREAMS
from sim.transport.words import to_words, word_count

__all__ = ["PysimEngine"]


class _IdealChannel:
    """Fixed latency, a word each cycle, random stalls; the same rules as ``IdealChannel`` in sim/engine/harness.cpp."""

    def __init__(self, timing: MemoryTiming, channel: int):
        self.timing = timing
        self.latency = timing.channel_latency(channel)
        self.threshold = stall_threshold(timing.stall)
        self.salt = SALT_CHANNEL + 2 * channel
        self.pending: deque[tuple[int, int]] = deque()
        self.offered = False

    def advance(self, cycle: int) -> None:
        """Time needs nothing else."""

    def takes_request(self, cycle: int) -> bool:
        return len(self.pending) < self.timing.depth and willing(self.timing.seed, self.salt, cycle, self.threshold)

    def offers_response(self, cycle: int) -> bool:
        if not self.offered and self.pending and self.pending[0][1] <= cycle:
            self.offered = willing(self.timing.seed, self.salt + 1, cycle, self.threshold)
        return self.offered

    def response_address(self) -> int:
        return self.pending[0][0]

    def response_taken(self) -> None:
        self.pending.popleft()
        self.offered = False

    def request(self, cycle: int, address: int) -> None:
        self.pending.append((address, cycle + self.latency))


class _Memory:
    """Words of one channel, and the timing of its port."""

    def __init__(self, channel: _IdealChannel | HBM2Channel, words: list[int], window: range):
        self.channel = channel
        self.words = words
        self.window = window
        self.addresses: list[int] = []
        """of the words read"""
        self.fault: int | None = None
        self.offered = False

    def offers_response(self, cycle: int) -> bool:
        self.offered = self.channel.offers_response(cycle)
        return self.offered

    def response_word(self) -> int:
        address = self.channel.response_address()
        return self.words[address] if address < len(self.words) else 0

    def request(self, cycle: int, address: int) -> None:
        self.channel.request(cycle, address)
        self.addresses.append(address)
        if address not in self.window and self.fault is None:
            self.fault = address


class _Source:
    """Items that the host sends; valid stays up until the item is taken."""

    def __init__(self, port: Any, items: list[int], salt: int):
        self.port, self.items, self.salt = port, deque(items), salt
        self.offered = False

    def offers(self, willing_now: bool) -> bool:
        self.offered = self.offered or (bool(self.items) and willing_now)
        return self.offered

    def taken(self) -> None:
        self.items.popleft()
        self.offered = False


class _Sink:
    def __init__(self, port: Any, salt: int):
        self.port, self.salt = port, salt
        self.items: list[int] = []
        self.cycles: list[int] = []

    def words(self) -> np.ndarray:
        width = len(Value.cast(self.port.payload))
        rows = [to_words(item, width) for item in self.items]
        return np.stack(rows) if rows else np.zeros((0, word_count(width)), dtype="<u4")


class _Run:
    """One run: host and memory of the top."""

    def __init__(self, engine: PysimEngine, top: Any, image: MemoryImage, items: dict[str, np.ndarray], expected: int):
        self.engine, self.image, self.top, self.expected = engine, image, top, expected
        self.layers = items["layer"]
        self.seed, self.threshold = engine.timing.seed, stall_threshold(engine.timing.host_stall)
        self.sources = [
            _Source(getattr(top, name), [int.from_bytes(row.tobytes(), "little") for row in items[name]], salt)
            for name, salt in zip(HOST_STREAMS, (SALT_JOB, SALT_LAYER, SALT_HEAD, SALT_ID), strict=True)
        ]
        self.out, self.prob = _Sink(top.out, SALT_OUT), _Sink(top.prob, SALT_PROB)
        self.status, self.survivor = _Sink(top.status, SALT_STATUS), _Sink(top.survivor, SALT_SURVIVOR)
        self.sinks = (self.status, self.out, self.prob, self.survivor)
        self.memories = [
            _Memory(self._channel(index), self._memory_words(words), range(image.base, image.limit))
            for index, words in enumerate(image.channels())
        ]
        self.counters: dict[str, int] = {}
        self.cycle = self.last_transfer = 0

    def _channel(self, index: int) -> _IdealChannel | HBM2Channel:
        timing = self.engine.timing
        if timing.mode == "hbm2":
            return HBM2Channel(timing.hbm2_of(self.engine.config), index, self.engine.config.channel_width // 8)
        return _IdealChannel(timing, index)

    def _memory_words(self, words: np.ndarray) -> list[int]:
        size = self.engine.config.channel_width // 8
        raw = words.tobytes()
        return [int.from_bytes(raw[i : i + size], "little") for i in range(0, len(raw), size)]

    def _drive(self, ctx: Any) -> None:
        cycle = self.cycle
        for source in self.sources:
            offers = source.offers(willing(self.seed, source.salt, cycle, self.threshold))
            ctx.set(source.port.valid, offers)
            if offers:
                ctx.set(Value.cast(source.port.payload), source.items[0])
        for sink in self.sinks:
            ctx.set(sink.port.ready, willing(self.seed, sink.salt, cycle, self.threshold))
        for index, memory in enumerate(self.memories):
            port = self.top.memory[index]
            memory.channel.advance(cycle)
            ctx.set(port.request.ready, memory.channel.takes_request(cycle))
            offers = memory.offers_response(cycle)
            ctx.set(port.response.valid, offers)
            if offers:
                ctx.set(Value.cast(port.response.payload), memory.response_word())

    def _observe(self, ctx: Any) -> None:
        moved = False
        for source in self.sources:
            if source.offered and ctx.get(source.port.ready):
                source.taken()
                moved = True
        for sink in self.sinks:
            if ctx.get(sink.port.valid) and ctx.get(sink.port.ready):
                sink.items.append(ctx.get(Value.cast(sink.port.payload)))
                sink.cycles.append(self.cycle)
                moved = True
        for index, memory in enumerate(self.memories):
            port = self.top.memory[index]
            if memory.offered and ctx.get(port.response.ready):
                memory.channel.response_taken()
                moved = True
            if ctx.get(port.request.valid) and ctx.get(port.request.ready):
                memory.request(self.cycle, ctx.get(port.request.payload))
                moved = True
        if moved:
            self.last_transfer = self.cycle

    async def _tick(self, ctx: Any) -> None:
        self._drive(ctx)
        self._observe(ctx)
        await ctx.tick()
        self.cycle += 1

    async def _rest(self, ctx: Any) -> None:
        """On until nothing moves for a while."""
        start = self.cycle - 1
        while self.cycle - max(start, self.last_transfer) <= self.engine._quiet:
            await self._tick(ctx)

    async def bench(self, ctx: Any, progress: Callable[[int, int], None] | None) -> None:
        engine = self.engine
        ctx.set(self.top.window_base, self.image.base)
        ctx.set(self.top.window_limit, self.image.limit)
        ctx.set(self.top.counters_clear, 1)
        await ctx.tick()
        ctx.set(self.top.counters_clear, 0)
        while len(self.status.items) < self.expected:
            if self.cycle >= engine.max_cycles:
                raise engine._too_long(len(self.status.items), self.expected)
            await self._tick(ctx)
            for index, memory in enumerate(self.memories):
                if memory.fault is not None:
                    raise engine._fault(index, memory.fault, self.image)
            if self.cycle - self.last_transfer > engine.watchdog:
                raise engine._stuck(len(self.status.items), self.expected, self.cycle)
            if progress and self.cycle % 1000 == 0:
                progress(len(self.status.items), self.cycle)
        await self._rest(ctx)
        while (
            selections := open_selections(engine.config, self.layers, self.status.words(), self.survivor.words())
        ) > 0:
            if self.cycle - self.last_transfer > engine.watchdog:
                raise engine._stuck(len(self.status.items), self.expected, self.cycle, selections)
            await self._rest(ctx)
        counters = self.top.counters
        self.counters = unpack(counters.shape(), ctx.get(Value.cast(counters)))

    def result(self) -> RawRun:
        return RawRun(
            out=self.out.words(),
            prob=self.prob.words(),
            status=self.status.words(),
            survivor=self.survivor.words(),
            status_cycles=self.status.cycles,
            counters=self.counters,
            words_read=[len(memory.addresses) for memory in self.memories],
            addresses=[np.array(memory.addresses, dtype="<u4") for memory in self.memories]
            if self.engine.record_addresses
            else None,
        )


class _Machine:
    """The compiled top, with a bench that waits for runs."""

    def __init__(self, top: Any):
        self.top = top
        self.simulator = Simulator(top)
        self.simulator.add_clock(1e-6)
        self.simulator.add_testbench(self._bench)
        self.run: _Run | None = None
        self.progress: Callable[[int, int], None] | None = None

    async def _bench(self, ctx: Any) -> None:
        while True:
            if self.run is None:
                await ctx.tick()
            else:
                await self.run.bench(ctx, self.progress)
                self.run = None

    def finish(self, run: _Run, progress: Callable[[int, int], None] | None) -> None:
        self.run, self.progress = run, progress
        while self.run is not None:
            self.simulator.advance()


class PysimEngine(StreamEngine):
    """:class:`sim.engine.engine.Engine` on Amaranth's simulator; ``trace`` writes a VCD. factory: makes the top."""

    name = "pysim"

    def __init__(self, config: Config, *, factory: Callable[[Config], Any] = verilog.top_of, **options: Any):
        super().__init__(config, **options)
        self.factory = factory
        self._stack = contextlib.ExitStack()
        self._machine: _Machine | None = None

    def close(self) -> None:
        self._stack.close()
        self._machine = None

    def _reset(self) -> _Machine:
        """The state after reset, of the same machine but for the waveforms of a run."""
        if self._machine is not None and not self.trace:
            self._machine.simulator.reset()
            return self._machine
        self.close()
        self._machine = _Machine(self.factory(self.config))
        if self.trace:
            self._stack.enter_context(self._machine.simulator.write_vcd(str(self.trace)))
        return self._machine

    def _simulate(self, image, items, expected, resume, progress):
        machine = self._machine if resume and self._machine is not None else self._reset()
        run = _Run(self, machine.top, image, items, expected)
        try:
            machine.finish(run, progress)
        except BaseException:
            self.close()  # the bench has ended: the next run begins from reset
            raise
        return run.result()
