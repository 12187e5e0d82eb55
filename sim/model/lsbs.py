"""The LSBs of K: loaded when a row turns out flat, in generation ahead of that."""

from __future__ import annotations

from collections import deque

from sim.model.in_flight import InFlight
from sim.model.latencies import COMMAND
from sim.model.memory import Memory
from sim.model.sizes import Sizes

__all__ = ["Lsbs"]


class Lsbs:
    """Loads of LSB planes, and what was decided of the generation rows before."""

    def __init__(self, sizes: Sizes, memory: Memory):
        self.sizes, self.memory = sizes, memory
        self._decisions: deque[tuple[float, bool]] = deque()
        """when first passes of generation rows were decided, and whether they were flat"""

    def load(self, job: InFlight, start: float) -> None:
        """LSBs of the rows of K that the job has."""
        shape, sizes, memory = job.shape, self.sizes, self.memory
        demand = memory.planes.of_keys(shape, shape.dim * shape.key_lsb_bits, sizes.config.slices(shape.dim))
        start = max(start + 2, memory.free("key_lsb")) + COMMAND
        job.lsb_last = memory.urgent("key_lsb", start, demand) + sizes.latency + sizes.delays.fetch + 1
        memory.flies("key_lsb", job.lsb_last)

    def load_ahead(self, job: InFlight, read: float, decided: float) -> None:
        """In generation LSBs come before the row is decided if at any time since it was read the last one was flat."""
        decisions = self._decisions
        while len(decisions) > 1 and decisions[1][0] <= read:
            decisions.popleft()
        start = next((max(time, read) for time, flat in decisions if flat and time < decided), None)
        if start is not None:
            self.load(job, start)
        decisions.append((decided, job.shape.flat_rows > 0))
