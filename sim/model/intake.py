"""The way of a job in: the checker, the id lists on chip, the contexts."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from hdl.spec.config import Config
from sim.model.in_flight import InFlight
from sim.model.latencies import CHECK

__all__ = ["Intake"]


class Intake:
    """The checker reads a job and a new list, and waits for a context.

    status: (number of a job) -> when it is answered.
    """

    def __init__(self, config: Config, status: Callable[[int], float]):
        self.config, self._status = config, status
        self._free = 0.0
        self._lists: list[tuple[np.ndarray | None, int]] = [(None, -1), (None, -1)]
        """contents and last user of both id lists, the current one last"""

    def check(self, job: InFlight) -> float:
        """When the job is in."""
        index, ids = job.index, job.shape.ids
        if ids is not None:
            if ids is not self._lists[1][0]:
                _, user = self._lists.pop(0)
                if user >= 0:
                    self._free = max(self._free, self._status(user))
                self._free += self._list_cycles(ids)
                self._lists.append((ids, index))
            self._lists[1] = (ids, index)
        self._free += CHECK
        if index >= self.config.contexts:
            self._free = max(self._free, self._status(index - self.config.contexts) + 1)
        return self._free

    def _list_cycles(self, ids: np.ndarray) -> int:
        """Ids come ``lanes`` a beat; of a beat one a cycle goes to each channel's list."""
        channels = self.config.num_channels
        beats = [ids[first : first + self.config.lanes] for first in range(0, len(ids), self.config.lanes)]
        return sum(int(np.bincount(beat % channels).max()) for beat in beats)
