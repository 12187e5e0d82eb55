"""Where the numbers of figures come from: predictions of the analytic model, runs of the Verilator model, timings."""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import logging
import os
import tempfile
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hdl.spec.config import PRESETS, Config
from sim.common.devices import devices
from sim.engine.registry import make_engine
from sim.engine.timing import MemoryTiming
from sim.model.model import Prediction, predict
from sim.model.shape import Shape
from sim.reproduce.cases import PROMPT, STEPS, rows_csv, steps_of, synthetic_rows
from sim.reproduce.silicon import Records
from sim.reproduce.torch_timing import KERNELS, Timing, time_generation, time_summarization
from sim.workload.generation import csv_workload
from sim.workload.rows import Row, read_csv
from sim.workload.run import WorkloadResult, run_workload
from sim.workload.shape import bert_workload
from sim.workload.workload import Workload

if TYPE_CHECKING:
    from distributed import Client

__all__ = ["ENGINES", "WORKLOAD", "Lab", "Point"]

ENGINES = ("model", "verilator")
WORKLOAD = Path("workloads") / "gpt2-small-wikitext2-per8.csv"
"""File in the folder SPATTEN_DATA."""


@dataclasses.dataclass(frozen=True)
class Point:
    """What one process predicts."""

    shapes: list[Shape]
    config: Config
    topk_parallelism: int | None = None

    def predict(self) -> Prediction:
        return predict(self.shapes, self.config, topk_parallelism=self.topk_parallelism)


@dataclasses.dataclass
class Lab:
    """Predictions and measurements for the figures.

    engine: "verilator" adds measured points at the presets to the modelled ones.
    """

    rows: list[Row]
    """of GPT-2"""
    workload: str
    """what they are"""
    engine: str = "model"
    silicon: Records = dataclasses.field(default_factory=Records)
    """of bench silicon"""
    fpga_mhz: float | None = None
    """clock of the preset ulx3s; None: not known"""
    workers: int = 1
    client: Client | None = None
    """of a cluster"""
    runs: int = 20
    """of each timing"""
    progress: Callable[[str], None] = print

    @classmethod
    def open(cls, path: Path | None, **options: Any) -> Lab:
        """With the rows of a workload file, of the one in the folder SPATTEN_DATA, or synthetic ones.

        WorkloadError as :func:`sim.workload.rows.read_csv`.
        """
        if path is None and "SPATTEN_DATA" in os.environ:
            path = Path(os.environ["SPATTEN_DATA"]) / WORKLOAD
        if path is None:
            return cls(rows=synthetic_rows(), workload="synthetic GPT-2 (algorithm paper-gpt2)", **options)
        rows, _ = read_csv(path, PRESETS["paper"])
        return cls(rows=rows, workload=f"GPT-2 ({path.name})", **options)

    def predict(self, points: Sequence[Point]) -> list[Prediction]:
        """Several points go to all cores, or to the cluster."""
        if len(points) == 1 or (self.client is None and self.workers == 1):
            return [point.predict() for point in points]
        with contextlib.ExitStack() as stack:
            client: Any = self.client or stack.enter_context(_cores(min(self.workers, len(points))))
            return client.gather([client.submit(Point.predict, point, pure=False) for point in points])

    def run_rows(self, name: str, rows: Sequence[Row], config: Config) -> WorkloadResult:
        """Generation on the Verilator model."""
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "workload.csv"
            path.write_text(rows_csv(rows), encoding="utf-8")
            return self._run(dataclasses.replace(csv_workload(path, config), name=name), config)

    def run_bert(self, tokens: int, config: Config, layers: int) -> WorkloadResult:
        """Dense summarization on the Verilator model."""
        workload = bert_workload(config, [tokens], layers=layers)
        return self._run(dataclasses.replace(workload, name=f"BERT-base, {tokens} tokens"), config)

    def _run(self, workload: Workload, config: Config) -> WorkloadResult:
        """RuntimeError if an output differs from golden."""
        self.progress(f"{workload.name} on Verilator, preset {config.name}")
        with make_engine("verilator", config, timing=MemoryTiming()) as engine:
            result = run_workload(workload, engine)
        if result.mismatches:
            raise RuntimeError(
                f"{workload.name}: {result.mismatches} values differ from golden: {result.first_mismatch}"
            )
        return result

    @functools.cached_property
    def steps(self) -> list[tuple[str, list[Row]]]:
        return steps_of(self.rows)

    def timings(self, kind: str, tokens: int = 0) -> list[Timing]:
        """All kernels on all devices: kind "bert" of ``tokens``, or "gpt2" as the synthetic workload."""
        if (kind, tokens) not in self._timings:
            self.progress(f"PyTorch, {kind} {tokens or PROMPT + STEPS}")
            self._timings[kind, tokens] = [
                time_summarization(device, kernel, tokens=tokens, runs=self.runs)
                if kind == "bert"
                else time_generation(device, kernel, prompt=PROMPT, steps=STEPS, runs=self.runs)
                for device in devices()
                for kernel in KERNELS
            ]
        return self._timings[kind, tokens]

    @functools.cached_property
    def _timings(self) -> dict[tuple[str, int], list[Timing]]:
        return {}


@contextlib.contextmanager
def _cores(workers: int) -> Iterator[Client]:
    from distributed import Client, LocalCluster

    quiet: dict[str, Any] = {"dashboard_address": "localhost:0", "silence_logs": logging.CRITICAL}
    with LocalCluster(n_workers=workers, threads_per_worker=1, memory_limit=0, **quiet) as cluster:  # type: ignore
        with Client(cluster) as client:
            yield client
