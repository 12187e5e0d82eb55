"""The paper's figures and tables with this machine's numbers beside the published ones (docs/reproduce.md)."""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import logging
import os
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hdl.spec.config import PRESETS, Config
from sim.engine.registry import make_engine
from sim.engine.timing import MemoryTiming
from sim.model.model import Prediction, Shape, predict
from sim.reproduce import published
from sim.reproduce.cases import (
    LAYERS,
    PROMPT,
    STEPS,
    Case,
    bert_case,
    generation_case,
    rows_csv,
    steps_of,
    synthetic_rows,
)
from sim.reproduce.figures import Entry, Figure
from sim.reproduce.torch_timing import KERNELS, Timing, devices, time_generation, time_summarization
from sim.workload.workload import Row, Workload, WorkloadResult, bert_workload, csv_workload, read_csv, run_workload

if TYPE_CHECKING:
    from distributed import Client

__all__ = ["ENGINES", "FIGURES", "Lab", "Point", "fig18", "fig19a", "fig19b", "fig20", "table3", "timing"]

ENGINES = ("model", "verilator")
WORKLOAD = Path("workloads") / "gpt2-small-wikitext2-per8.csv"
"""File in the folder SPATTEN_DATA."""
BERT_TOKENS = (128, 384)
PARALLELISM = (1, 2, 4, 8, 16, 32)
KEY_ROWS = (1024, 1536, 2048, 3072, 4096, 6144)
VALUE_ROWS = (1024, 2048, 4096)

_MODEL = "sim/model/model.py"
_PAPER, _EIGHTH, _FPGA = (PRESETS[name] for name in ("paper", "eighth", "ulx3s"))


# Where numbers come from ---------------------------------------------------------------------------------------


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

        WorkloadError as :func:`sim.workload.workload.read_csv`.
        """
        if path is None and "SPATTEN_DATA" in os.environ:
            path = Path(os.environ["SPATTEN_DATA"]) / WORKLOAD
        if path is None:
            return cls(rows=synthetic_rows(), workload="synthetic GPT-2 (algorithm paper-gpt2)", **options)
        rows, _ = read_csv(path, _PAPER)
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


def _gflops(operations: float, cycles: float) -> float:
    """At 1 GHz."""
    return operations / cycles


def _peak(config: Config) -> float:
    """GFLOPS of both arrays at 1 GHz."""
    return 4.0 * config.num_multipliers


def _bandwidth(config: Config) -> float:
    """GB/s at 1 GHz."""
    return config.num_channels * config.channel_width / 8


def _bytes(prediction: Prediction) -> float:
    words = sum(value for name, value in prediction.work.items() if name.endswith("_words"))
    return words * prediction.config.channel_width / 8


def _measured_by(result: WorkloadResult) -> str:
    return f"Verilator, preset {result.preset}, memory {result.memory}, {result.rows_checked} rows compared with golden"


# Figures -------------------------------------------------------------------------------------------------------


def fig18(lab: Lab) -> Figure:
    """Roofline."""
    config = _PAPER
    cases = [
        generation_case("GPT-2, all techniques", lab.rows, config),
        generation_case("GPT-2, dense", lab.steps[0][1], config),
        bert_case("BERT, all techniques", BERT_TOKENS[1], "paper-bert", config),
        bert_case("BERT, dense", BERT_TOKENS[1], "dense", config),
    ]
    roof = [2.0**power for power in range(-2, 11)]
    entries = [
        Entry(
            series="roof of preset paper",
            x=place,
            value=min(_peak(config), _bandwidth(config) * place),
            unit="GFLOPS",
            kind="calculated",
            source=f"{_peak(config):g} GFLOPS, {_bandwidth(config):g} GB/s at 1 GHz",
        )
        for place in sorted({*roof, _peak(config) / _bandwidth(config)})
    ]
    for case, found in zip(cases, lab.predict([Point(case.shapes, config) for case in cases]), strict=True):
        place, value = case.operations / _bytes(found), _gflops(case.operations, found.cycles)
        entries.append(Entry(series=case.name, x=place, value=value, unit="GFLOPS", kind="modelled", source=_MODEL))
    if lab.engine == "verilator":
        runs = [
            ("GPT-2, all techniques", lab.run_rows(lab.workload, lab.rows, config)),
            ("GPT-2, dense", lab.run_rows(f"{lab.workload}, dense", lab.steps[0][1], config)),
            ("BERT, dense", lab.run_bert(BERT_TOKENS[1], config, layers=1)),
        ]
        for name, run in runs:
            place = run.gflops * run.cycles / run.bytes["read"]
            source = _measured_by(run)
            entries.append(Entry(series=name, x=place, value=run.gflops, unit="GFLOPS", kind="measured", source=source))
    quoted = published.GPT2_GFLOPS
    share = published.GPT2_ROOF_SHARE
    entries += [
        Entry(
            series="GPT-2, paper",
            x=quoted.value / share.value / _bandwidth(config),
            value=quoted.value,
            unit="GFLOPS",
            kind="quoted",
            source=f"{quoted.source}; intensity calculated: {share.source}",
        ),
        Entry(
            series="BERT, paper",
            x="intensity not known",
            value=published.BERT_GFLOPS.value,
            unit="GFLOPS",
            kind="quoted",
            source=published.BERT_GFLOPS.source,
        ),
    ]
    return Figure(
        name="fig18",
        title="Roofline (paper, Fig. 18)",
        style="roofline",
        x_label="operations per byte of DRAM",
        y_label="GFLOPS at 1 GHz",
        drawn_unit="GFLOPS",
        entries=entries,
        notes=[
            f"GPT-2: {lab.workload}, {len(lab.rows)} rows. BERT: BERT-base, {BERT_TOKENS[1]} tokens.",
            "Operations: two for each product of a first pass over surviving keys, and of a V row kept.",
        ],
    )


def fig19a(lab: Lab) -> Figure:
    """Top-k parallelism."""
    case = generation_case(lab.workload, lab.rows, _PAPER)
    counts = sorted({1, _PAPER.num_topk_engines})
    settings = [(engines, parallelism) for engines in counts for parallelism in PARALLELISM]
    found = lab.predict(
        [
            Point(case.shapes, dataclasses.replace(_PAPER, num_topk_engines=engines), parallelism)
            for engines, parallelism in settings
        ]
    )
    entries = []
    for (engines, parallelism), prediction in zip(settings, found, strict=True):
        entries += _speed(_engines(engines), parallelism, case, prediction)
    if lab.engine == "verilator":
        run = lab.run_rows(lab.workload, lab.rows, _PAPER)
        entries.append(_measured(_engines(_PAPER.num_topk_engines), _PAPER.topk_parallelism, run))
    for parallelism, quoted in published.TOPK_GFLOPS.items():
        entries.append(
            Entry(
                series="paper",
                x=parallelism,
                value=quoted.value,
                unit="GFLOPS",
                kind="quoted",
                source=quoted.source,
            )
        )
    return Figure(
        name="fig19a",
        title="Parallelism of a top-k engine (paper, Fig. 19 left)",
        style="lines",
        x_label="scores a cycle of an engine",
        y_label="GFLOPS at 1 GHz",
        drawn_unit="GFLOPS",
        logarithmic=True,
        entries=entries,
        notes=[
            f"{lab.workload}, {len(lab.rows)} rows.",
            f"Engines of less than {_PAPER.lanes} scores a cycle have no RTL; they exist in the model only.",
        ],
    )


def _engines(number: int) -> str:
    return f"{number} engine{'s' * (number > 1)}"


def fig19b(lab: Lab) -> Figure:
    """Size of the K and V buffers."""
    case = generation_case(lab.workload, lab.rows, _PAPER)
    page, value_page = (rows // pages for rows, pages in _row_pages(_PAPER))
    configs = [
        ("K buffer", rows, dataclasses.replace(_PAPER, key_rows=rows, key_pages=rows // page)) for rows in KEY_ROWS
    ]
    configs += [
        ("V buffer", rows, dataclasses.replace(_PAPER, value_rows=rows, value_pages=rows // value_page))
        for rows in VALUE_ROWS
    ]
    found = lab.predict([Point(case.shapes, config) for _, _, config in configs])
    entries = []
    for (name, rows, config), prediction in zip(configs, found, strict=True):
        entries += _speed(name, _kilobytes(rows, config), case, prediction)
    if lab.engine == "verilator":
        run = lab.run_rows(lab.workload, lab.rows, _PAPER)
        entries.append(_measured("preset paper, K buffer", _kilobytes(_PAPER.key_rows, _PAPER), run))
    sizes = " and ".join(f"{_kilobytes(rows, _PAPER):g} KB" for rows in (_PAPER.key_rows, _PAPER.value_rows))
    return Figure(
        name="fig19b",
        title="Size of the K and V buffers (paper, Fig. 19 right)",
        style="lines",
        x_label="KB of the buffer (1000 bytes)",
        y_label="GFLOPS at 1 GHz",
        drawn_unit="GFLOPS",
        entries=entries,
        notes=[
            f"{lab.workload}, {len(lab.rows)} rows. The other buffer is as in preset paper: {sizes} (K and V).",
            f"The paper takes {published.BUFFER_KB.value:g} KB each ({published.BUFFER_KB.source}). "
            "The values of its figure are not quoted.",
        ],
    )


def _row_pages(config: Config) -> tuple[tuple[int, int], tuple[int, int]]:
    return (config.key_rows, config.key_pages), (config.value_rows, config.value_pages)


def _kilobytes(rows: int, config: Config) -> float:
    return rows * config.buffer_dim * config.operand_width / 8 / 1000


def _speed(series: str, place: float, case: Case, found: Prediction) -> list[Entry]:
    common: dict[str, Any] = {"series": series, "x": place, "kind": "modelled", "source": _MODEL}
    return [
        Entry(value=_gflops(case.operations, found.cycles), unit="GFLOPS", **common),
        Entry(value=found.cycles, unit="cycles", **common),
    ]


def _measured(series: str, place: float | str, run: WorkloadResult) -> Entry:
    return Entry(series=series, x=place, value=run.gflops, unit="GFLOPS", kind="measured", source=_measured_by(run))


def fig20(lab: Lab) -> Figure:
    """Step by step from dense attention to all techniques."""
    cases = [generation_case(name, rows, _PAPER) for name, rows in lab.steps]
    found = [prediction.cycles for prediction in lab.predict([Point(case.shapes, _PAPER) for case in cases])]
    entries = _ladder("this machine", [name for name, _ in lab.steps], found, "modelled", _MODEL)
    if lab.engine == "verilator":
        runs = [lab.run_rows(f"{lab.workload}: {name}", rows, _PAPER) for name, rows in lab.steps]
        counted = [float(run.cycles) for run in runs]
        entries += _ladder("this machine", [name for name, _ in lab.steps], counted, "measured", _measured_by(runs[-1]))
    pruning, quantization = published.BREAKDOWN["pruning"], published.BREAKDOWN["quantization"]
    factors = [
        ("datapath, dense", 1.0, published.BREAKDOWN["datapath"].source),
        ("+ cascade pruning, top-k engine", pruning.value, pruning.source),
        ("+ progressive quantization", pruning.value * quantization.value, quantization.source),
    ]
    entries += [
        Entry(series="paper", x=name, value=value, unit="× dense", kind="quoted", source=source)
        for name, value, source in factors
    ]
    seconds = found[0] * 1e-9
    notes = [f"{lab.workload}, {len(lab.rows)} rows."]
    if not _is_whole(lab.rows):
        notes.append("The workload is not all layers of all steps, so that no timing of PyTorch fits it.")
    else:
        for timed in lab.timings("gpt2"):
            for name, time in (("dense", seconds), ("all techniques", found[-1] * 1e-9)):
                entries.append(
                    Entry(
                        series=f"over PyTorch, {timed.device}, {timed.kernel}",
                        x=name,
                        value=timed.seconds / time,
                        unit="× PyTorch",
                        kind="modelled",
                        source=f"{_MODEL} at 1 GHz; {timed.source}",
                    )
                )
    for name, quoted in (("dense", published.BREAKDOWN["datapath"]), ("all techniques", published.BREAKDOWN["all"])):
        entries.append(
            Entry(
                series="over a TITAN Xp, paper",
                x=name,
                value=quoted.value,
                unit="× TITAN Xp",
                kind="quoted",
                source=quoted.source,
            )
        )
    return Figure(
        name="fig20",
        title="Speed-up step by step, GPT-2 (paper, Fig. 20)",
        style="bars",
        x_label="step",
        y_label="speed-up over dense attention on the same datapath",
        drawn_unit="× dense",
        entries=entries,
        notes=notes,
    )


def _is_whole(rows: Sequence[Row]) -> bool:
    """Whether rows are all layers of the steps that PyTorch is timed with."""
    steps = {(row.iteration, row.layer) for row in rows}
    lengths = sorted({row.iteration: row.tokens for row in rows}.values())
    whole = list(range(PROMPT + 1, PROMPT + STEPS + 1))
    return len(steps) == LAYERS * STEPS and len(lengths) == STEPS and abs(sum(lengths) / sum(whole) - 1) < 0.02


def _ladder(series: str, names: Sequence[str], cycles: Sequence[float], kind: str, source: str) -> list[Entry]:
    common: dict[str, Any] = {"series": series, "kind": kind, "source": source}
    entries = [
        Entry(x=name, value=cycles[0] / count, unit="× dense", **common)
        for name, count in zip(names, cycles, strict=True)
    ]
    return entries + [
        Entry(x=name, value=count, unit="cycles", **common) for name, count in zip(names, cycles, strict=True)
    ]


def table3(lab: Lab) -> Figure:
    """The eighth against A3 and MNNFast."""
    cases = [
        bert_case(f"BERT, {tokens} tokens, {title}", tokens, algorithm, _EIGHTH)
        for tokens in BERT_TOKENS
        for title, algorithm in (("dense", "dense"), ("all techniques", "paper-bert"))
    ]
    cases.append(generation_case("GPT-2, all techniques", lab.rows, _EIGHTH))
    found = lab.predict([Point(case.shapes, _EIGHTH) for case in cases])
    entries = []
    for case, prediction in zip(cases, found, strict=True):
        for value, unit in (
            (case.dense_operations / prediction.cycles, "effective GOP/s"),
            (case.operations / prediction.cycles, "GOP/s"),
            (prediction.cycles, "cycles"),
        ):
            entries.append(
                Entry(series="preset eighth", x=case.name, value=value, unit=unit, kind="modelled", source=_MODEL)
            )
    if lab.engine == "verilator":
        run = lab.run_bert(BERT_TOKENS[0], _EIGHTH, layers=1)
        entries.append(
            Entry(
                series="preset eighth",
                x=f"BERT, {BERT_TOKENS[0]} tokens, dense",
                value=run.gflops_dense_equivalent,
                unit="effective GOP/s",
                kind="measured",
                source=_measured_by(run),
            )
        )
    for name, quoted in published.TABLE3.items():
        entries.append(
            Entry(
                series="published",
                x=name,
                value=quoted.value,
                unit="effective GOP/s",
                kind="quoted",
                source=quoted.source,
            )
        )
    return Figure(
        name="table3",
        title="128 multipliers, 64 GB/s (paper, Table III)",
        style="bars",
        x_label="workload",
        y_label="effective GOP/s at 1 GHz",
        drawn_unit="effective GOP/s",
        entries=entries,
        notes=[
            "Effective: operations of dense attention over the time, so more than the peak of "
            f"{_peak(_EIGHTH):g} GOP/s is possible.",
            "The paper's number is a mean of its benchmarks; BERT here is BERT-base with the schedules of algorithm "
            f"paper-bert, and GPT-2 is {lab.workload}.",
        ],
    )


def timing(lab: Lab) -> Figure:
    """The same attention in PyTorch on this machine."""
    entries = []
    for tokens in BERT_TOKENS:
        name = f"BERT-base, {tokens} tokens"
        entries += _timed(name, lab.timings("bert", tokens))
        cases = {
            title: functools.partial(bert_case, name, tokens, algorithm)
            for title, algorithm in (("dense", "dense"), ("all techniques", "paper-bert"))
        }
        entries += _accelerated(lab, name, cases)
    name = f"GPT-2, {PROMPT} + {STEPS} tokens"
    rows = synthetic_rows()
    entries += _timed(name, lab.timings("gpt2"))
    cases = {
        "dense": functools.partial(generation_case, name, steps_of(rows)[0][1]),
        "all techniques": functools.partial(generation_case, name, rows),
    }
    entries += _accelerated(lab, name, cases)
    clock = "not given" if lab.fpga_mhz is None else f"{lab.fpga_mhz:g} MHz"
    return Figure(
        name="timing",
        title="All 12 layers of attention: PyTorch on this machine, and the accelerator",
        style="bars",
        x_label="on",
        y_label="ms",
        drawn_unit="ms",
        logarithmic=True,
        entries=entries,
        notes=[
            "GPT-2: 32 tokens generated one by one, batch 1; synthetic survivors, algorithm paper-gpt2.",
            f"Clock of preset paper: 1 GHz, as the paper assumes; of preset ulx3s: {clock}.",
        ],
    )


def _timed(name: str, timings: Sequence[Timing]) -> list[Entry]:
    return [
        Entry(
            series=name,
            x=f"PyTorch, {timed.device}, {timed.kernel}",
            value=1e3 * timed.seconds,
            unit="ms",
            kind="measured",
            source=timed.source,
        )
        for timed in timings
    ]


def _accelerated(lab: Lab, name: str, cases: Mapping[str, Callable[[Config], Case]]) -> list[Entry]:
    """Times of the accelerator in the clocks that are known."""
    clocks = [(_PAPER, 1000.0)] + ([(_FPGA, lab.fpga_mhz)] if lab.fpga_mhz is not None else [])
    made = [(title, config, mhz, case(config)) for config, mhz in clocks for title, case in cases.items()]
    found = lab.predict([Point(case.shapes, config) for _, config, _, case in made])
    return [
        Entry(
            series=name,
            x=f"preset {config.name}, {mhz:g} MHz, {title}",
            value=prediction.cycles / mhz / 1e3,
            unit="ms",
            kind="modelled",
            source=f"{_MODEL}: {prediction.cycles:.0f} cycles",
        )
        for (title, config, mhz, _), prediction in zip(made, found, strict=True)
    ]


FIGURES: dict[str, Callable[[Lab], Figure]] = {
    "fig18": fig18,
    "fig19a": fig19a,
    "fig19b": fig19b,
    "fig20": fig20,
    "table3": table3,
    "timing": timing,
}
