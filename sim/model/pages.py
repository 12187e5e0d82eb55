"""The pages of a buffer: runs of them are regions, taken next fit."""

from __future__ import annotations

import math

import numpy as np

__all__ = ["Pages"]


class Pages:
    """Runs of pages, next fit, each page free from some time on."""

    def __init__(self, pages: int, page_slots: int):
        self.free = np.zeros(pages)
        self.page_slots = page_slots
        self._next = 0

    def take(self, slots: int, now: float) -> tuple[float, slice] | None:
        """When the region is there, and its pages, which are taken for an unknown time; None: never so far."""
        count = max(1, -(-slots // self.page_slots))
        if count > len(self.free):
            raise ValueError(f"a region of {slots} slices does not fit {len(self.free)} pages of {self.page_slots}")
        runs, covered = self.free, 1
        while covered < count:
            step = min(covered, count - covered)
            runs, covered = np.maximum(runs[:-step], runs[step:]), covered + step
        turn = min(self._next, len(runs) - 1)
        times = np.maximum(np.concatenate([runs[turn:], runs[:turn]]), now)
        best = int(times.argmin())
        time = float(times[best])
        if math.isinf(time):
            return None
        first = (best + turn) % len(runs)
        region = slice(first, first + count)
        self.free[region] = math.inf
        self._next = (first + count) % len(self.free)
        return time, region

    def give(self, region: slice, time: float) -> None:
        self.free[region] = time
