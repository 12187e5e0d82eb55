"""What all engines of the accelerator have in common: jobs in, results, cycles and counters out."""

from __future__ import annotations

import abc
import dataclasses
import math
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from golden.layers.cascade_state import Selection
from golden.layers.job import Job, JobResult
from golden.layers.layer_job import LayerJob
from hdl.spec.config import Config
from hdl.spec.payloads import STATUS, job_status
from sim.engine.timing import MemoryTiming
from sim.transport.collect import ResultError, collect, collect_selections
from sim.transport.memory import MemoryImage
from sim.transport.pack import pack_jobs, pack_layers
from sim.transport.words import Unpacker

__all__ = [
    "Engine",
    "EngineError",
    "LayerRun",
    "RawRun",
    "RunResult",
    "SetupError",
]


_QUIET = 64


class EngineError(RuntimeError):
    """A run did not end as it must: refused job, stuck or wrong hardware, or an engine that cannot be built."""


class SetupError(EngineError):
    """The engine is not what the user named: its message begins with the option to change."""


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


@dataclasses.dataclass(kw_only=True)
class RunResult:
    """Results of :meth:`Engine.run`, by job in the order given."""

    results: list[JobResult | None]
    """None: the job was refused."""
    statuses: list[int]
    """Code of hdl.spec.payloads.STATUS."""
    finished: list[int]
    """Cycle of the job's status, from the start of the run."""
    cycles: int
    """From the start of the run to the last status; on a board those in which the core had work."""
    counters: dict[str, int]
    words_read: list[int]
    """Memory words read, by channel."""
    memory: str = "none"
    """Mode of the memory that was simulated."""
    addresses: list[np.ndarray] | None = None
    """Addresses of the words read, by channel, in order, uint32, of an engine made with ``record_addresses``."""


@dataclasses.dataclass(kw_only=True)
class LayerRun:
    """Results of :meth:`Engine.run_layers`, by layer in the order given."""

    results: list[list[JobResult] | None]
    """By job; None: the layer was refused."""
    selections: list[Selection | None]
    """None: refused, or nothing was selected."""
    statuses: list[int]
    finished: list[int]
    """Cycle of the layer's status, from the start of the run."""
    cycles: int
    counters: dict[str, int]
    words_read: list[int]
    memory: str = "none"
    addresses: list[np.ndarray] | None = None


class Engine(abc.ABC):
    """A simulator of one accelerator, or a board.

    Every run starts with an empty memory, and from reset if it is not resumed.

    watchdog: cycles without any transfer after which the hardware counts as stuck, if memory and host do not let it
    wait longer.
    max_cycles: most cycles of a run. trace: waveform file (VCD) to write, or None. record_addresses: keep the
    addresses of the words read.
    """

    name: str

    def __init__(
        self,
        config: Config,
        *,
        timing: MemoryTiming | None = None,
        watchdog: int = 20_000,
        max_cycles: int = 2_000_000_000,
        trace: Path | None = None,
        record_addresses: bool = False,
    ):
        self.config = config
        self.timing = timing or MemoryTiming()
        if self.timing.mode == "hbm2":
            self.timing.hbm2.check_word(config.channel_width)
        self.record_addresses = record_addresses
        self.watchdog = max(watchdog, self.timing.longest_wait)
        self.max_cycles = max_cycles
        self.trace = trace
        if trace is not None:
            trace.parent.mkdir(parents=True, exist_ok=True)

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

    @property
    def memory(self) -> str:
        """Mode of the memory, as results name it."""
        return self.timing.mode

    def _new_image(self) -> MemoryImage:
        """Empty memory of a run; its origin is where the accelerator may begin to read."""
        return MemoryImage(self.config)

    def close(self) -> None:  # noqa: B027 (most engines have nothing to free)
        """Free the simulator (and end its trace)."""

    def __enter__(self) -> Engine:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def run(
        self,
        jobs: Sequence[Job],
        *,
        allow_refused: bool = False,
        overrides: Mapping[int, Mapping[str, Any]] | None = None,
        progress: Callable[[int, int], None] | None = None,
    ) -> RunResult:
        """Run jobs, in order, and return their results.

        overrides: by job index, descriptor fields to send as they are (``ids``: the id list), to see jobs refused.
        progress: called now and then with (jobs answered, cycles).
        """
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
        """Run layers, in order, each with its selection; a layer without ids goes on with the survivors before it.

        resume: go on from the state in which the last run left the accelerator. overrides: by layer index, descriptor
        fields to send as they are.
        """
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
            results=[None if code else mine for code, mine in zip(statuses, by_layer, strict=True)],  # type: ignore
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
        refused = [index for index in range(len(jobs)) if codes[index]]
        if refused and not allow_refused:
            index, code = refused[0], codes[refused[0]]
            name = f" ({jobs[index].name})" if jobs[index].name else ""
            raise EngineError(f"{what} {index}{name} was refused: {STATUS.get(code, 'unknown status')} (code {code})")
        return [codes[i] for i in range(len(jobs))], [cycles[i] for i in range(len(jobs))]

    def _stuck(self, answered: int, total: int, cycle: int, selections: int = 0) -> EngineError:
        survivors = f", survivors of {selections} layers missing" if selections else ""
        return EngineError(
            f"hardware is stuck: no transfer for {self.watchdog} cycles, "
            f"{answered} of {total} jobs answered{survivors} at cycle {cycle}"
        )

    def _too_long(self, answered: int, total: int) -> EngineError:
        return EngineError(f"run is longer than {self.max_cycles} cycles, {answered} of {total} jobs answered")

    @staticmethod
    def _fault(channel: int, address: int, image: MemoryImage) -> EngineError:
        return EngineError(
            f"channel {channel} was read at word {address:#x}, "
            f"outside the permitted window {image.base:#x}…{image.limit - 1:#x}"
        )
