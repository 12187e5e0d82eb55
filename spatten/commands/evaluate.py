"""``spatten eval``: quality and DRAM traffic of an algorithm, or of many, on real text."""

from __future__ import annotations

import contextlib
import csv
import dataclasses
import hashlib
import importlib.metadata
import io
import json
import math
import os
import platform
import shlex
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn
from rich.table import Table

from sim.common.settings import option_of

if TYPE_CHECKING:
    from hdl.spec.config import Config
    from sim.evaluate.sweep import Point
    from sim.evaluate.task import Task
    from sim.evaluate.units import Run

__all__ = ["eval_app"]

eval_app = typer.Typer(no_args_is_help=True, help="Measure quality and DRAM traffic of an algorithm on real text.")

Part = Annotated[str, typer.Option("--part", help="all, or the first or second half.")]
Preset = Annotated[
    str,
    typer.Option(
        "--preset", help="Configuration: tiny, ulx3s, eighth, paper, ulx3s-d32, ulx3s-4k, paper-32k, or a .json file."
    ),
]
Name = Annotated[str, typer.Option("--algorithm", help="A named algorithm, or a .json file.")]
Vary = Annotated[
    list[str] | None, typer.Option("--vary", metavar="FIELD=A,B,C", help="Values of a field; all combinations run.")
]
Sweep = Annotated[Path | None, typer.Option("--sweep", help="The same as a JSON file {field: [value, …]}.")]
Workers = Annotated[int | None, typer.Option("--workers", help="Processes; default one a core.")]
Scheduler = Annotated[str | None, typer.Option("--scheduler", help="Of dask, such as tcp://host:8786.")]
JsonPath = Annotated[Path | None, typer.Option("--json", help="Results; of a sweep JSON lines.")]
CsvPath = Annotated[Path | None, typer.Option("--csv", help="The same as a table.")]
RESULTS = Path("build/eval")
"""Where the files of a sweep go if the user does not say it."""

Plot = Annotated[Path | None, typer.Option("--plot", help="Trade-off of a sweep: PLOT.png and PLOT.html.")]


@eval_app.command()
def ppl(
    context: typer.Context,
    model: Annotated[str, typer.Argument(help="smollm2, or a folder or name for transformers.")],
    text: Annotated[Path, typer.Option("--text", help="File.")],
    prompt: Annotated[int, typer.Option("--context", help="Tokens of a window that are its prompt.")] = 992,
    generate: Annotated[int, typer.Option("--generate", help="Tokens after it, one by one.")] = 32,
    windows: Annotated[int, typer.Option("--windows", help="Spread evenly, without overlap.")] = 32,
    part: Part = "all",
    algorithm: Name = "paper-gpt2",
    preset: Preset = "paper",
    batch: Annotated[int, typer.Option("--batch", help="Most windows at a time.")] = 8,
    vary: Vary = None,
    sweep: Sweep = None,
    workers: Workers = None,
    scheduler: Scheduler = None,
    json_path: JsonPath = None,
    csv_path: CsvPath = None,
    plot: Plot = None,
) -> None:
    """Perplexity of a language model in generation, dense against SpAtten."""

    def read(config: Config) -> Task:
        from sim.evaluate.perplexity import PerplexityTask

        return PerplexityTask.read(
            model, text, config, context=prompt, generate=generate, windows=windows, part=part, batch=batch
        )

    _evaluate(context, read)


@eval_app.command()
def sts(
    context: typer.Context,
    model: Annotated[str, typer.Argument(help="minilm, or a folder or name for transformers.")],
    more: Annotated[list[Path] | None, typer.Argument(metavar="[FILE]...", help="More files of pairs.")] = None,
    pairs: Annotated[
        list[Path] | None, typer.Option("--pairs", help="File of lines with score, sentence, sentence (tabs).")
    ] = None,
    part: Part = "all",
    algorithm: Name = "paper-bert",
    preset: Preset = "paper",
    batch: Annotated[int, typer.Option("--batch", help="Most sentences at a time.")] = 32,
    vary: Vary = None,
    sweep: Sweep = None,
    workers: Workers = None,
    scheduler: Scheduler = None,
    json_path: JsonPath = None,
    csv_path: CsvPath = None,
    plot: Plot = None,
) -> None:
    """Spearman correlation of sentence likeness by an encoder, dense against SpAtten."""

    def read(config: Config) -> Task:
        from sim.evaluate.sentences import SentenceTask

        return SentenceTask.read(model, [*(pairs or []), *(more or [])], config, part=part, batch=batch)

    _evaluate(context, read)


# The evaluation ------------------------------------------------------------------------------------------------


def _evaluate(context: typer.Context, read: Callable[[Config], Task]) -> None:
    """What both commands do; all that the user may have to put right is checked before the long work."""
    from golden.models.load import ModelError
    from sim.common.errors import UserError
    from sim.evaluate.units import WorkerError
    from spatten.commands.preset import load_config

    config = load_config(context.params["preset"])
    try:
        with contextlib.ExitStack() as stack:
            _run(context, config, read, stack)
    except ModelError as error:
        raise UserError(str(error)) from None
    except WorkerError as error:
        typer.echo(f"error: {error}", err=True)
        raise typer.Exit(1) from None


def _run(context: typer.Context, config: Config, read: Callable[[Config], Task], stack: contextlib.ExitStack) -> None:
    from sim.common.errors import UserError
    from sim.evaluate.sweep import connect, on_cluster, on_cores, points_of, read_fields, threads_of
    from sim.evaluate.units import compute_here

    options, console = context.params, Console(stderr=True)
    points = points_of(options["algorithm"], read_fields(options["sweep"], options["vary"] or []))
    workers = len(os.sched_getaffinity(0)) if options["workers"] is None else options["workers"]
    if workers < 1:
        raise UserError(f"--workers must be at least 1, not {workers}")
    report = _Report(context, points)
    client = stack.enter_context(connect(options["scheduler"])) if options["scheduler"] else None
    with console.status(options["model"]):
        task = read(config)
    _check(task, points)
    sequences = len(task.items) * len(points)
    run = on_cores(workers) if workers > 1 and sequences > 1 else compute_here
    if client is not None:
        run, workers = on_cluster(client), threads_of(client)
    # Every process gets some of the work.
    task = dataclasses.replace(task, batch=min(task.batch, math.ceil(sequences / workers)))
    report.begin(task)
    stack.callback(report.end)
    _compute(task, points, run, report, console)


def _check(task: Task, points: Sequence[Point]) -> None:
    """UserError that names the options of the first point which does not fit the task."""
    from sim.common.errors import UserError

    for point in points:
        try:
            task.check(point.algorithm)
        except ValueError as error:
            raise UserError(f"{point.option}: {error}") from None


def _compute(task: Task, points: Sequence[Point], run: Run, report: _Report, console: Console) -> None:
    """The evaluation, with a bar on a terminal; an interruption tells what is finished."""
    from sim.common.errors import Interrupted
    from sim.evaluate.evaluate import evaluate

    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    quiet = not console.is_terminal
    with Progress(*columns, TimeRemainingColumn(), console=console, transient=True, disable=quiet) as bar:
        line = bar.add_task(task.KIND, total=None)

        def progress(done: int, total: int) -> None:
            bar.update(line, completed=done, total=total)

        results = evaluate(task, [point.algorithm for point in points], run, progress=progress)
        try:
            with contextlib.closing(results):
                for index, result in results:
                    report.add(points[index], result)
                    bar.update(line, description=f"{task.KIND}, {len(report.entries)}/{len(points)} settings")
        except KeyboardInterrupt:
            finished = f"{len(report.entries)} of {len(points)} settings are finished"
            raise Interrupted(f"{finished}; the same command goes on from here") from None


def _command_of(context: typer.Context) -> str:
    """The command line, with its defaults."""
    words = context.command_path.split()
    for parameter in context.command.params:
        value = context.params.get(parameter.name or "")
        for part in value if isinstance(value, list | tuple) else [value]:
            if part is not None:
                option = parameter.opts[0]
                words += [option, str(part)] if option.startswith("-") else [str(part)]
    return shlex.join(words)


# What comes out ------------------------------------------------------------------------------------------------


class _Report:
    """Files and tables of the results; of a sweep every finished point is written at once."""

    def __init__(self, context: typer.Context, points: Sequence[Point]):
        from sim.common.errors import UserError
        from sim.common.files import check_distinct, check_writable

        options = context.params
        self.command, self.algorithm, self.sweep = _command_of(context), options["algorithm"], len(points) > 1
        self.json_path, self.csv_path, self.plot = options["json_path"], options["csv_path"], options["plot"]
        if self.sweep:
            name = f"sweep-{hashlib.sha256(self.command.encode()).hexdigest()[:8]}"
            self.json_path = self.json_path or RESULTS / f"{name}.jsonl"
            self.csv_path = self.csv_path or RESULTS / f"{name}.csv"
            self.plot = self.plot or RESULTS / name
        elif self.plot is not None:
            raise UserError(f"--plot needs several settings (--vary or --sweep), not one, to draw {str(self.plot)!r}")
        for option, path in (("--json", self.json_path), ("--csv", self.csv_path), ("--plot", self.plot)):
            if path is not None:
                check_writable(option, path, prefix=option == "--plot")
        check_distinct(dict(self._outputs()), dict(_inputs(options)))
        self.entries: list[dict[str, Any]] = []
        self.rows: list[dict[str, Any]] = []
        self.curve: dict[str, list[Any]] = {"reduction": [], "loss": [], "labels": []}

    def _outputs(self) -> Iterator[tuple[str, Path | None]]:
        from sim.evaluate.sweep import plot_paths

        yield "--json", self.json_path
        yield "--csv", self.csv_path
        for path in plot_paths(self.plot) if self.plot is not None else ():
            yield f"--plot (*{path.suffix})", path

    def begin(self, task: Task) -> None:
        from sim.common.files import write_text

        self.task, self.provenance = task, {"command": self.command, **_provenance()}
        if self.sweep:
            write_text(self.json_path, "")

    def add(self, point: Point, result: dict[str, Any]) -> None:
        from sim.common.files import write_text
        from sim.evaluate.journal import Journal

        settings = {"algorithm": self.algorithm, "varied": point.texts, "settings": dataclasses.asdict(point.algorithm)}
        entry = {**self.task.meta, **settings, **result, **self.provenance}
        self.entries.append(entry)
        self.rows.append(_row(entry))
        self.curve["reduction"].append(result["dram_reduction"])
        self.curve["loss"].append(_loss(entry))
        self.curve["labels"].append(point.label)
        if self.sweep:
            Journal(self.json_path).append(entry)
        elif self.json_path is not None:
            write_text(self.json_path, json.dumps(entry, indent=2) + "\n")
        if self.csv_path is not None:
            write_text(self.csv_path, _csv(self.rows))

    def end(self) -> None:
        """Print, and of a sweep draw, what there is."""
        if self.entries and self.sweep:
            self._end_sweep()
        elif self.entries:
            Console().print(_summary(self.entries[0]), markup=False, highlight=False)

    def _end_sweep(self) -> None:
        from sim.evaluate.sweep import Curve, draw

        title = f"{self.task.model}: {len(self.entries)} settings"
        curve = Curve(title=title, loss_name=_LOSSES[self.task.KIND], **self.curve)
        table = Table("settings", curve.loss_name, "DRAM reduction (×)", "Pareto", box=None, pad_edge=False)
        front = curve.front
        for index in sorted(range(len(self.entries)), key=lambda index: curve.reduction[index]):
            figures = f"{curve.loss[index]:+.2f}", f"{curve.reduction[index]:.2f}"
            table.add_row(curve.labels[index], *figures, "◆" if index in front else "")
        Console().print(table)
        for path in (self.json_path, self.csv_path, *draw(curve, self.plot)):
            typer.echo(f"{path}")


def _inputs(options: dict[str, Any]) -> Iterator[tuple[str, Path | str | None]]:
    """What the command reads, by option."""
    for name in ("text", "sweep", "algorithm", "preset", "model"):
        yield option_of(name) if name != "model" else "MODEL", options.get(name)
    for path in [*(options.get("pairs") or []), *(options.get("more") or [])]:
        yield f"--pairs {path}", path


_LOSSES = {"ppl": "perplexity increase (%)", "sts": "Spearman points lost"}


def _loss(entry: dict[str, Any]) -> float:
    return 100 * entry["ppl_increase"] if entry["kind"] == "ppl" else entry["points_lost"]


def _everything(entry: dict[str, Any]) -> str:
    """The reduction against both kinds of floats, with all that is moved beside the rows."""
    stages = {"": "", "_with_prompt": " with the prompt"} if entry["kind"] == "ppl" else {"": ""}
    name = "dram_reduction_everything"
    parts = [f"{entry[name + at]:.2f}× (fp16 {entry[name + '_fp16' + at]:.2f}×){text}" for at, text in stages.items()]
    return ", ".join(parts)


def _summary(entry: dict[str, Any]) -> Table:
    """The key figures of one setting."""
    grid = Table.grid(padding=(0, 2))
    grid.add_column(style="bold")
    grid.add_column()
    if entry["kind"] == "ppl":
        error = entry["ce_difference_stderr"]
        within = "" if error is None else f" ± {100 * error * entry['ppl'] / entry['dense_ppl']:.2f}"
        grid.add_row("perplexity", f"{entry['dense_ppl']:.3f} dense, {entry['ppl']:.3f} SpAtten")
        grid.add_row("increase", f"{100 * entry['ppl_increase']:.2f}{within} % ({entry['windows']} windows)")
    else:
        grid.add_row("Spearman", f"{entry['dense_spearman']:.4f} dense, {entry['spearman']:.4f} SpAtten")
        files = len(entry["files"])
        grid.add_row("lost", f"{entry['points_lost']:.2f} points (mean of {files} files, {entry['pairs']} pairs)")
    factors = " · ".join(f"{name} {factor:.2f}" for name, factor in entry["factors"].items())
    grid.add_row("DRAM reduction", f"{entry['dram_reduction']:.2f}× = {factors}")
    if "dram_reduction_with_prompt" in entry:
        grid.add_row("with the prompt", f"{entry['dram_reduction_with_prompt']:.2f}×")
    grid.add_row("ids and scales too", _everything(entry))
    grid.add_row("flat rows", f"{entry['flat_row_share']:.1%}")
    grid.add_row("products saved", f"{entry['macs_saved']:.1%}")
    kept = [f"{layer['token_share']:.0%}" for layer in entry["survivors"]]
    grid.add_row("tokens by layer", " ".join(kept))
    grid.add_row("heads by layer", " ".join(f"{layer['heads']:.3g}" for layer in entry["survivors"]))
    grid.add_row("time", f"{entry['seconds']:.1f} s of all processes")
    return grid


def _row(entry: dict[str, Any]) -> dict[str, Any]:
    """An entry as one line of a table: numbers of nested objects by ``name.part``, settings as JSON, no lists."""
    row: dict[str, Any] = {}
    for name, value in entry.items():
        if name in ("settings", "versions"):
            row[name] = json.dumps(value)
        elif isinstance(value, dict):
            row |= {f"{name}.{part}": inner for part, inner in value.items() if not isinstance(inner, dict)}
        elif not isinstance(value, list):
            row[name] = value
    return row


def _csv(rows: list[dict[str, Any]]) -> str:
    file = io.StringIO()
    writer = csv.DictWriter(file, list(rows[0]), lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return file.getvalue()


def _provenance() -> dict[str, Any]:
    from sim.common.revision import revision

    packages = ("numpy", "scipy", "tokenizers", "torch", "transformers")
    versions = {"python": platform.python_version(), **{name: importlib.metadata.version(name) for name in packages}}
    return {"versions": versions, "git_revision": revision()}
