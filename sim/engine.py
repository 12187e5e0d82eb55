"""What all engines of the accelerator have in common: jobs in, results, cycles and counters out."""

from __future__ import annotations

import abc
import dataclasses
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from golden.job import Job, JobResult
from golden.layer import LayerJob, Selection
from hdl.config import Config
from hdl.layouts import STATUS, job_status
from sim.hbm2 import HBM2, HBM2Timing
from sim.jobs import HOST_STREAMS, ResultError, Unpacker, collect, collect_selections, pack_jobs, pack_layers
from sim.memory import MemoryImage

__all__ = [
    "ENGINES",
    "HOST_STREAMS",
    "MEMORY_MODES",
    "SIMULATORS",
    "Engine",
    "EngineError",
    "LayerRun",
    "MemoryTiming",
    "RawRun",
    "RunResult",
    "make_engine",
    "willing",
]

SIMULATORS = ("verilator", "pysim")
ENGINES = (*SIMULATORS, "fpga")
MEMORY_MODES = ("ideal", "hbm2")

# Streams of random stalls; channel c has request stalls 9 + 2 * c and response stalls 10 + 2 * c.
SALT_JOB, SALT_ID, SALT_STATUS, SALT_OUT, SALT_PROB, SALT_SKEW, SALT_LAYER, SALT_HEAD, SALT_SURVIVOR = range(9)
SALT_CHANNEL = 9

_MASK = (1 << 64) - 1


class EngineError(RuntimeError):
    """A run did not end as it must: refused job, stuck or wrong hardware, or an engine that cannot be built."""


def mix(seed: int, salt: int, cycle: int) -> int:
    """The splitmix64 finalizer: 64 random bits of a cycle, the same in every engine (sim/harness.cpp has it too)."""
    z = (seed * 0x9E3779B97F4A7C15 + salt * 0xD1B54A32D192ED03 + cycle * 0x8CB92BA72F3D8DD7) & _MASK
    z = ((z ^ z >> 30) * 0xBF58476D1CE4E5B9) & _MASK
    z = ((z ^ z >> 27) * 0x94D049BB133111EB) & _MASK
    return z ^ z >> 31


def stall_threshold(stall: float) -> int:
    """Stall probability as a 32-bit threshold for :func:`willing`."""
    return round(stall * 2**32)


def willing(seed: int, salt: int, cycle: int, threshold: int) -> bool:
    """Whether a side with stall threshold ``threshold`` takes part in this cycle."""
    return threshold == 0 or mix(seed, salt, cycle) >> 32 >= threshold


@dataclasses.dataclass(frozen=True, kw_only=True)
class MemoryTiming:
    """Memory channels and host of a run (docs/memory.md)."""

    mode: str = "ideal"
    """ideal: ``latency`` … ``queue`` hold, and a word comes each cycle. hbm2: ``hbm2`` holds, and they do not."""
    hbm2: HBM2Timing = HBM2
    latency: int = 20
    """Cycles from the request to the first chance of its response, at least 1."""
    stall: float = 0.0
    """Chance that a channel takes no request, and that it starts no response, in a cycle."""
    skew: int = 0
    """Each channel has 0…skew further cycles of latency (by the seed), so that the channels are out of step."""
    queue: int = 0
    """Requests in flight per channel; 0: enough for one a cycle."""
    host_stall: float = 0.0
    """Chance that the host offers no job or id, or takes no result, in a cycle."""
    seed: int = 0

    def __post_init__(self) -> None:
        for name, least in (("latency", 1), ("skew", 0), ("queue", 0), ("seed", 0)):
            if not isinstance(getattr(self, name), int) or getattr(self, name) < least:
                raise ValueError(f"{name} must be an integer of at least {least}, not {getattr(self, name)!r}")
        for name in ("stall", "host_stall"):
            if not 0 <= getattr(self, name) < 1:
                raise ValueError(f"{name} must be from 0 to below 1, not {getattr(self, name)!r}")
        if self.mode not in MEMORY_MODES:
            raise ValueError(f"mode must be one of {', '.join(MEMORY_MODES)}, not {self.mode!r}")
        idle = ("latency", "stall", "skew", "queue") if self.mode == "hbm2" else ("hbm2",)
        for name in idle:
            if getattr(self, name) != type(self).__dataclass_fields__[name].default:
                raise ValueError(f"{name} must be left as it is with mode {self.mode}, not {getattr(self, name)!r}")

    @property
    def depth(self) -> int:
        return self.queue or self.latency + self.skew + 16

    def channel_latency(self, channel: int) -> int:
        extra = mix(self.seed, SALT_SKEW, channel) >> 32
        return self.latency + (extra % (self.skew + 1))


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
    """Code of hdl.layouts.STATUS."""
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

    watchdog: cycles without any transfer after which the hardware counts as stuck.
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
        self.watchdog = watchdog
        self.max_cycles = max_cycles
        self.trace = trace

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

    def _stuck(self, answered: int, total: int, cycle: int) -> EngineError:
        return EngineError(
            f"hardware is stuck: no transfer for {self.watchdog} cycles, "
            f"{answered} of {total} jobs answered at cycle {cycle}"
        )

    def _too_long(self, answered: int, total: int) -> EngineError:
        return EngineError(f"run is longer than {self.max_cycles} cycles, {answered} of {total} jobs answered")

    @staticmethod
    def _fault(channel: int, address: int, image: MemoryImage) -> EngineError:
        return EngineError(
            f"channel {channel} was read at word {address:#x}, "
            f"outside the permitted window {image.base:#x}…{image.limit - 1:#x}"
        )


def make_engine(name: str, config: Config, **options: Any) -> Engine:
    """An engine by its name; options as in :class:`Engine`, of "fpga" as in :class:`fpga.engine.FpgaEngine`."""
    if name == "verilator":
        from sim.verilator import VerilatorEngine

        return VerilatorEngine(config, **options)
    if name == "fpga":
        from fpga.engine import FpgaEngine

        return FpgaEngine(config, **options)
    if name == "pysim":
        from sim.pysim import PysimEngine

        return PysimEngine(config, **options)
    raise ValueError(f"engine must be one of {', '.join(ENGINES)}, not {name!r}")
