"""From the exponentials to the outputs: the value pruner, the gather of V rows, prob×V."""

from __future__ import annotations

import numpy as np

from sim.model.in_flight import InFlight, Pass
from sim.model.loaders import Loaders
from sim.model.shape import Shape
from sim.model.sizes import Sizes

__all__ = ["Values"]


class Values:
    """The value pruner and prob×V; beats are counted in ``work``. seed: of V rows that a shape does not say."""

    def __init__(self, sizes: Sizes, loaders: Loaders, work: dict[str, float], seed: int):
        self.sizes, self.loaders, self._work = sizes, loaders, work
        self._random = np.random.default_rng(seed)
        self.pruner = self.pv = 0.0
        """when they are free"""

    def multiply(self, rows: Pass, begin: float, end: float) -> float:
        """Prob×V of rows whose V is on chip, pruned from ``begin`` to ``end``; when the last output has left."""
        shape, delays, config = rows.job.shape, self.sizes.delays, self.sizes.config
        drain = -(-shape.dim // config.norm_lanes)
        beats = rows.lines * config.beats(shape.dim)
        start = max(self.pv, begin + delays.prune)
        self.pruner = end
        self.pv = max(start + max(beats, rows.rows * drain), end + delays.prune + 3, rows.job.value_last)
        self._work["pv_beats"] += beats
        return self.pv + delays.output + drain

    def gather(self, job: InFlight, begin: float, end: float) -> float:
        """Prob×V of a generation row, whose surviving V rows are fetched now."""
        shape, config, delays = job.shape, self.sizes.config, self.sizes.delays
        command = self.loaders.command_gather(job, begin)
        ids = np.arange(shape.keys) if shape.ids is None else shape.ids
        kept = self._kept(shape)
        start = max(begin + delays.prune, command + 3)
        stop = max(start + self._gather_cycles(shape, ids, kept), end + delays.prune)
        self.loaders.gather(job, ids[kept], start, stop)
        self.pruner = max(end, stop - delays.prune - 8)
        beats = -(-shape.value_keep // config.scores_per_line(shape.dim)) * config.beats(shape.dim)
        drain = -(-shape.dim // config.norm_lanes)
        start = max(self.pv, begin + delays.prune + delays.compact)
        self.pv = max(start + max(beats, drain), job.value_last + 3)
        self._work["pv_beats"] += beats
        return self.pv + delays.output + drain

    def _kept(self, shape: Shape) -> np.ndarray:
        if shape.kept is not None:
            return shape.kept
        return np.sort(self._random.choice(shape.keys, min(shape.value_keep, shape.keys), replace=False))

    def _gather_cycles(self, shape: Shape, ids: np.ndarray, kept: np.ndarray) -> int:
        """A keep mask a cycle, more if two of its rows lie in one channel."""
        channels, per_line = self.sizes.config.num_channels, self.sizes.config.scores_per_line(shape.dim)
        counts = np.zeros((-(-shape.keys // per_line), channels), dtype=np.int64)
        np.add.at(counts, (kept // per_line, ids[kept] % channels), 1)
        return int(np.maximum(counts.max(axis=1), 1).sum())
