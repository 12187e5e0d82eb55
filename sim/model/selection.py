"""The top-k engines: when the thresholds of the rows of a pass are there."""

from __future__ import annotations

import dataclasses
import functools
import math
import random

from golden.datapath.topk import quick_select_cycles
from hdl.qk.qk_multiply import QKMultiply
from sim.model.in_flight import Pass
from sim.model.latencies import ENGINE_AHEAD, ENGINE_LINES, ENGINE_SORT, TAP
from sim.model.shape import Shape
from sim.model.sizes import Sizes

__all__ = ["Selection", "topk_cycles"]


@dataclasses.dataclass(frozen=True, kw_only=True)
class _Row:
    """Cycles of a row of mean length in an engine."""

    keys: int
    cycles: float
    """from its first line to its threshold, if lines come as fast as the engine takes them"""
    full: int
    """in which the engine takes its lines"""
    missing: float
    """in which lines come that the queue does not hold yet when the engine begins"""
    rest: float
    """from its last line to its threshold"""

    @property
    def load(self) -> float:
        return max(self.full, self.missing)

    @property
    def busy(self) -> float:
        return self.cycles - self.full + self.load - ENGINE_AHEAD


class Selection:
    """Quick-select engines, which take rows in turn; their cycles at work are counted in ``work``."""

    def __init__(self, sizes: Sizes, parallelism: int, work: dict[str, float]):
        self.sizes, self.parallelism, self._work = sizes, parallelism, work
        self._tap = sizes.delays.score + TAP
        self._places = QKMultiply.places_of(sizes.config)
        """lines of scores that wait at the output of Q×K"""
        self._free = [0.0] * sizes.config.num_topk_engines
        """when each engine can take a row"""
        self._loaded = [0.0] * sizes.config.num_topk_engines
        """when each engine has the last line of its row"""
        self._next = 0

    def select(self, rows: Pass, begin: float, end: float) -> tuple[float, float, float]:
        """First and last threshold of a pass that Q×K works on from ``begin`` to ``end``, and when Q×K really ends if
        it must wait for the engines."""
        shape = rows.job.shape
        pruned = shape.lengths[shape.lengths > shape.value_keep]
        if not len(pruned):
            return 0.0, 0.0, end
        number = max(1.0, len(pruned) * rows.rows / shape.rows)
        row = self._row(shape, int(pruned.mean()))
        self._work["topk_busy"] += number * row.busy
        if rows.rows == 1:
            return self._one(row, begin, end)
        return self._many(row, rows, number, begin, end)

    def _row(self, shape: Shape, keys: int) -> _Row:
        per_line = self.sizes.config.scores_per_line(shape.dim)
        lines = -(-keys // per_line) * self.sizes.config.beats(shape.dim)
        full = -(-keys // self.parallelism)
        cycles = topk_cycles(keys, shape.value_keep, self.parallelism)
        return _Row(
            keys=keys,
            cycles=cycles,
            full=full,
            # Of a row that comes while the engine is at work, as much as its queue holds is there when it begins.
            missing=lines - ENGINE_LINES * self.parallelism / per_line,
            # If lines come slower than the engine takes them, the first ones are sorted when the last one comes.
            rest=cycles - full - ENGINE_SORT * (lines > full),
        )

    def _one(self, row: _Row, begin: float, end: float) -> tuple[float, float, float]:
        """A single row, which goes to the next engine."""
        engine, tap = self._next, self._tap
        free = self._free[engine]
        arrived = max(end + tap, free + row.load)
        found = max(max(begin + tap, free) + row.cycles, arrived + row.rest)
        taken = max(self._loaded[engine], free + max(row.full - ENGINE_LINES, row.missing))
        self._free[engine] = found - ENGINE_AHEAD
        self._loaded[engine] = arrived
        self._next = (engine + 1) % len(self._free)
        return found, found, max(end, taken - tap - self._places)

    def _many(self, row: _Row, rows: Pass, number: float, begin: float, end: float) -> tuple[float, float, float]:
        """``number`` rows on all engines."""
        shape, tap, count = rows.job.shape, self._tap, len(self._free)
        per_line = self.sizes.config.scores_per_line(shape.dim)
        # A line that ends a row and begins the next takes two cycles if both are pruned.
        shared = self.sizes.packs(shape) * (1 - math.gcd(row.keys, per_line) / per_line)
        end = max(end, begin + rows.lines + number * shared)
        first = max(begin + tap, self._free[self._next]) + row.cycles
        last = max(first + (number - 1) * row.busy / count, end + tap + row.rest)
        taken = last - row.rest - row.load + max(row.full - ENGINE_LINES, row.missing, row.load - row.busy)
        self._free = [last - ENGINE_AHEAD - (count - 1 - place) * row.busy / count for place in range(count)]
        self._loaded = [time - row.rest for time in self._free]
        self._next = 0
        return first, last, max(end, taken - tap - self._places)


def topk_cycles(keys: int, keep: int, parallelism: int) -> float:
    """Cycles of a quick-select engine from a row's first line to its threshold, for normal scores: a mean."""
    step = 1 << max(0, keys.bit_length() - 6)  # neighbouring lengths share a mean
    rounded = max(1, round(keys / step)) * step
    return _topk_mean(rounded, max(1, round(keep * rounded / keys)), parallelism)


@functools.lru_cache(maxsize=4096)
def _topk_mean(keys: int, keep: int, parallelism: int) -> float:
    rng = random.Random(keys * 4099 + keep)
    rows = [[round(rng.gauss(0, 1 << 20)) for _ in range(keys)] for _ in range(max(8, 4096 // keys))]
    return sum(quick_select_cycles(row, keep, parallelism) for row in rows) / len(rows)
