"""``spatten run``: a text through a real model, with every attention on the simulated accelerator."""

from __future__ import annotations

import contextlib
import dataclasses
import importlib.metadata
import json
import os
import platform
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import torch
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from golden.host.accounting import dram_reduction, factors, summed
from golden.host.algorithm import Algorithm
from golden.host.session import LayerTrace, Session
from golden.layers.layer import Layer, Outcome, run_layer
from golden.layers.quantize import AttentionSettings
from golden.models.load import CausalModel, ModelError, SentenceModel, load_model
from hdl.spec.config import Config
from sim.common.errors import UserError
from sim.common.files import write_text
from sim.common.mismatch import Report
from sim.common.options import UNCHANGED, Settings, algorithm_of, naming, option_of
from sim.common.revision import revision
from sim.engine.engine import Engine, EngineError, SetupError
from sim.engine.registry import engine_names, make_engine
from sim.engine.timing import MemoryTiming
from sim.run.accelerator import Accelerator, Call
from sim.run.record import PLANES, RunRecord, record_of
from sim.run.text import print_header, print_layers, print_summary, print_text, read_text

__all__ = ["METRICS", "LayerRecord", "run_command", "write_json"]

METRICS = Path("build/sim/metrics.json")
GENERATE = 16
"""Tokens that a language model adds, if the user does not say how many."""

Model = SentenceModel | CausalModel


# What can be done ----------------------------------------------------------------------------------------------


def _check_algorithm(model: Model, algorithm: Algorithm, config: Config, settings: Settings) -> None:
    """Does the algorithm fit the model and the configuration?"""
    with naming(settings.given):
        for part in (algorithm.attention, algorithm.prompt):
            if part is not None:
                part.check(config)
        algorithm.token_ratios(model.num_layers, model.num_kv_heads)
        algorithm.head_ratios(model.num_layers)
    prunes = algorithm.prunes_tokens or algorithm.prunes_heads
    if isinstance(model, SentenceModel) and prunes and algorithm.scope != "cascade":
        raise UserError(f'--scope must be "cascade" for an encoder to prune, not "{algorithm.scope}"')


def _check_generate(model: Model, generate: int | None) -> int:
    """Tokens to generate: none with an encoder."""
    if isinstance(model, SentenceModel):
        if generate:
            raise UserError(f"--generate needs a model that generates text, not {model.name!r}, an encoder")
        return 0
    return GENERATE if generate is None else generate


def _check_length(model: Model, tokens: int, generate: int, config: Config) -> None:
    limit = model.token_limit(config)
    why = f"preset {config.name}, heads of dimension {model.dim}"
    if tokens > limit:
        raise UserError(f"--text has {tokens} tokens, but the limit is {limit} ({why})")
    if generate and tokens + generate - 1 > limit:
        raise UserError(
            f"--generate must be at most {limit - tokens + 1} behind {tokens} tokens (limit {limit}: {why}), "
            f"not {generate}"
        )


def _engine_name(engine: str, trace: Path | str | None) -> str:
    engines = ("auto", *engine_names(), "golden")
    if engine not in engines:
        raise UserError(f"--engine must be one of {', '.join(engines)}, not {engine!r}")
    if engine == "auto":
        from sim.engine import verilator

        engine = "verilator" if verilator.available() else "pysim"
    if engine in ("golden", "fpga") and trace is not None:
        raise UserError(f"--trace needs an engine with waveforms, verilator or pysim, not {engine}")
    return engine


def _check_board(engine: str, port: str | None, baud: int | None, timing: MemoryTiming, max_cycles: int | None) -> None:
    """Are the options of a board given with a board, and only such?"""
    if engine != "fpga":
        for option, value in (("port", port), ("baud", baud)):
            if value is not None:
                raise UserError(f"--{option} needs --engine fpga, not {engine}")
        return
    if port is None:
        raise UserError("--port must name the board's serial port with --engine fpga; it is missing")
    if baud is not None and baud < 1:
        raise UserError(f"--baud must be at least 1, not {baud}")
    usual = MemoryTiming()
    simulated = (
        ("memory", timing.mode != usual.mode),
        ("memory_latency", timing.latency != usual.latency),
        ("memory_stall", timing.stall != usual.stall),
        ("seed", timing.seed != usual.seed),
        ("max_cycles", max_cycles is not None),
    )
    for name, given in simulated:
        if given:
            raise UserError(
                f"{option_of(name)} needs a simulated engine, not fpga: a board has its own memory and clock"
            )


def _writable(option: str, path: Path) -> Path:
    """The path, if a file can be put there; checked before the run, so that no run is in vain."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UserError(f"{option} cannot be written to {str(path)!r}: {error.strerror}") from None
    if path.is_dir() or not os.access(path.parent, os.W_OK):
        raise UserError(f"{option} cannot be written to {str(path)!r}")
    return path


def _load(name: str, config: Config) -> Model:
    try:
        model = load_model(name)
        model.check(config)
    except ModelError as error:
        raise UserError(_of_model(name, error)) from None
    return model


def _of_model(name: str, error: ModelError) -> str:
    return str(error) if str(error).startswith("model ") else f"model {name!r}: {error}"


# Records -------------------------------------------------------------------------------------------------------


@dataclasses.dataclass(kw_only=True)
class LayerRecord:
    """What one layer did in one step, or several of them; ``None`` where the golden engine has nothing to count."""

    layer: int
    step: int
    """0: the prompt (an encoder's only step); of several steps the last"""
    heads: int
    """query heads computed"""
    heads_kept: int
    """of them, those that survive the layer's selection"""
    tokens: float
    """attended (scope head: mean of the K/V heads)"""
    tokens_kept: float
    dim: int
    rows: int
    """query rows, of all heads"""
    flat_rows: int
    """rows recomputed with the LSB plane"""
    bytes: dict[str, float]
    """Q, K and V that the rows need, by plane, and ``total``"""
    bytes_read_fp32_dense: float
    """Q, K and V of every token and K/V head read once, 4 bytes an element"""
    macs: int
    dense_macs: int
    cycles: int | None = None
    qk_utilization: float | None = None
    """scores computed over what the Q×K array could compute in the cycles of the layer"""
    limit_cycles: float | None = None
    """cycles that no schedule can beat (:mod:`sim.common.limits`)"""
    bytes_read: dict[str, int] | None = None
    """memory words read, by plane, and ``total``"""
    values_compared: int = 0
    """integers compared with the golden model"""
    mismatches: int = 0
    max_error: float = 0.0
    """largest absolute error of the dequantized output against dense float attention of the same inputs"""
    relative_error: float = 0.0
    """the same as L2 norms, relative"""
    prob_error: float | None = None
    """largest absolute error of a probability of the integer model against float64 with the same quantized operands"""
    out_error: float | None = None
    """largest relative L2 error of an output row of the same"""
    counters: dict[str, int] = dataclasses.field(default_factory=dict)


def _layer_record(trace: LayerTrace, calls: list[Call], dim: int, config: Config) -> LayerRecord:
    """A layer of one sequence, with the calls that it took on the engine (none on the golden model)."""
    planes = {plane: getattr(trace.traffic, plane) for plane in PLANES}
    record = LayerRecord(
        layer=trace.layer,
        step=trace.step,
        heads=int(trace.heads.sum()),
        heads_kept=int(trace.head_keep.sum()),
        tokens=_mean([table.ids.shape[1] for table in trace.tables]),
        tokens_kept=_mean([int(table.keep.sum()) for table in trace.tables]),
        dim=dim,
        rows=trace.rows,
        flat_rows=trace.flat_rows,
        bytes=planes | {"total": trace.traffic.total},
        bytes_read_fp32_dense=trace.traffic.dense,
        macs=trace.macs,
        dense_macs=trace.dense_macs,
        max_error=trace.max_error or 0.0,
        relative_error=trace.relative_error or 0.0,
    )
    if calls:
        record.cycles = sum(call.cycles for call in calls)
        record.limit_cycles = sum(call.limit_cycles for call in calls)
        record.counters = _added([call.counters for call in calls])
        record.values_compared = sum(call.values_compared for call in calls)
        record.mismatches = sum(call.mismatches for call in calls)
        record.prob_error = max(call.prob_error for call in calls)
        record.out_error = max(call.out_error for call in calls)
        word = config.channel_width // 8
        record.bytes_read = {plane: record.counters[f"{plane}_words"] * word for plane in PLANES}
        record.bytes_read["total"] = sum(record.bytes_read.values())
        record.qk_utilization = _utilization(record, config)
    return record


def _mean(counts: list[int]) -> float:
    """An int if it is whole."""
    whole, rest = divmod(sum(counts), len(counts))
    return whole + rest / len(counts) if rest else whole


def _utilization(record: LayerRecord, config: Config) -> float:
    """A line of S keys takes ``beats`` cycles, so that full use is S / beats scores a cycle."""
    full = (record.cycles or 0) * config.scores_per_line(record.dim)
    return record.counters["qk_useful"] * config.beats(record.dim) / max(1, full)


_SUMS = ("rows", "flat_rows", "bytes_read_fp32_dense", "macs", "dense_macs", "values_compared", "mismatches")
_COUNTED = ("cycles", "limit_cycles")
_WORST = ("max_error", "relative_error", "prob_error", "out_error")


def _combined(records: list[LayerRecord], config: Config) -> LayerRecord:
    """Sums and worst errors of several records; tokens and heads are those of the last one.

    What only an engine counts is None unless all of them ran on one.
    """
    total = dataclasses.replace(records[-1])
    for name in _SUMS:
        setattr(total, name, sum(getattr(record, name) for record in records))
    total.bytes = _added([record.bytes for record in records])
    for name in _COUNTED + _WORST:
        values = [getattr(record, name) for record in records]
        known = None not in values
        setattr(total, name, (sum(values) if name in _COUNTED else max(values)) if known else None)
    read = [record.bytes_read for record in records if record.bytes_read is not None]
    total.bytes_read = _added(read) if len(read) == len(records) else None
    total.counters = _added([record.counters for record in records]) if total.cycles is not None else {}
    total.qk_utilization = _utilization(total, config) if total.cycles is not None else None
    return total


def _added(parts: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """Sums of the values by name."""
    return {name: sum(part[name] for part in parts) for name in parts[0]}


# The run -------------------------------------------------------------------------------------------------------


@dataclasses.dataclass(frozen=True, kw_only=True)
class _Task:
    """What is to be run."""

    model: Model
    text: str
    generate: int
    algorithm: Algorithm
    config: Config
    timing: MemoryTiming
    engine: str
    port: str | None
    """of the board"""
    layers: int
    """of each step, that run on the engine"""

    @property
    def tokens(self) -> list[str]:
        return self.model.tokens(self.text)

    @property
    def simulated(self) -> bool:
        """Whether ``timing`` holds."""
        return self.engine not in ("golden", "fpga")


class _Runner:
    """Executes a session's layers, the first of each step on an engine, and keeps the records."""

    def __init__(self, task: _Task, engine: Engine | None, bar: Progress):
        self.task, self.bar = task, bar
        self.accelerator = Accelerator(engine, task.config, progress=self._progress) if engine else None
        self.session = Session(
            task.algorithm, task.config, execute=self._execute, on_layer=self._on_layer, float_error=True
        )
        self.traces: list[LayerTrace] = []
        self.records: list[LayerRecord] = []
        self.reports: list[Report] = []
        """with mismatches"""
        self._bar = bar.add_task("layers", total=max(1, task.generate) * task.layers)

    @property
    def engine_records(self) -> list[LayerRecord]:
        """Of the layers that ran where they should."""
        return [record for record in self.records if record.layer < self.task.layers]

    def _execute(self, layer: Layer, config: Config) -> Outcome:
        if self.accelerator is None or self.session.next_layer >= self.task.layers:
            return run_layer(layer, config)
        return self.accelerator.execute(layer, config)

    def _on_layer(self, trace: LayerTrace) -> None:
        calls = self.accelerator.take_calls() if self.accelerator else []
        self.traces.append(trace)
        self.records.append(_layer_record(trace, calls, self.task.model.dim, self.task.config))
        for call in calls:
            self.reports += [report for report in (call.results, call.survivors) if report.mismatches]
        if trace.layer < self.task.layers:
            self.bar.advance(self._bar)

    def _progress(self, answered: int, cycles: int) -> None:
        step = f"token {len(self.traces) // self.task.model.num_layers}, " if self.session.prompt.rows else ""
        layer = f"layer {self.session.next_layer + 1}/{self.task.model.num_layers}"
        self.bar.update(self._bar, description=f"{step}{layer}, {cycles:,} cycles")


def run_command(
    model: str = "minilm",
    text: str | None = None,
    *,
    generate: int | None = None,
    engine: str = "auto",
    preset: str = "tiny",
    algorithm: str | None = None,
    settings: Settings = UNCHANGED,
    memory: str = "ideal",
    memory_latency: int = 20,
    memory_stall: float = 0.0,
    seed: int = 0,
    layers: int | None = None,
    max_cycles: int | None = None,
    trace: Path | str | None = None,
    port: str | None = None,
    baud: int | None = None,
    json_path: Path | str | None = None,
    html_path: Path | str | None = None,
    console: Console | None = None,
    engine_factory: Callable[..., Any] = make_engine,
) -> int:
    """Run ``text`` through ``model`` and print, and write to ``json_path``, what the accelerator did.

    generate: tokens that a language model adds, 16 if None. layers: the first so many layers run on the engine, the
    others on the golden model. max_cycles: most cycles of a layer. trace: waveform file (VCD). port, baud: of the
    board of the engine "fpga". html_path: the page.
    Returns the exit status: 0, 1 (results differ from the golden model, or the hardware failed), 2 (the user asked for
    what cannot be done).
    """
    console = console or Console()
    try:
        with naming(["preset"], f"--preset {preset}"):
            config = Config.load(preset)
        chosen = algorithm_of(algorithm, settings, config)
        with naming(["mode", "latency", "stall", "seed"]):
            timing = MemoryTiming(mode=memory, latency=memory_latency, stall=memory_stall, seed=seed)
        if memory == "hbm2":
            with naming([], f"--preset {preset}"):
                timing.hbm2.check_word(config.channel_width)
        target = _writable("--json", METRICS if json_path is None else Path(json_path))
        page = _writable("--html", Path(html_path)) if html_path is not None else None
        sentence = read_text(text)
        name = _engine_name(engine, trace)
        for option, value, least in (("layers", layers, 1), ("max_cycles", max_cycles, 1), ("generate", generate, 0)):
            if value is not None and value < least:
                raise UserError(f"{option_of(option)} must be at least {least}, not {value}")
        _check_board(name, port, baud, timing, max_cycles)
        loaded = _load(model, config)
        _check_algorithm(loaded, chosen, config, settings)
        generate = _check_generate(loaded, generate)
        _check_length(loaded, len(loaded.encode(sentence)), generate, config)
    except ValueError as error:  # UserError, TextError
        return _fail(console, str(error), 2)
    task = _Task(
        model=loaded,
        text=sentence,
        generate=generate,
        algorithm=chosen,
        config=config,
        timing=timing,
        engine=name,
        port=port,
        layers=min(layers or loaded.num_layers, loaded.num_layers),
    )
    if name == "fpga":
        options: dict[str, Any] = {"port": port} | ({} if baud is None else {"baud": baud})
    else:
        options = {"timing": timing, "trace": Path(trace) if trace else None}
        options |= {} if max_cycles is None else {"max_cycles": max_cycles}
    try:
        with contextlib.ExitStack() as stack:
            simulator = None
            if name != "golden":
                simulator = stack.enter_context(contextlib.closing(engine_factory(name, config, **options)))
            metrics, record = _run(console, task, simulator)
    except SetupError as error:
        return _fail(console, f"--{error}", 2)
    except ModelError as error:
        return _fail(console, _of_model(model, error), 2)
    except EngineError as error:
        return _fail(console, str(error), 1)
    write_json(target, metrics)
    console.print(f"metrics: {target}", markup=False, highlight=False, soft_wrap=True)
    if page is not None:
        from sim.run.page import write_page

        write_page(record, page)
        console.print(f"page: {page}", markup=False, highlight=False, soft_wrap=True)
    return 1 if metrics["mismatches"] else 0


def _fail(console: Console, message: str, status: int) -> int:
    console.print(f"error: {message}", style="bold red", markup=False, highlight=False, soft_wrap=True)
    return status


def _run(console: Console, task: _Task, simulator: Engine | None) -> tuple[dict[str, Any], RunRecord]:
    print_header(console, list(_header(task)))
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    started = time.perf_counter()
    with Progress(*columns, console=console, transient=True) as bar:
        runner = _Runner(task, simulator, bar)
        quality, new, dense_new = _through_model(task, runner.session)
    metrics = _metrics(task, runner) | quality
    metrics["seconds"] = round(time.perf_counter() - started, 3)
    record = _run_record(task, runner, metrics, new, dense_new)
    print_text(console, record)
    print_layers(console, "Layers", metrics["layers"])
    if metrics["generation_layers"]:
        print_layers(console, f"Layers, sum of {record.last_step} steps of generation", metrics["generation_layers"])
    print_summary(console, metrics, runner.reports)
    return metrics, record


def _through_model(task: _Task, session: Session) -> tuple[dict[str, Any], list[int], list[int]]:
    """(metrics of quality, tokens generated, tokens that the model with its own attention generates)."""
    model = task.model
    if isinstance(model, SentenceModel):
        want, got = model.embed(task.text), model.embed(task.text, session)
        return {"embedding_cosine": float(want @ got), "generated": None, "dense_generated": None}, [], []
    ids = torch.tensor([model.encode(task.text)])
    if not task.generate:
        model.logits(ids, session)
        return {"embedding_cosine": None, "generated": "", "dense_generated": ""}, [], []
    dense = model.generate(ids, task.generate)[0].tolist()
    new = model.generate(ids, task.generate, session)[0].tolist()
    texts = {"generated": model.decode(new), "dense_generated": model.decode(dense)}
    return {"embedding_cosine": None, **texts}, new, dense


def _run_record(
    task: _Task, runner: _Runner, metrics: dict[str, Any], new: list[int], dense_new: list[int]
) -> RunRecord:
    timing = task.timing
    ideal = f", latency {timing.latency}, stall {timing.stall:g}" if timing.mode == "ideal" else ""
    memory = f"{timing.mode}{ideal}, seed {timing.seed}" if task.simulated else ""
    record = record_of(
        runner.traces,
        tokens=task.tokens,
        generated=_names(task.model, new),
        dense_generated=_names(task.model, dense_new),
        model=task.model.name,
        text=task.text,
        engine=task.engine,
        preset=task.config.name,
        algorithm=metrics["algorithm"],
        revision=metrics["git_revision"] or "",
        memory="board" if task.engine == "fpga" else memory,
        dram_reduction=metrics["dram_reduction"],
        embedding_cosine=metrics["embedding_cosine"],
        factors=metrics["factors"],
        mismatches=metrics["mismatches"],
        values_compared=metrics["values_compared"],
    )
    for view, mine in zip(record.layers, runner.records, strict=True):
        view.cycles, view.counters = mine.cycles, mine.counters or None
    return record


def _names(model: Model, ids: list[int]) -> list[str]:
    """Tokens; one that the tokenizer does not know (models pad their vocabularies) by its number."""
    names = model.tokenizer.convert_ids_to_tokens(ids)
    return [f"[{token}]" if name is None else name for token, name in zip(ids, names, strict=True)]


def _metrics(task: _Task, runner: _Runner) -> dict[str, Any]:
    """Counts of the layers that ran on the engine, costs of all."""
    session, config = runner.session, task.config
    total = _combined(runner.engine_records, config)
    everything = summed(session.prompt, session.generation)
    # The paper counts the stage that generates, if there is one.
    counted = session.generation if session.generation.rows else session.prompt
    last = [record for record in runner.records if record.step == runner.records[-1].step]
    later = [
        [record for record in runner.engine_records if record.step and record.layer == layer]
        for layer in range(task.layers)
    ]
    attention = task.algorithm.attention
    return {
        "model": task.model.name,
        "text": task.text,
        "tokens": len(task.tokens),
        "engine": task.engine,
        "preset": config.name,
        "algorithm": dataclasses.asdict(task.algorithm),
        "settings": dataclasses.asdict(attention) | {"split": attention.split},
        "rows": total.rows,
        "flat_rows": total.flat_rows,
        "flat_row_share": total.flat_rows / max(1, total.rows),
        "values_compared": total.values_compared,
        "mismatches": total.mismatches,
        "cycles": total.cycles,
        "limit_cycles": total.limit_cycles,
        "qk_utilization": total.qk_utilization,
        "bytes_read": total.bytes_read,
        "bytes_read_fp32_dense": total.bytes_read_fp32_dense,
        "bytes": total.bytes,
        "dram_reduction": dram_reduction(counted),
        "dram_reduction_with_prompt": dram_reduction(everything),
        "factors": factors(counted),
        "macs": everything.macs,
        "dense_macs": everything.dense_macs,
        "tokens_kept": [record.tokens for record in last],
        "heads_kept": [record.heads for record in last],
        "max_error": total.max_error,
        "max_relative_error": total.relative_error,
        "prob_error": total.prob_error,
        "out_error": total.out_error,
        "num_multipliers": config.num_multipliers,
        "memory": {"golden": "none", "fpga": "board"}.get(task.engine, task.timing.mode),
        "memory_latency": task.timing.latency if task.timing.mode == "ideal" and task.engine != "fpga" else None,
        "memory_stall": task.timing.stall if task.timing.mode == "ideal" and task.engine != "fpga" else None,
        "seed": task.timing.seed if task.engine != "fpga" else None,
        "versions": _versions(),
        "git_revision": revision(),
        "layers": [dataclasses.asdict(record) for record in runner.engine_records if not record.step],
        "generation_layers": [dataclasses.asdict(_combined(records, config)) for records in later if records],
    }


def _header(task: _Task) -> Iterator[tuple[str, str]]:
    """What runs, line by line."""
    model, config, algorithm = task.model, task.config, task.algorithm
    shared = f" on {model.num_kv_heads}" if model.num_kv_heads != model.num_heads else ""
    text = task.text if len(task.text) <= 200 else task.text[:199] + "…"
    timing = task.timing
    latency = f" latency {timing.latency}" if timing.mode == "ideal" else ""
    memory = f", memory {timing.mode}{latency}, seed {timing.seed}" if task.simulated else ""
    port = f", port {task.port}" if task.port else ""
    yield "model", f"{model.name}: {model.num_layers} layers, {model.num_heads} heads{shared}, D = {model.dim}"
    yield "text", f"{text} ({len(task.tokens)} tokens)"
    yield "preset", f"{config.name}: 2 × {config.num_multipliers} multipliers, {config.lanes} lanes"
    yield "engine", task.engine + memory + port
    yield "settings", _precision(algorithm.attention)
    if algorithm.prompt is not None and task.generate:
        yield "of prompt", _precision(algorithm.prompt)
    if algorithm.prunes_tokens or algorithm.prunes_heads:
        yield "pruning", ", ".join(_pruning(algorithm, model))


def _precision(settings: AttentionSettings) -> str:
    flat = f", threshold {settings.threshold:g}" if settings.key_lsb_bits else ", static"
    return (
        f"Q {settings.query_bits} bit, K {settings.split} bit{flat}, V {settings.value_bits} bit, "
        f"V rows kept {settings.value_keep:.0%}"
    )


def _pruning(algorithm: Algorithm, model: Model) -> Iterator[str]:
    """What is pruned, in words."""
    yield f"scope {algorithm.scope}"
    if algorithm.prunes_tokens:
        rows = algorithm.token_ratios(model.num_layers, model.num_kv_heads)
        yield f"tokens {_span([sum(row) / len(row) for row in rows])}"
        for what, count in (("first", algorithm.pin_first), ("last", algorithm.pin_last)):
            if count:
                yield f"{what} {count} pinned"
    if algorithm.prunes_heads:
        yield f"heads {_span(algorithm.head_ratios(model.num_layers))}"


def _span(ratios: list[float]) -> str:
    """First and last of the ratios of the layers."""
    return f"{ratios[0]:.0%} … {ratios[-1]:.0%}"


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
    write_text(path, json.dumps(data, indent=2, ensure_ascii=False) + "\n")
