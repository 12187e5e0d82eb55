"""``spatten run``: a text through a real model, with every attention on the simulated accelerator."""

from __future__ import annotations

import dataclasses
import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from golden.host.session import Session
from golden.host.traces import LayerTrace
from golden.layers.layer import Layer, Outcome
from golden.layers.run_layer import run_layer
from golden.models.load import SentenceModel
from hdl.spec.config import Config
from sim.common.console import console_of, tell
from sim.common.files import write_text
from sim.common.mismatch import Report
from sim.engine.engine import Engine
from sim.engine.registry import BOARD, make_engine
from sim.run.accelerator import Accelerator
from sim.run.header import algorithm_name, header
from sim.run.layer_record import LayerRecord, layer_record
from sim.run.metrics import metrics_of
from sim.run.record import RunRecord, record_of
from sim.run.request import RunRequest
from sim.run.task import FAULTS, Model, Setup, Task, engine_of, fault_of, task_of
from sim.run.text import print_header, print_layers, print_summary, print_text

__all__ = ["Runner", "recorded", "run_command", "token_names", "write_json"]


def run_command(
    request: RunRequest,
    *,
    console: Console | None = None,
    errors: Console | None = None,
    engine_factory: Callable[..., Any] = make_engine,
) -> int:
    """Do what is asked for: print, and write to the request's files, what the accelerator did.

    console, errors: where the run and what went wrong are told, by default stdout and stderr.
    Returns the exit status: 0, 1 (results differ from the golden model, or the hardware failed), 2 (the user asked for
    what cannot be done).
    """
    console, errors = console or console_of(), errors or console_of(stderr=True)
    try:
        task = task_of(request)
    except ValueError as error:
        return _fail(errors, str(error), 2)
    try:
        with engine_of(task, engine_factory) as engine:
            metrics, record = _run(console, task, engine)
    except FAULTS as error:
        return _fail(errors, *fault_of(error, request.model))
    write_json(task.metrics, metrics)
    console.print(f"metrics: {task.metrics}", markup=False, highlight=False, soft_wrap=True)
    if task.page is not None:
        from sim.run.page import write_page

        write_page(record, task.page)
        console.print(f"page: {task.page}", markup=False, highlight=False, soft_wrap=True)
    return 1 if metrics["mismatches"] else 0


def _fail(errors: Console, message: str, status: int) -> int:
    tell(errors, f"error: {message}")
    return status


def write_json(path: Path, data: Any) -> None:
    """Write ``data`` so that ``path`` is at any time the old file or the whole new one."""
    write_text(path, json.dumps(data, indent=2, ensure_ascii=False) + "\n")


class Runner:
    """Executes a session's layers, the first of each step on an engine, and keeps the records."""

    def __init__(self, setup: Setup, engine: Engine | None, *, float_error: bool = False):
        self.setup = setup
        self.accelerator = Accelerator(engine, setup.config, progress=self.progress) if engine else None
        self.session = Session(
            setup.algorithm, setup.config, execute=self.execute, on_layer=self.on_layer, float_error=float_error
        )
        self.traces: list[LayerTrace] = []
        self.records: list[LayerRecord] = []
        self.reports: list[Report] = []
        """with mismatches"""

    def execute(self, layer: Layer, config: Config) -> Outcome:
        """A layer's outcome, from the engine or the golden model."""
        if self.accelerator is None or self.session.next_layer >= self.setup.layers:
            return run_layer(layer, config)
        return self.accelerator.execute(layer, config)

    def on_layer(self, trace: LayerTrace) -> None:
        """Keep what a layer did."""
        calls = self.accelerator.take_calls() if self.accelerator else []
        self.traces.append(trace)
        self.records.append(layer_record(trace, calls, self.setup.model.dim, self.setup.config))
        for call in calls:
            self.reports += [report for report in (call.results, call.survivors) if report.mismatches]

    def progress(self, answered: int, cycles: int) -> None:
        """Called now and then while the engine runs a layer."""


class _ShownRunner(Runner):
    """Shows how far it is."""

    def __init__(self, task: Task, engine: Engine | None, bar: Progress):
        super().__init__(task, engine, float_error=True)
        self.bar, self._bar = bar, bar.add_task("layers", total=max(1, task.generate) * task.layers)

    def on_layer(self, trace: LayerTrace) -> None:
        super().on_layer(trace)
        if trace.layer < self.setup.layers:
            self.bar.advance(self._bar)

    def progress(self, answered: int, cycles: int) -> None:
        layers = self.setup.model.num_layers
        step = f"token {len(self.traces) // layers}, " if self.session.prompt.rows else ""
        layer = f"layer {self.session.next_layer + 1}/{layers}"
        self.bar.update(self._bar, description=f"{step}{layer}, {cycles:,} cycles")


def _run(console: Console, task: Task, simulator: Engine | None) -> tuple[dict[str, Any], RunRecord]:
    print_header(console, list(header(task)))
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    started = time.perf_counter()
    with Progress(*columns, console=console, transient=True) as bar:
        runner = _ShownRunner(task, simulator, bar)
        quality, new, dense_new = _through_model(task, runner.session)
    metrics = metrics_of(task, runner.session, runner.records) | quality
    metrics["seconds"] = round(time.perf_counter() - started, 3)
    record = _run_record(task, runner, metrics, new, dense_new)
    print_text(console, record)
    print_layers(console, "Layers", metrics["layers"])
    if metrics["generation_layers"]:
        print_layers(console, f"Layers, sum of {record.last_step} steps of generation", metrics["generation_layers"])
    print_summary(console, metrics, runner.reports)
    return metrics, record


def _through_model(task: Task, session: Session) -> tuple[dict[str, Any], list[int], list[int]]:
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


def _run_record(task: Task, runner: Runner, metrics: dict[str, Any], new: list[int], dense_new: list[int]) -> RunRecord:
    return recorded(
        runner,
        tokens=task.tokens,
        generated=token_names(task.model, new),
        dense_generated=token_names(task.model, dense_new),
        text=task.text,
        revision=metrics["git_revision"] or "",
        dram_reduction=metrics["dram_reduction"],
        embedding_cosine=metrics["embedding_cosine"],
        factors=metrics["factors"],
        mismatches=metrics["mismatches"],
        values_compared=metrics["values_compared"],
    )


def recorded(runner: Runner, **fields: Any) -> RunRecord:
    """What a runner has kept, as a record; fields: those that only the caller knows."""
    setup, timing = runner.setup, runner.setup.timing
    ideal = f", latency {timing.latency}, stall {timing.stall:g}" if timing.mode == "ideal" else ""
    memory = f"{timing.mode}{ideal}, seed {timing.seed}" if setup.simulated else ""
    record = record_of(
        runner.traces,
        model=setup.model.name,
        engine=setup.engine,
        preset=setup.config.name,
        algorithm=dataclasses.asdict(setup.algorithm),
        algorithm_name=algorithm_name(setup.request),
        memory="board" if setup.engine == BOARD else memory,
        **fields,
    )
    for view, mine in zip(record.layers, runner.records, strict=True):
        view.cycles, view.counters = mine.cycles, mine.counters or None
    return record


def token_names(model: Model, ids: list[int]) -> list[str]:
    """Tokens; one that the tokenizer does not know (models pad their vocabularies) by its number."""
    names = model.tokenizer.convert_ids_to_tokens(ids)
    return [f"[{token}]" if name is None else name for token, name in zip(ids, names, strict=True)]
