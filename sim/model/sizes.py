"""What a configuration makes of a job's shape: slots, lines, words."""

from __future__ import annotations

import math

import numpy as np

from hdl.spec.config import Config
from sim.engine.timing import MemoryTiming
from sim.model.latencies import FLIGHT, REQUEST, latencies
from sim.model.shape import Shape

__all__ = ["Sizes"]


class Sizes:
    """Sizes of jobs on a configuration with an ideal memory, and the times of a word."""

    def __init__(self, config: Config, timing: MemoryTiming):
        self.config, self.latency = config, timing.latency
        self.delays = latencies(config)
        flight = timing.latency + FLIGHT
        self.period = max(1.0, flight / config.outstanding, flight / timing.depth)
        """cycles of a channel for a word"""

    def packs(self, shape: Shape) -> bool:
        """Whether a line of scores may hold the end of a row and the beginning of the next."""
        return not shape.causal and not shape.generation and self.config.packs(shape.dim, shape.keys)

    def slots(self, shape: Shape, rows: int) -> int:
        """Slices of a buffer for so many rows."""
        repeat = self.packs(shape) * (self.config.scores_per_line(shape.dim) - 1)
        return (rows + repeat) * self.config.slices(shape.dim)

    def lines(self, shape: Shape, rows: int) -> float:
        """Lines of so many of the job's rows."""
        per_line, lengths = self.config.scores_per_line(shape.dim), shape.lengths
        if self.packs(shape):
            return math.ceil(rows * shape.keys / per_line)
        return float(np.ceil(lengths / per_line).mean()) * rows

    def query_trip(self, shape: Shape) -> float:
        """A Q row's issue to its being there."""
        words = -(-shape.dim * shape.query_bits // self.config.channel_width)
        return REQUEST + words * self.period + self.latency + self.delays.fetch + 2
