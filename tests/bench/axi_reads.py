"""A memory on AXI4's read channels, for simulation, with the faults that a bus may have."""

from __future__ import annotations

import random
from collections import deque
from collections.abc import Callable, Mapping
from typing import Any

__all__ = ["FAULTS", "ReadMemory", "setter"]


def setter(ctx: Any) -> Callable[[Any, int], None]:
    """``ctx.set`` for a process whose signals nobody else sets: the simulator computes nothing for what stays."""
    held: dict[int, int] = {}

    def put(signal: Any, value: int) -> None:
        if held.get(id(signal)) != value:
            held[id(signal)] = value
            ctx.set(signal, value)

    return put


FAULTS = ("slverr", "decerr", "early", "late", "missing", "surplus", "silent")
"""What a burst may do: a beat with an error, RLAST a beat early (the rest is not given), one beat more (RLAST with it),
all beats but no RLAST, one beat more after RLAST; nothing, and then nothing more ever."""


class ReadMemory:
    """Answers the requests of a manager from ``contents`` (word number -> word), in their order.

    latency: cycles from a request to its first beat, at the least. stall: chance that a request is not taken, and that
    a beat is not given, in a cycle. depth: most requests taken and not over. lag: cycles between the beats of a burst
    and one too many, at the least. faults: number of a burst -> one of
    :data:`FAULTS`; "early" waits for a burst of more than one beat. Beats are given at most one a cycle, and stay until
    they are taken.

    Members
    -------
    taken : requests taken
    """

    def __init__(
        self,
        bus: Any,
        contents: Callable[[int], int],
        *,
        data_width: int,
        base: int = 0,
        latency: int = 1,
        stall: float = 0.0,
        depth: int = 10**9,
        faults: Mapping[int, str] | None = None,
        lag: int = 0,
        seed: int = 0,
    ):
        if latency < 1:
            raise ValueError(f"latency must be at least 1, not {latency!r}")
        self.bus, self.contents, self.bytes, self.base = bus, contents, data_width // 8, base
        self.latency, self.stall, self.depth, self.faults = latency, stall, depth, dict(faults or {})
        self.lag = lag
        self.rng = random.Random(f"{seed} reads")
        self.taken = 0
        self.silent = False

    def _beats(self, number: int, address: int, count: int) -> list[tuple[int, int, int]]:
        """(data, resp, last) of a burst."""
        first = (address - self.base) // self.bytes
        beats = [(self.contents(first + index), 0, int(index == count - 1)) for index in range(count)]
        fault, place = self.faults.get(number), self.rng.randrange(count)
        if fault in ("slverr", "decerr"):
            beats[place] = (0xBAD, 2 + (fault == "decerr"), beats[place][2])
        elif fault == "early" and count == 1:
            self.faults[number + 1] = fault
        elif fault == "early":
            place = self.rng.randrange(count - 1)
            beats = [*beats[:place], (beats[place][0], 0, 1)]
        elif fault == "late":
            beats = [*((data, 0, 0) for data, _, _ in beats), (0xBAD, 0, 1)]
        elif fault == "missing":
            beats = [(data, 0, 0) for data, _, _ in beats]
        elif fault == "surplus":
            beats.append((0xBAD, 0, 1))
        elif fault == "silent":
            self.silent = True
        return [] if self.silent else beats

    async def serve(self, ctx: Any) -> None:
        """A background process."""
        bus, willing = self.bus, lambda: not self.stall or self.rng.random() >= self.stall
        bursts: deque[tuple[int, deque[tuple[int, int, int]]]] = deque()
        cycle, giving, put = 0, False, setter(ctx)
        edge = ctx.tick().sample(bus.arvalid, bus.arready, bus.araddr, bus.arlen, bus.rready)
        while True:
            put(bus.arready, sum(bool(beats) for _, beats in bursts) < self.depth and willing())
            while bursts and not bursts[0][1]:
                bursts.popleft()
            giving = giving or bool(bursts and bursts[0][0] <= cycle and willing())
            if giving:
                data, resp, last = bursts[0][1][0]
                put(bus.rdata, data)
                put(bus.rresp, resp)
                put(bus.rlast, last)
            put(bus.rvalid, giving)
            _, _, valid, ready, address, beats, accepted = await edge
            cycle += 1
            if giving and accepted:
                bursts[0][1].popleft()
                giving = False
            if valid and ready:
                given, due = self._beats(self.taken, address, beats + 1), cycle + self.latency - 1
                bursts.append((due, deque(given[: beats + 1])))
                bursts.append((due + beats + 1 + self.lag, deque(given[beats + 1 :])))
                self.taken += 1
