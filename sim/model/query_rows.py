"""How fast Q rows come to Q×K, above all while loads go on."""

from __future__ import annotations

from collections.abc import Sequence

from sim.model.in_flight import InFlight, Pass
from sim.model.latencies import ROWS_BEFORE
from sim.model.shape import Shape
from sim.model.sizes import Sizes

__all__ = ["QueryRows"]


class QueryRows:
    """Cycles of Q×K for the rows of a pass; a Q row that meets loads takes longer."""

    def __init__(self, sizes: Sizes, shapes: Sequence[Shape]):
        self.sizes, self.shapes = sizes, shapes
        """shapes: of all jobs of the run"""
        self._expected, self._loading = 0, 0.0
        """jobs whose loads Q rows have met, and the end of these loads"""

    def reading(self, rows: Pass, begin: float, beats: float) -> float:
        """Cycles of Q×K for a pass: its beats, or Q rows if they come slower."""
        job, shape, config = rows.job, rows.job.shape, self.sizes.config
        if shape.generation:
            return beats
        if not rows.second:
            self._expect_loads(job, begin if self._expected else job.command)
        trip, per_row = self.sizes.query_trip(shape), beats / rows.rows
        bulk = -(-shape.dim * max(shape.key_bits, shape.value_bits) // config.channel_width) * self.sizes.period
        slow = max(per_row, (trip + ROWS_BEFORE * bulk) / config.query_queue)
        count = min(rows.rows, max(0.0, self._loading - begin) / slow)
        return count * slow + (rows.rows - count) * max(per_row, trip / config.query_queue)

    def _expect_loads(self, job: InFlight, begin: float) -> None:
        """Loads that come while Q×K is at work on a job: of as many jobs as have room beside it."""
        config = self.sizes.config
        slots = max(1, self.sizes.slots(job.shape, job.shape.keys))
        room = min(config.contexts, config.key_slots // slots, config.value_slots // slots)
        for shape in self.shapes[self._expected : job.index + max(1, room)]:
            bits = shape.keys * shape.dim * (shape.key_bits + shape.value_bits * (not shape.generation))
            words = bits / (config.channel_width * config.num_channels)
            self._loading = max(self._loading, begin) + words * self.sizes.period
            self._expected += 1
