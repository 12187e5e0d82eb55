"""What all engines of the accelerator have in common: jobs in, results, cycles and counters out."""

from __future__ import annotations

import abc
import dataclasses
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Self

import numpy as np

from golden.layers.cascade_state import Selection, Survivors
from golden.layers.job import Job, JobOutputs
from golden.layers.layer_job import LayerJob
from hdl.spec.config import Config
from hdl.spec.formats import Code
from hdl.spec.payloads import STATUS
from sim.engine.timing import MemoryTiming

__all__ = [
    "Engine",
    "EngineError",
    "LayerRun",
    "RunResult",
    "SetupError",
]


class EngineError(RuntimeError):
    """A run did not end as it must: refused job, stuck or wrong hardware, or an engine that cannot be built."""


class SetupError(EngineError):
    """The engine is not what the user named: its message begins with the option to change."""


@dataclasses.dataclass(kw_only=True)
class RunResult:
    """Results of :meth:`Engine.run`, by job in the order given."""

    results: Sequence[JobOutputs | None]
    """None: the job was refused. :class:`golden.layers.job.JobResult` of an engine that shows all."""
    statuses: list[int]
    """Code of hdl.spec.payloads.STATUS, or of hdl.spec.formats.Code."""
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

    results: Sequence[Sequence[JobOutputs] | None]
    """By job; None: the layer was refused. :class:`golden.layers.job.JobResult` of an engine that shows all."""
    selections: Sequence[Selection | Survivors | None]
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

    Every run starts from reset if it is not resumed. What memory held before it makes no difference to its results.

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
            self.timing.hbm2_of(config).check_word(config.channel_width)
        self.record_addresses = record_addresses
        self.watchdog = max(watchdog, self.timing.longest_wait)
        self.max_cycles = max_cycles
        self.trace = trace
        if trace is not None:
            trace.parent.mkdir(parents=True, exist_ok=True)

    @property
    def memory(self) -> str:
        """Mode of the memory, as results name it."""
        return self.timing.mode

    def close(self) -> None:  # noqa: B027 (most engines have nothing to free)
        """Free the simulator (and end its trace)."""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    @abc.abstractmethod
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

    @abc.abstractmethod
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

    def _check_refused(self, what: str, jobs: Sequence[Job | LayerJob], codes: Sequence[int]) -> None:
        """EngineError of the first job, or layer, that was refused."""
        for index, (job, code) in enumerate(zip(jobs, codes, strict=True)):
            if code:
                name = f" ({job.name})" if job.name else ""
                known = STATUS.get(code) or {int(each): each.name for each in Code}.get(code, "unknown status")
                raise EngineError(f"{what} {index}{name} was refused: {known} (code {code})")

    def _too_long(self, answered: int, total: int) -> EngineError:
        return EngineError(f"run is longer than {self.max_cycles} cycles, {answered} of {total} jobs answered")
