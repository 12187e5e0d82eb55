"""Loads and fetches: what the Fetcher asks of the channels, and when the rows can be read on chip."""

from __future__ import annotations

from collections import deque

from sim.model.channels import Channels, Demand, Planes
from sim.model.latencies import COMMAND, LSB_LOADS
from sim.model.sizes import Sizes

__all__ = ["Memory"]


class Memory:
    """Channels, the loads in flight and the banks of the buffers; words are counted in ``work``."""

    def __init__(self, sizes: Sizes, work: dict[str, float]):
        config = sizes.config
        self.sizes, self._work = sizes, work
        self.planes, self._channels = Planes(config, sizes.period), Channels(config)
        self._loads = {kind: deque([0.0] * config.loads) for kind in ("query", "key", "value")}
        self._loads["key_lsb"] = deque([0.0] * LSB_LOADS)
        """end of the last loads of a kind, of which so many can be in flight"""
        self._banks = {"key": 0.0, "value": 0.0}

    def free(self, kind: str) -> float:
        """When one more load of a kind can be in flight; it takes that place."""
        return self._loads[kind].popleft()

    def flies(self, kind: str, end: float) -> None:
        """The load that took a place ends then."""
        self._loads[kind].append(end)

    def bulk(self, kind: str, command: float, demand: Demand, slices: int, banks: int) -> tuple[float, float]:
        """When the first and the last row of a load can be read: limited by the channels, and by the buffer's banks."""
        begin, end = self._channels.load(command + COMMAND, demand.cycles)
        self._work[f"{kind}_words"] += demand.words
        delay, used = self.sizes.latency + self.sizes.delays.fetch, demand.cycles > 0
        first = float(begin[used].max()) + 1
        self._banks[kind] = max(self._banks[kind], first) + slices / banks
        last = max(float(end[used].max()), self._banks[kind])
        self.flies(kind, last + delay)
        return first + delay, last + delay

    def urgent(self, kind: str, start: float, demand: Demand) -> float:
        """Last request of rows that go before loads."""
        self._work[f"{kind}_words"] += demand.words
        return self._channels.fetch(start, demand.cycles)
