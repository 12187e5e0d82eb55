"""The machine: every job through all resources, passes in the order of Q×K."""

from __future__ import annotations

import math
from collections.abc import Sequence

from hdl.spec.config import Config
from sim.engine.timing import MemoryTiming
from sim.model.in_flight import InFlight, Pass
from sim.model.intake import Intake
from sim.model.latencies import OFFER, RELEASE
from sim.model.loaders import Loaders
from sim.model.lsbs import Lsbs
from sim.model.memory import Memory
from sim.model.prediction import WORK, Prediction
from sim.model.query_rows import QueryRows
from sim.model.selection import Selection
from sim.model.shape import Shape
from sim.model.sizes import Sizes
from sim.model.values import Values

__all__ = ["Machine"]


class Machine:
    """All resources, each with the time from which it is free; it runs once.

    parallelism: scores that a top-k engine takes in a cycle. seed: of the V rows that generation keeps.
    """

    def __init__(self, config: Config, timing: MemoryTiming, parallelism: int, seed: int, shapes: Sequence[Shape]):
        self.config, self.shapes, self.sizes = config, shapes, Sizes(config, timing)
        self.work: dict[str, float] = dict.fromkeys(WORK, 0.0)
        self.memory = Memory(self.sizes, self.work)
        self.intake = Intake(config, self._status)
        self.loaders = Loaders(self.sizes, self.memory, self._compute_next)
        self.queries = QueryRows(self.sizes, shapes)
        self.selection = Selection(self.sizes, parallelism, self.work)
        self.values = Values(self.sizes, self.loaders, self.work, seed)
        self.lsbs = Lsbs(self.sizes, self.memory)
        self.qk = self.softmax = self.settled = 0.0
        """Q×K and softmax are free; all rows of the summarization jobs so far are final"""
        self.jobs: list[InFlight] = []
        self.answered = 0
        self.pending: list[Pass] = []
        """second passes, by the time at which they can begin"""

    def run(self) -> Prediction:
        """Cycles of the jobs."""
        for shape in self.shapes:
            job = InFlight(shape, len(self.jobs))
            self._load(job)
            self.jobs.append(job)
            first = self._first_pass(job)
            while self.pending and self.pending[0].ready <= max(self.qk, first.ready):
                self._compute_next()
            self._compute(first)
        last = self._status(len(self.jobs) - 1)
        return Prediction(cycles=last, finished=[job.status for job in self.jobs], work=self.work, config=self.config)

    def _status(self, index: int) -> float:
        """Jobs are answered in order; the second passes that an answer waits for are computed now."""
        while self.answered <= index:
            job = self.jobs[self.answered]
            while math.isinf(job.done):
                self._compute_next()
            before = self.jobs[self.answered - 1].status if self.answered else 0.0
            job.status = max(job.done, before + 1)
            self.answered += 1
        return self.jobs[index].status

    def _load(self, job: InFlight) -> None:
        """A job comes in, and its K, V and Q are loaded; kinds of jobs that do not mix wait for each other."""
        generation = job.shape.generation
        checked = self.intake.check(job)
        self.loaders.load_keys(job, checked, self.jobs[-1] if self.jobs else None)
        if not generation:
            # Older generation jobs have their regions first; gathers and loads do not mix.
            self._compute_all(generation=True)
            self.loaders.load_values(job)
        else:
            self._compute_all(generation=False)
        self.loaders.load_queries(job, self.jobs, self.settled)

    def _compute_all(self, *, generation: bool) -> None:
        """As long as a pass of generation, or of summarization, waits."""
        while any(again.job.shape.generation == generation for again in self.pending):
            self._compute_next()

    def _compute_next(self) -> None:
        self._compute(self.pending.pop(0))

    # Passes ----------------------------------------------------------------------------------------------------

    def _first_pass(self, job: InFlight) -> Pass:
        job.lines = self.sizes.lines(job.shape, job.shape.rows)
        ready = max(job.query, job.key_first) + 2
        return Pass(job, job.shape.rows, job.lines, ready, job.key_last + 2, second=False)

    def _compute(self, rows: Pass) -> None:
        """Takes a pass through all stages."""
        job, shape, delays = rows.job, rows.job.shape, self.sizes.delays
        beats = rows.lines * self.config.beats(shape.dim)
        begin = max(self.qk, rows.ready)
        job.begun = begin if not rows.second else job.begun
        end = max(begin + self.queries.reading(rows, begin, beats), rows.last)
        found_first, found_last, end = self.selection.select(rows, begin, end)
        self.qk = end
        self.work["qk_beats"] += beats
        per_row = rows.lines / rows.rows
        first_row = end if rows.rows == 1 else max(begin + beats / rows.rows, min(rows.last, end))
        exp_begin = max(self.softmax, first_row + delays.score + delays.exponential)
        exp_end = max(exp_begin + rows.lines, end + delays.score + delays.exponential + per_row)
        self.softmax = exp_end
        sum_first, sum_last = exp_begin + per_row + delays.row_sum, exp_end + delays.row_sum
        drop_begin = max(self.values.pruner, sum_first + 2, found_first + 4)
        prune_end = max(drop_begin + rows.lines, sum_last + 2 + per_row, found_last + 4 + per_row)
        out = self._values(rows, drop_begin, prune_end)
        if shape.generation and shape.key_lsb_bits and not rows.second:
            self.lsbs.load_ahead(job, end, sum_last)
        if self._flat(rows):
            self._again(job, sum_first, sum_last, exp_end - exp_begin)
            return
        read_all = shape.generation and (rows.second or not shape.key_lsb_bits)
        self._finish(job, end if read_all else sum_last, max(out, self.values.pruner + delays.prune + 4))

    def _flat(self, rows: Pass) -> int:
        """Rows of a pass that go through once more."""
        return 0 if rows.second else rows.job.shape.flat_rows

    def _values(self, rows: Pass, begin: float, end: float) -> float:
        """Lines of exponentials are pruned from ``begin`` to ``end``; when the last output has left."""
        if not rows.job.shape.generation:
            return self.values.multiply(rows, begin, end)
        if self._flat(rows):
            self.values.pruner = end
            return end
        return self.values.gather(rows.job, begin, end)

    def _again(self, job: InFlight, sum_first: float, sum_last: float, span: float) -> None:
        """LSBs of K, and the second pass of the flat rows, which lie evenly among the others."""
        shape, flat = job.shape, job.shape.flat_rows
        decided = sum_first + (span / (flat + 1) if shape.rows > 1 else 0.0)
        if not job.lsb_last:
            self.lsbs.load(job, decided)
        loaded = max(job.lsb_last, decided)
        trip = OFFER if shape.generation else self.sizes.query_trip(shape)
        if not shape.generation:
            self.work["query_words"] += self.memory.planes.of_queries(shape).words * flat / shape.rows
        again = Pass(job, flat, self.sizes.lines(shape, flat), loaded + trip, sum_last + trip, second=True)
        if shape.rows == 1:
            again.last = again.ready
        self.pending.append(again)
        self.pending.sort(key=lambda item: item.ready)

    def _finish(self, job: InFlight, keys_final: float, out: float) -> None:
        """All rows are final: regions are given back, and the job is answered when its results have left."""
        job.keys_final = keys_final = max(keys_final, job.lsb_last)
        if not job.shape.generation:
            self.settled = max(self.settled, keys_final)
        self.loaders.give_back(job, self.values.pv)
        job.done = max(out, keys_final) + RELEASE + 2
