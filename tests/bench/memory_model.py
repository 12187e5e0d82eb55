"""Memory channels for simulation, behind the same signature as real ones."""

from __future__ import annotations

import random
from collections import deque
from collections.abc import Callable, Sequence
from typing import Any

from hdl.spec.config import Config


class SimMemory:
    """Serve ``num_channels`` ports of MemoryPort from lists of words; each channel has a pace of its own.

    Parameters
    ----------
    contents : a list of words per channel; words beyond its end read as 0
    latency : cycles from a request to its response, at the least
    stall : chance that a request is not taken, and that a response is not given, in a cycle; with a chance of stall/50
        a channel pauses for 30 cycles, so that the channels fall out of step

    Members
    -------
    reads : addresses read, by channel, in order
    """

    def __init__(self, config: Config, contents: Sequence[Sequence[int]], *, latency=4, stall=0.0, seed=0):
        if len(contents) != config.num_channels:
            raise ValueError(f"contents must have {config.num_channels} channels, not {len(contents)}")
        if latency < 1:
            raise ValueError(f"latency must be at least 1, not {latency!r}")
        self.contents, self.latency, self.stall, self.seed = contents, latency, stall, seed
        self.reads: list[list[int]] = [[] for _ in contents]
        self._flushes = 0

    def flush(self) -> None:
        """Forget what has been requested, as a memory does that is reset with its reader."""
        self._flushes += 1

    def processes(self, ports: Sequence[Any]) -> list[Callable]:
        """A simulator test bench for each channel."""
        return [self._serve(channel, port) for channel, port in enumerate(ports)]

    def _serve(self, channel: int, port: Any) -> Callable:
        rng = random.Random(f"{self.seed} {channel}")
        words = self.contents[channel]
        stall = self.stall

        async def run(ctx):
            pending: deque[tuple[int, int]] = deque()
            cycle = pause = 0
            responding = False
            flushes = self._flushes
            while True:
                if flushes != self._flushes:
                    flushes, responding = self._flushes, False
                    pending.clear()
                pause = 30 if stall and rng.random() < stall / 50 else max(0, pause - 1)
                ctx.set(port.request.ready, not pause and (not stall or rng.random() >= stall))
                if not responding and pending and pending[0][0] <= cycle:
                    responding = not pause and (not stall or rng.random() >= stall)
                    if responding:
                        ctx.set(port.response.payload, pending[0][1])
                ctx.set(port.response.valid, responding)
                sampled = (port.request.valid, port.request.ready, port.request.payload, port.response.ready)
                _, _, valid, ready, address, accepted = await ctx.tick().sample(*sampled)
                cycle += 1
                if responding and accepted:
                    pending.popleft()
                    responding = False
                if valid and ready:
                    word = words[address] if address < len(words) else 0
                    pending.append((cycle + self.latency - 1, word))
                    self.reads[channel].append(address)

        return run
