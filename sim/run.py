"""``spatten run``: a sentence through a real model, with every attention on the simulated accelerator."""

from __future__ import annotations

import contextlib
import dataclasses
import importlib.metadata
import json
import os
import platform
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table

from golden.bert import LayerTrace, ModelError, SentenceModel
from golden.job import Job, JobResult, run_job
from golden.quantize import AttentionSettings
from golden.reference import error_budget
from hdl.config import Config
from sim.engine import EngineError, MemoryTiming, RunResult, make_engine
from sim.limits import limits
from sim.mismatch import Report, compare
from sim.revision import revision
from sim.sentence import read_text

__all__ = ["ENGINES", "METRICS", "LayerRecord", "parse_split", "run_command", "write_json"]

ENGINES = ("auto", "verilator", "pysim", "golden")
METRICS = Path("build/sim/metrics.json")
PLANES = ("query", "key", "key_lsb", "value")
"""Tensor planes: names in metrics, and (as ``<name>_words``) of counters."""


class UserError(ValueError):
    """Something the user asked for cannot be done."""


class GoldenEngine:
    """The integer model in the place of a simulator: exact results, no cycles and no counters."""

    name = "golden"

    def __init__(self, config: Config):
        self.config = config

    def run(self, jobs: list[Job], *, progress: Callable[[int, int], None] | None = None) -> RunResult:
        results: list[JobResult | None] = []
        for job in jobs:
            results.append(run_job(job, self.config))
            if progress is not None:
                progress(len(results), 0)
        nothing = [0] * len(jobs)
        return RunResult(results=results, statuses=nothing, finished=nothing, cycles=0, counters={}, words_read=[])

    def close(self) -> None:
        """Nothing to free."""


@dataclasses.dataclass(kw_only=True)
class LayerRecord:
    """What one layer did; ``None`` where the golden engine has nothing to count."""

    layer: int
    heads: int
    tokens: int
    dim: int
    rows: int
    """query rows, of all heads"""
    flat_rows: int
    """rows recomputed with the LSB plane"""
    cycles: int | None = None
    qk_utilization: float | None = None
    """scores computed over what the Q×K array could compute in the cycles of the layer"""
    limit_cycles: float
    """cycles that no schedule can beat (:mod:`sim.limits`)"""
    bytes_read: dict[str, int] | None = None
    """by plane, and ``total``"""
    bytes_read_fp32_dense: int
    """Q, K and V of every head read once, 4 bytes an element"""
    values_compared: int
    """integers compared with the golden model"""
    mismatches: int
    max_error: float = 0.0
    """largest absolute error of the dequantized output against float attention of the same inputs"""
    relative_error: float = 0.0
    """the same as L2 norms, relative"""
    prob_error: float = 0.0
    """largest absolute error of a probability of the integer model against float64 with the same quantized operands"""
    out_error: float = 0.0
    """largest relative L2 error of an output row of the same"""
    counters: dict[str, int] = dataclasses.field(default_factory=dict)


class LayerRunner:
    """Executor of a model's layers on an engine: compares every result with the golden model and keeps the records."""

    def __init__(self, engine: Any, config: Config, *, layers: int | None, progress: Callable[[int, int, int], None]):
        self.engine, self.config, self.layers, self.progress = engine, config, layers, progress
        self.records: list[LayerRecord] = []
        self.reports: list[Report] = []
        self._golden: list[JobResult] = []

    def execute(self, layer: int, jobs: list[Job]) -> list[JobResult]:
        """Results of the engine (of the golden model beyond the first ``layers`` layers)."""
        self._golden = [run_job(job, self.config) for job in jobs]
        if self.layers is not None and layer >= self.layers:
            return self._golden
        run = self.engine.run(jobs, progress=lambda done, cycles: self.progress(layer, done, cycles))
        self.progress(layer, len(jobs), run.cycles)
        for job, code in zip(jobs, run.statuses, strict=True):
            if code:
                raise EngineError(f"{job.name} was refused with status {code}")
        self.records.append(self._record(layer, jobs, run))
        return run.results

    def on_layer(self, trace: LayerTrace) -> None:
        """Errors against float of a layer just executed."""
        if self.records and self.records[-1].layer == trace.layer:
            record = self.records[-1]
            record.max_error, record.relative_error = trace.max_error, trace.relative_error
            pairs = zip(trace.jobs, self._golden, strict=True)
            budgets = [error_budget(job, self.config, golden) for job, golden in pairs]
            record.prob_error = max(budget.prob for budget in budgets)
            record.out_error = max(budget.out for budget in budgets)

    def _record(self, layer: int, jobs: list[Job], run: RunResult) -> LayerRecord:
        report = self._compare(jobs, run)
        self.reports.append(report)
        record = LayerRecord(
            layer=layer,
            heads=len(jobs),
            tokens=jobs[0].num_queries,
            dim=jobs[0].dim,
            rows=sum(job.num_queries for job in jobs),
            flat_rows=sum(int(result.flat.sum()) for result in run.results if result is not None),
            bytes_read_fp32_dense=sum(4 * job.dim * (job.num_queries + 2 * job.num_rows) for job in jobs),
            limit_cycles=limits(jobs, self._golden, self.config).cycles,
            values_compared=report.compared,
            mismatches=report.mismatches,
        )
        if run.counters:
            record.cycles = run.cycles
            record.qk_utilization = self._utilization(run, record.dim)
            record.counters = run.counters
            word = self.config.channel_width // 8
            record.bytes_read = {plane: run.counters[f"{plane}_words"] * word for plane in PLANES}
            record.bytes_read["total"] = sum(record.bytes_read.values())
        return record

    def _utilization(self, run: RunResult, dim: int) -> float:
        """A line of S keys takes ``beats`` cycles, so that full use is S / beats scores a cycle."""
        full = run.cycles * self.config.scores_per_line(dim)
        return run.counters["qk_useful"] * self.config.beats(dim) / max(1, full)

    def _compare(self, jobs: list[Job], run: RunResult) -> Report:
        if isinstance(self.engine, GoldenEngine):
            return Report()  # the golden model equals itself
        return compare(jobs, run.results, self._golden)


def parse_split(split: str) -> tuple[int, int]:
    """MSB and LSB bits of ``8+4`` or ``8`` (static)."""
    parts = split.split("+")
    if len(parts) > 2 or not all(part.strip().isdecimal() for part in parts):
        raise UserError(f"split must be MSB+LSB bits such as 8+4, or 8 for static quantization, not {split!r}")
    return int(parts[0]), int(parts[1]) if len(parts) == 2 else 0


def run_command(
    model: str = "minilm",
    text: str | None = None,
    *,
    engine: str = "auto",
    preset: str = "tiny",
    json_path: Path | str | None = None,
    split: str = "8+4",
    query_bits: int = 12,
    value_bits: int = 8,
    threshold: float = 0.1,
    value_keep: float = 1.0,
    memory_latency: int = 20,
    memory_stall: float = 0.0,
    seed: int = 0,
    trace: Path | str | None = None,
    layers: int | None = None,
    max_cycles: int | None = None,
    console: Console | None = None,
    engine_factory: Callable[..., Any] = make_engine,
) -> int:
    """Run ``text`` through ``model`` and print, and write to ``json_path``, what the accelerator did.

    layers: the first so many layers run on the engine, the others on the golden model. max_cycles: most cycles of a
    layer. trace: waveform file (VCD or FST). Returns the exit status: 0, 1 (results differ from the golden model, or
    the hardware failed), 2 (the user asked for what cannot be done).
    """
    console = console or Console()
    try:
        config = Config.load(preset)
        key_bits, key_lsb_bits = parse_split(split)
        settings = AttentionSettings(
            query_bits=query_bits,
            key_bits=key_bits,
            key_lsb_bits=key_lsb_bits,
            value_bits=value_bits,
            threshold=threshold,
            value_keep=value_keep,
        )
        settings.check(config)
        timing = MemoryTiming(latency=memory_latency, stall=memory_stall, seed=seed)
        target = _writable(METRICS if json_path is None else Path(json_path))
        sentence = read_text(text)
        name = _engine_name(engine, trace)
        if layers is not None and layers < 1:
            raise UserError(f"layers must be at least 1, not {layers}")
        if max_cycles is not None and max_cycles < 1:
            raise UserError(f"max_cycles must be at least 1, not {max_cycles}")
        sentence_model = SentenceModel.load(model)
        sentence_model.check(config)
        _check_length(sentence_model, sentence, config)
    except ValueError as error:  # UserError, ModelError, ConfigError, TextError, and settings out of range
        return _fail(console, error, 2)
    options: dict[str, Any] = {"timing": timing, "trace": Path(trace) if trace else None}
    if max_cycles is not None:
        options["max_cycles"] = max_cycles
    try:
        with contextlib.closing(
            GoldenEngine(config) if name == "golden" else engine_factory(name, config, **options)
        ) as simulator:
            metrics = _run(console, sentence_model, sentence, simulator, config, settings, timing, layers)
    except ModelError as error:
        return _fail(console, error, 2)
    except EngineError as error:
        return _fail(console, error, 1)
    write_json(target, metrics)
    console.print(f"metrics: {target}", markup=False, highlight=False, soft_wrap=True)
    return 1 if metrics["mismatches"] else 0


def _fail(console: Console, error: Exception, status: int) -> int:
    console.print(f"error: {error}", style="bold red", markup=False, highlight=False, soft_wrap=True)
    return status


def _engine_name(engine: str, trace: Path | str | None) -> str:
    if engine not in ENGINES:
        raise UserError(f"engine must be one of {', '.join(ENGINES)}, not {engine!r}")
    if engine == "auto":
        from sim import verilator

        engine = "verilator" if verilator.available() else "pysim"
    if engine == "golden" and trace is not None:
        raise UserError("the golden engine has no waveforms: choose verilator or pysim")
    return engine


def _writable(path: Path) -> Path:
    """The path, if a file can be put there; checked before the run, so that no run is in vain."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UserError(f"metrics cannot be written to {str(path)!r}: {error.strerror}") from None
    if path.is_dir() or not os.access(path.parent, os.W_OK):
        raise UserError(f"metrics cannot be written to {str(path)!r}")
    return path


def _check_length(model: SentenceModel, sentence: str, config: Config) -> None:
    tokens, limit = len(model.tokens(sentence)), model.token_limit(config)
    if tokens > limit:
        raise UserError(
            f"text has {tokens} tokens, but the limit is {limit} (preset {config.name}, heads of dimension {model.dim})"
        )


def _run(
    console: Console,
    model: SentenceModel,
    sentence: str,
    simulator: Any,
    config: Config,
    settings: AttentionSettings,
    timing: MemoryTiming,
    layers: int | None,
) -> dict[str, Any]:
    name = getattr(simulator, "name", type(simulator).__name__)
    tokens = len(model.tokens(sentence))
    _print_header(console, model, sentence, tokens, name, config, settings, timing)
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    started = time.perf_counter()
    with Progress(*columns, console=console, transient=True) as bar:
        engine_layers = min(layers or model.num_layers, model.num_layers)
        task = bar.add_task("heads", total=engine_layers * model.num_heads)

        def progress(layer: int, done: int, cycles: int) -> None:
            note = f"layer {layer + 1}/{model.num_layers}, {cycles} cycles"
            bar.update(task, completed=layer * model.num_heads + done, description=note)

        runner = LayerRunner(simulator, config, layers=layers, progress=progress)
        want = model.embed(sentence)
        got = model.embed_with(sentence, runner.execute, settings, config, on_layer=runner.on_layer)
    seconds = time.perf_counter() - started
    metrics = _metrics(runner.records, config)
    metrics |= {
        "embedding_cosine": float(want @ got),
        "model": model.name,
        "text": sentence,
        "tokens": tokens,
        "engine": name,
        "preset": config.name,
        "settings": dataclasses.asdict(settings) | {"split": settings.split},
        "memory_latency": timing.latency,
        "memory_stall": timing.stall,
        "seed": timing.seed,
        "seconds": round(seconds, 3),
        "versions": _versions(),
        "git_revision": revision(),
        "layers": [dataclasses.asdict(record) for record in runner.records],
    }
    _print_layers(console, runner.records)
    _print_summary(console, metrics, runner.reports)
    return metrics


def _metrics(records: list[LayerRecord], config: Config) -> dict[str, Any]:
    """Sums over the layers that ran on the engine."""
    counted = all(record.cycles is not None for record in records)
    cycles = sum(record.cycles or 0 for record in records)
    busy = sum((record.qk_utilization or 0) * (record.cycles or 0) for record in records)
    planes = [*PLANES, "total"]
    return {
        "rows": sum(record.rows for record in records),
        "flat_rows": sum(record.flat_rows for record in records),
        "values_compared": sum(record.values_compared for record in records),
        "mismatches": sum(record.mismatches for record in records),
        "cycles": cycles if counted else None,
        "limit_cycles": sum(record.limit_cycles for record in records),
        "qk_utilization": busy / max(1, cycles) if counted else None,
        "bytes_read": {p: sum((record.bytes_read or {})[p] for record in records) for p in planes} if counted else None,
        "bytes_read_fp32_dense": sum(record.bytes_read_fp32_dense for record in records),
        "max_error": max(record.max_error for record in records),
        "max_relative_error": max(record.relative_error for record in records),
        "prob_error": max(record.prob_error for record in records),
        "out_error": max(record.out_error for record in records),
        "num_multipliers": config.num_multipliers,
    }


def _print_header(
    console: Console,
    model: SentenceModel,
    sentence: str,
    tokens: int,
    engine: str,
    config: Config,
    settings: AttentionSettings,
    timing: MemoryTiming,
) -> None:
    flat = f", threshold {settings.threshold:g}" if settings.key_lsb_bits else ", static"
    grid = Table.grid(padding=(0, 2))
    grid.add_column(style="bold")
    grid.add_column()
    grid.add_row("model", f"{model.name}: {model.num_layers} layers, {model.num_heads} heads, D = {model.dim}")
    grid.add_row("text", f"{sentence if len(sentence) <= 200 else sentence[:199] + '…'} ({tokens} tokens)")
    grid.add_row("preset", f"{config.name}: 2 × {config.num_multipliers} multipliers, {config.lanes} lanes")
    grid.add_row("engine", f"{engine}, memory latency {timing.latency}, seed {timing.seed}")
    grid.add_row(
        "settings",
        f"Q {settings.query_bits} bit, K {settings.split} bit{flat}, V {settings.value_bits} bit, "
        f"V rows kept {settings.value_keep:.0%}",
    )
    console.print(grid, markup=False)


def _print_layers(console: Console, records: list[LayerRecord]) -> None:
    """One line a layer, in 80 columns; a layer that differs is red."""
    table = Table(
        title="Layers (KiB read by plane, error against float attention)",
        title_justify="left",
        box=None,
        padding=(0, 1, 0, 0),
    )
    heads = ["layer", "heads", "tokens", "cycles", "Q×K\nuse", "Q", "K", "K\nLSB", "V", "flat\nrows", "max\nerror"]
    for name in [*heads, "rel.\nerror"]:
        table.add_column(name, justify="right", vertical="bottom")
    for record in records:
        read = record.bytes_read
        table.add_row(
            str(record.layer),
            str(record.heads),
            str(record.tokens),
            "–" if record.cycles is None else f"{record.cycles:,}",
            "–" if record.qk_utilization is None else f"{record.qk_utilization:.1%}",
            *("–" if read is None else f"{read[plane] / 1024:,.1f}" for plane in PLANES),
            f"{record.flat_rows / record.rows:.1%}",
            f"{record.max_error:.4f}",
            f"{record.relative_error:.2%}",
            style="red" if record.mismatches else None,
        )
    console.print(table)


def _print_summary(console: Console, metrics: dict[str, Any], reports: list[Report]) -> None:
    if metrics["engine"] == "golden":
        console.print(f"{metrics['rows']:,} rows on the golden model, compared with nothing", highlight=False)
    else:
        style = "bold red" if metrics["mismatches"] else "bold green"
        line = f"{metrics['rows']:,} rows, {metrics['values_compared']:,} values compared with the golden model: "
        console.print(line + f"{metrics['mismatches']:,} mismatches", style=style, highlight=False)
    if metrics["cycles"] is not None:
        dense = metrics["bytes_read_fp32_dense"] / max(1, metrics["bytes_read"]["total"])
        console.print(
            f"{metrics['cycles']:,} cycles (limit {metrics['limit_cycles']:,.0f}), "
            f"Q×K use {metrics['qk_utilization']:.1%}, "
            f"{metrics['bytes_read']['total']:,} bytes read, {dense:.1f}× less than fp32 dense",
            highlight=False,
        )
    console.print(f"embedding cosine similarity {metrics['embedding_cosine']:.6f}", highlight=False)
    for report in reports:
        if report.mismatches:
            console.print(str(report), style="red", markup=False, highlight=False, soft_wrap=True)


def _versions() -> dict[str, str | None]:
    versions: dict[str, str | None] = {"python": platform.python_version()}
    for package in ("amaranth", "torch", "verilator", "transformers"):
        try:
            versions[package] = importlib.metadata.version(package)
        except importlib.metadata.PackageNotFoundError:
            versions[package] = None
    return versions


def write_json(path: Path, data: Any) -> None:
    """Write ``data`` so that ``path`` is at any time the old file or the whole new one."""
    text = json.dumps(data, indent=2, ensure_ascii=False) + "\n"
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        with os.fdopen(handle, "w", encoding="utf-8") as file:
            file.write(text)
        os.chmod(name, 0o644)
        os.replace(name, path)
    except BaseException:
        Path(name).unlink(missing_ok=True)
        raise
