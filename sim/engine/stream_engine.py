"""Engines that drive the streams of the core themselves, and take every item of its results."""

from __future__ import annotations

import abc
import dataclasses
import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from golden.layers.job import Job
from golden.layers.layer_job import LayerJob
from hdl.spec.payloads import job_status
from sim.engine.engine import Engine, EngineError, LayerRun, RunResult
from sim.transport.collect import ResultError, collect, collect_selections
from sim.transport.memory import MemoryImage
from sim.transport.pack import pack_jobs, pack_layers
from sim.transport.words import Unpacker

__all__ = ["RawRun", "StreamEngine"]

_QUIET = 64


@dataclasses.dataclass(kw_only=True)
class RawRun:
    """What a simulator saw; items of a stream are uint32 words (items, words per item)."""

    out: np.ndarray
    prob: np.ndarray
    status: np.ndarray
    survivor: np.ndarray
    status_cycles: list[int]
    """Cycle in which each status item was taken."""
    counters: dict[str, int]
    """Fields of the ``counters`` port at the end."""
    words_read: list[int]
    """Memory words read, by channel."""
    addresses: list[np.ndarray] | None
    """Their word addresses, by channel, in order, uint32; None: not recorded."""
    cycles: int | None = None
    """Cycles of the run; None: as many as up to the last status."""


class StreamEngine(Engine):
    """An engine of which one method simulates, or a board does: items in, items out."""

    @abc.abstractmethod
    def _simulate(
        self,
        image: MemoryImage,
        items: dict[str, np.ndarray],
        expected: int,
        resume: bool,
        progress: Callable[[int, int], None] | None,
    ) -> RawRun:
        """Reset unless resumed, stream all items of HOST_STREAMS in, and simulate until status item ``expected``."""

    @property
    def _quiet(self) -> int:
        """Cycles without a transfer after which nothing more is to be expected once all is told: surplus is seen."""
        return math.ceil(_QUIET / (1 - self.timing.host_stall))

    def _new_image(self) -> MemoryImage:
        """Empty memory of a run; its origin is where the accelerator may begin to read."""
        return MemoryImage(self.config)

    def run(
        self,
        jobs: Sequence[Job],
        *,
        allow_refused: bool = False,
        overrides: Mapping[int, Mapping[str, Any]] | None = None,
        progress: Callable[[int, int], None] | None = None,
    ) -> RunResult:
        if not jobs:
            raise ValueError("jobs must not be empty")
        image = self._new_image()
        items = pack_jobs(jobs, self.config, image, overrides)
        raw = self._simulate(image, items, len(jobs), False, progress)
        statuses, finished = self._statuses("job", jobs, raw, allow_refused)
        try:
            owners = [(index, job.head) for index, job in enumerate(jobs)]
            results = collect(jobs, owners, statuses, raw.out, raw.prob, self.config)
        except ResultError as error:
            raise EngineError(str(error)) from error
        return RunResult(
            results=results,
            statuses=statuses,
            finished=finished,
            cycles=max(finished) if raw.cycles is None else raw.cycles,
            counters=raw.counters,
            words_read=raw.words_read,
            memory=self.memory,
            addresses=raw.addresses,
        )

    def run_layers(
        self,
        layers: Sequence[LayerJob],
        *,
        resume: bool = False,
        allow_refused: bool = False,
        overrides: Mapping[int, Mapping[str, Any]] | None = None,
        progress: Callable[[int, int], None] | None = None,
    ) -> LayerRun:
        if not layers:
            raise ValueError("layers must not be empty")
        image = self._new_image()
        items = pack_layers(layers, self.config, image, overrides)
        raw = self._simulate(image, items, len(layers), resume, progress)
        statuses, finished = self._statuses("layer", layers, raw, allow_refused)
        jobs = [job for layer in layers for job in layer.jobs]
        owners = [(index, job.head) for index, layer in enumerate(layers) for job in layer.jobs]
        try:
            codes = [statuses[index] for index, _ in owners]
            flat = iter(collect(jobs, owners, codes, raw.out, raw.prob, self.config, partial=True))
            selections = collect_selections(layers, statuses, raw.survivor, self.config)
        except ResultError as error:
            raise EngineError(str(error)) from error
        by_layer = [[next(flat) for _ in layer.jobs] for layer in layers]
        return LayerRun(
            results=[None if code else mine for code, mine in zip(statuses, by_layer, strict=True)],  # type: ignore[misc]
            selections=selections,
            statuses=statuses,
            finished=finished,
            cycles=max(finished) if raw.cycles is None else raw.cycles,
            counters=raw.counters,
            words_read=raw.words_read,
            memory=self.memory,
            addresses=raw.addresses,
        )

    def _statuses(
        self, what: str, jobs: Sequence[Job | LayerJob], raw: RawRun, allow_refused: bool
    ) -> tuple[list[int], list[int]]:
        """Code and cycle of each job or layer, each of which must have exactly one status item."""
        items = Unpacker(job_status(self.config), raw.status)
        codes: dict[int, int] = {}
        cycles: dict[int, int] = {}
        for job_id, code, cycle in zip(
            items["job_id"].tolist(), items["code"].tolist(), raw.status_cycles, strict=True
        ):
            if job_id >= len(jobs) or job_id in codes:
                raise EngineError(f"status {code} for {what} {job_id}, which is unknown or was answered before")
            codes[job_id], cycles[job_id] = code, cycle
        missing = sorted(set(range(len(jobs))) - set(codes))
        if missing:
            raise EngineError(f"no status for {what} {missing[0]}")
        if not allow_refused:
            self._check_refused(what, jobs, [codes[index] for index in range(len(jobs))])
        return [codes[i] for i in range(len(jobs))], [cycles[i] for i in range(len(jobs))]

    def _stuck(self, answered: int, total: int, cycle: int, selections: int = 0) -> EngineError:
        survivors = f", survivors of {selections} layers missing" if selections else ""
        return EngineError(
            f"hardware is stuck: no transfer for {self.watchdog} cycles, "
            f"{answered} of {total} jobs answered{survivors} at cycle {cycle}"
        )

    @staticmethod
    def _fault(channel: int, address: int, image: MemoryImage) -> EngineError:
        return EngineError(
            f"channel {channel} was read at word {address:#x}, "
            f"outside the permitted window {image.base:#x}…{image.limit - 1:#x}"
        )
