"""Bench of a memory between core and host: random traffic, and the words that each read may give."""

from __future__ import annotations

import random
from collections import deque
from collections.abc import Callable, Sequence
from typing import Any

from amaranth.hdl import Value

from tests.bench.harness import Simulation

WATCHDOG = 3000


class _Source:
    """Drives a stream's requests in turn; ``payloads`` are given once ``valid`` rose, held until taken."""

    def __init__(self, stream: Any, payloads: Sequence[int], willing: Callable[[], bool]):
        self.stream, self.left, self.willing = stream, deque(payloads), willing
        self.payload: int | None = None

    def drive(self, ctx: Any) -> None:
        if self.payload is None and self.left and self.willing():
            self.payload = self.left.popleft()
            ctx.set(Value.cast(self.stream.payload), self.payload)
        ctx.set(self.stream.valid, self.payload is not None)


class MemoryBench:
    """Runs a memory with ``core`` (addresses of each channel) and ``host`` accesses until all are answered.

    Every word read is compared: a read sees the writes that were taken before it; of a write taken in the same cycle it
    may see the word before or behind. Streams that drop ``valid`` or change a payload are failures, and so are idle and
    words_read that are not as they should be.
    """

    def __init__(self, memory: Any, settings: Any, *, contents: Sequence[Sequence[int]] | None = None):
        self.memory, self.settings, self.config = memory, settings, settings.core
        words = [0] * settings.memory_words
        self.contents = [list(channel) for channel in contents or [words] * self.config.num_channels]
        self.accepted: list[int] = []  # cycle of each response of channel 0
        self.cycle = 0

    def access(self, channel: int, address: int, word: int | None = None) -> int:
        """Bits of a host access; without ``word`` it is a read."""
        config = self.config
        bits = channel | address << config.channel_bits
        at = config.channel_bits + config.address_width
        return bits if word is None else bits | 1 << at | word << (at + 1)

    def run(
        self,
        top: Any,
        core: Sequence[Sequence[int]],
        host: Sequence[int] = (),
        *,
        stall: float = 0.0,
        host_stall: float = 0.0,
        seed: int = 0,
        check: Callable[[Any], None] = lambda ctx: None,
        start: Callable[[Any], bool] = lambda ctx: True,
        clock_hz: float = 1e6,
    ) -> int:
        """Cycles from ``start`` to the last answer."""
        rng = random.Random(seed)
        willing = lambda chance: lambda: chance == 0 or rng.random() >= chance  # noqa: E731
        memory, config = self.memory, self.config
        core_sources = [
            _Source(port.request, words, willing(stall)) for port, words in zip(memory.core, core, strict=True)
        ]
        host_source = _Source(memory.host.request, host, willing(host_stall))
        responses = [port.response for port in memory.core] + [memory.host.response]
        sources = [*core_sources, host_source]
        expected: list[deque[set[int]]] = [deque() for _ in responses]
        taken = [0] * config.num_channels
        held: list[int | None] = [None] * len(responses)
        result = {}

        def request(number: int, payload: int, written: tuple[int, int, int] | None) -> None:
            if number < config.num_channels:
                address = payload % self.settings.memory_words
                allowed = {self.contents[number][address]}
                if written and written[:2] == (number, address):
                    allowed.add(written[2])
                expected[number].append(allowed)

        def host_fields(payload: int) -> tuple[int, int, int | None]:
            channel = (payload & (1 << config.channel_bits) - 1) % config.num_channels
            payload >>= config.channel_bits
            address = (payload & (1 << config.address_width) - 1) % self.settings.memory_words
            payload >>= config.address_width
            return channel, address, payload >> 1 if payload & 1 else None

        async def bench(ctx):
            while not start(ctx):
                await ctx.tick()
            first = last = self.cycle
            signals = [memory.idle]
            for source in sources:
                signals.append(source.stream.ready)
            for response in responses:
                signals += [response.valid, response.payload]
            while any(source.left or source.payload is not None for source in sources) or any(expected):
                for source in sources:
                    source.drive(ctx)
                ready = [int(rng.random() >= stall) if stall else 1 for _ in core_sources]
                ready.append(int(not host_stall or rng.random() >= host_stall))
                for response, value in zip(responses, ready, strict=True):
                    ctx.set(response.ready, value)
                _, _, idle, *values = await ctx.tick().sample(*signals)
                self.cycle += 1
                check(ctx)
                assert bool(idle) == (not any(expected[:-1])), "idle: a request is in flight, or none is"
                for number, response_ready in enumerate(ready):
                    valid, payload = values[len(sources) + 2 * number : len(sources) + 2 * number + 2]
                    if held[number] is not None:
                        assert valid and payload == held[number], f"response {number} changed before it was taken"
                    held[number] = payload if valid and not response_ready else None
                    if valid and response_ready:
                        assert expected[number], f"response {number} without a request"
                        assert payload in expected[number].popleft(), f"response {number} at cycle {self.cycle}"
                        last = self.cycle
                        if number == 0:
                            self.accepted.append(self.cycle)
                        if number < config.num_channels:
                            taken[number] += 1
                written = None
                if host_source.payload is not None and values[len(sources) - 1]:
                    channel, address, word = host_fields(host_source.payload)
                    if word is None:
                        expected[-1].append({self.contents[channel][address]})
                    else:
                        written = (channel, address, word)
                    host_source.payload = None
                    last = self.cycle
                for number, source in enumerate(core_sources):
                    if source.payload is not None and values[number]:
                        request(number, source.payload, written)
                        source.payload = None
                if written:
                    self.contents[written[0]][written[1]] = written[2]
                assert self.cycle - last < WATCHDOG, f"watchdog: nothing was answered for {WATCHDOG} cycles"
            for source in sources:
                source.drive(ctx)
            await ctx.tick().repeat(3)
            read = ctx.get(Value.cast(memory.words_read))
            for number in range(config.num_channels):
                assert read >> (48 * number) & ((1 << 48) - 1) == taken[number], f"words_read of channel {number}"
            result["cycles"] = last - first

        simulator = Simulation(top)
        simulator.add_clock(1 / clock_hz)
        simulator.add_testbench(bench)
        simulator.run()
        return result["cycles"]
