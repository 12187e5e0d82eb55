"""K, V and Q of jobs: regions of the buffers, commands of the loads, requests of Q rows."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import numpy as np

from sim.model.in_flight import InFlight
from sim.model.latencies import LOADER, RELEASE, REQUEST
from sim.model.memory import Memory
from sim.model.pages import Pages
from sim.model.sizes import Sizes

__all__ = ["Loaders"]


class Loaders:
    """The loaders of K and V, and the pages that they take.

    wait: computes the next pass that waits, after which pages may be free.
    """

    def __init__(self, sizes: Sizes, memory: Memory, wait: Callable[[], None]):
        config = sizes.config
        self.sizes, self.memory, self._wait = sizes, memory, wait
        self._key_pages = Pages(config.key_pages, config.key_page_slots)
        self._value_pages = Pages(config.value_pages, config.value_page_slots)
        self._keys = 0.0
        """the loader of K is free"""
        self.values = 0.0
        """the loader of V is free"""
        self._loaded = self.gathered = 0.0
        """loads and gathers of V do not mix"""

    def _region(self, pages: Pages, slots: int, now: float) -> tuple[float, slice]:
        while (found := pages.take(slots, now)) is None:
            self._wait()
        return found

    def load_keys(self, job: InFlight, checked: float, before: InFlight | None) -> None:
        """K of a job that is in; before: the job before it, which the second of a pair shares its region with."""
        shape, config = job.shape, self.sizes.config
        if shape.pair == 2:
            assert before is not None, "the first of a pair comes before the second"
            job.partner, before.partner = before, job
            job.command = self._keys = max(self._keys + 3, checked)
            job.key_first, job.key_last = before.key_first, before.key_last
            return
        heads = 2 if shape.pair == 1 else 1
        slots = -(-self.sizes.slots(shape, shape.keys) // config.key_banks) * config.key_banks * heads
        begin = max(self._keys + LOADER, checked + LOADER)
        begin, job.region = self._region(self._key_pages, slots, begin)
        job.command = self._keys = max(begin, self.memory.free("key"))
        slices = config.slices(shape.dim) * heads
        demand = self.memory.planes.of_keys(shape, shape.dim * heads * shape.key_bits, slices)
        found = self.memory.bulk("key", job.command, demand, shape.keys * slices, config.key_banks)
        job.key_first, job.key_last = found

    def load_values(self, job: InFlight) -> None:
        """Summarization: all V rows that the queries attend."""
        shape, config = job.shape, self.sizes.config
        begin = max(self.values, job.command) + LOADER
        begin, job.value_region = self._region(self._value_pages, self.sizes.slots(shape, shape.keys), begin)
        self.values = max(begin, self.gathered, self.memory.free("value"))
        slices = config.slices(shape.dim)
        demand = self.memory.planes.of_keys(shape, shape.dim * shape.value_bits, slices)
        _, job.value_last = self.memory.bulk("value", self.values, demand, shape.keys * slices, config.lanes)
        self._loaded = job.value_last

    def command_gather(self, job: InFlight, begin: float) -> float:
        """Generation: when the gather of the surviving V rows is commanded."""
        slots = job.shape.value_keep * self.sizes.config.slices(job.shape.dim)
        command = max(self.values, begin) + LOADER
        command, job.value_region = self._region(self._value_pages, slots, command)
        self.values = max(command, self._loaded, self.memory.free("value"))
        return self.values

    def gather(self, job: InFlight, rows: np.ndarray, start: float, last: float) -> None:
        """Requests of these V rows from ``start`` on; the last keep mask comes at ``last``."""
        shape, delays = job.shape, self.sizes.delays
        slices = self.sizes.config.slices(shape.dim)
        demand = self.memory.planes.of_rows(rows, shape.skew, shape.dim * shape.value_bits, slices)
        fetched = max(self.memory.urgent("value", start + delays.gather, demand), last + delays.gather + slices)
        job.value_last = self.gathered = fetched + self.sizes.latency + delays.fetch
        self.memory.flies("value", job.value_last)

    def load_queries(self, job: InFlight, jobs: Sequence[InFlight], settled: float) -> None:
        """Q rows; all but the first are assumed to be there when Q×K wants them, but for the queue's round trip.

        jobs: those before. settled: all rows of their summarization jobs are final.
        """
        shape, config, index = job.shape, self.sizes.config, job.index
        ask = max(job.command + 1, self.memory.free("query"))
        if shape.generation:
            ask = max(ask, settled)
            if index >= config.query_queue:
                ask = max(ask, jobs[index - config.query_queue].begun)
        else:
            ask = max(ask, self.values + 1)
        self.memory.urgent("query", ask + REQUEST, self.memory.planes.of_queries(shape))
        job.query = ask + self.sizes.query_trip(shape)
        self.memory.flies("query", job.query)

    def give_back(self, job: InFlight, pv: float) -> None:
        """Regions of a job whose keys and values, the latter at ``pv``, are read for the last time."""
        pair = [job, job.partner] if job.partner else [job]
        released = max(each.keys_final for each in pair) if job.partner or not job.shape.pair else math.inf
        if not math.isinf(released):
            self._key_pages.give(next(each.region for each in pair if each.region), released + RELEASE)
        if job.value_region is not None:
            self._value_pages.give(job.value_region, pv + RELEASE)
