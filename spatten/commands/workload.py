"""``spatten workload``: the authors' workloads, or summarization of a shape, on the simulated accelerator."""

from __future__ import annotations

import json
import sys
from typing import TYPE_CHECKING, Any

import typer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table

from sim.common.console import console_of
from sim.common.errors import UserError
from sim.common.files import check_distinct, check_writable, write_text
from sim.common.settings import option_of
from sim.workload.request import OF_FILE, OF_SHAPE, SHAPES, WorkloadRequest
from spatten.commands.preset import load_config
from spatten.commands.request import takes

if TYPE_CHECKING:
    from hdl.spec.config import Config
    from sim.engine.timing import MemoryTiming
    from sim.workload.run import WorkloadResult
    from sim.workload.workload import Workload

__all__ = ["workload"]


@takes(WorkloadRequest)
def workload(request: WorkloadRequest) -> None:
    """Run a workload and compare its cycles with the physical limit, its results with golden."""
    from sim.engine.engine import EngineError
    from sim.transport.memory import ImageError

    config = load_config(request.preset)
    try:
        _check(request)
        timing = _timing(request, config)
        with Console(stderr=True).status("workload"):
            made = _make(request, config)
    except ValueError as error:
        raise UserError(str(error)) from None
    try:
        result = _run(made, request, config, timing)
    except ImageError as error:
        raise UserError(f"--preset {request.preset}: {error}") from None
    except UserError:  # tools are missing
        raise
    except EngineError as error:
        typer.echo(f"error: {error}", err=True)
        raise typer.Exit(1) from None
    _print(console_of(), result)
    if request.json_path is not None:
        write_text(request.json_path, json.dumps(_figures(result, request.seed), indent=2) + "\n")
        typer.echo(f"{request.json_path}")
    if request.ramulator is not None:
        typer.echo(f"{request.ramulator}")
    raise typer.Exit(1 if result.mismatches else 0)


# What is asked for ---------------------------------------------------------------------------------------------


def _check(request: WorkloadRequest) -> None:
    """Do the options fit each other, and can the files be written?"""
    file, shape = request.file, request.shape
    if (file is None) == (shape is None):
        raise UserError(f"FILE.csv or --shape must be given, not {'none' if file is None else 'both'} of them")
    if shape is not None and shape not in SHAPES:
        raise UserError(f"--shape must be {' or '.join(SHAPES)}, not {shape!r}")
    fields = {"FILE.csv": OF_FILE, **{f"--shape {name}": names for name, names in OF_SHAPE.items()}}
    mine = fields["FILE.csv" if shape is None else f"--shape {shape}"]
    for name in dict.fromkeys(name for names in fields.values() for name in names):
        if getattr(request, name) is not None and name not in mine:
            option = "--pair/--no-pair" if name == "pair" else option_of(name)
            others = " or ".join(other for other, names in fields.items() if name in names)
            raise UserError(f"{option} must come with {others} only")
    for name, least in (("limit", 1), ("check", 1), ("sequences", 1), ("seed", 0)):
        value = getattr(request, name)
        if value is not None and value < least:
            raise UserError(f"{option_of(name)} must be at least {least}, not {value}")
    outputs = {"--json": request.json_path, "--ramulator": request.ramulator}
    for option, path in outputs.items():
        if path is not None:
            check_writable(option, path)
    check_distinct(outputs, {"FILE": file, "--preset": request.preset})


def _timing(request: WorkloadRequest, config: Config) -> MemoryTiming:
    from sim.common.options import naming
    from sim.engine.registry import SIMULATORS
    from sim.engine.timing import MemoryTiming

    if request.engine not in SIMULATORS:
        raise UserError(f"--engine must be one of {', '.join(SIMULATORS)}, not {request.engine!r}")
    with naming(["mode"]):
        timing = MemoryTiming(mode=request.memory)
    if timing.mode == "hbm2":
        with naming([], f"--preset {config.name}"):
            timing.hbm2_of(config).check_word(config.channel_width)
    return timing


def _make(request: WorkloadRequest, config: Config) -> Workload:
    from sim.workload.generation import csv_workload
    from sim.workload.shape import bert_workload, parse_lengths

    if request.file is not None:
        bits = request.query_bits
        if bits is not None and bits not in config.plane_widths:
            known = ", ".join(map(str, config.plane_widths))
            raise UserError(f"--query-bits must be one of {known} (preset {config.name}), not {bits}")
        options: dict[str, Any] = {"limit": request.limit, "query_bits": bits, "pair": request.pair is not False}
        return csv_workload(request.file, config, seed=request.seed, **options)
    if request.shape == "long":
        return _make_long(request, config)
    given = {name: value for name in ("heads", "layers", "dim") if (value := getattr(request, name)) is not None}
    lengths = parse_lengths(request.tokens or "128", request.sequences, request.seed)
    return bert_workload(config, lengths, seed=request.seed, **given)


def _make_long(request: WorkloadRequest, config: Config) -> Workload:
    from sim.workload.long import LongShape, long_workload

    fields = {name: value for name in OF_SHAPE["long"] if (value := getattr(request, name)) is not None}
    tokens = fields.pop("tokens", None)
    if tokens is not None and not tokens.isdecimal():
        raise UserError(f"--tokens must be an integer of at least 1, not {tokens!r}")
    if tokens is not None:
        fields["tokens"] = int(tokens)
    return long_workload(config, LongShape(**fields), seed=request.seed)


# The run -------------------------------------------------------------------------------------------------------


def _run(made: Workload, request: WorkloadRequest, config: Config, timing: MemoryTiming) -> WorkloadResult:
    from sim.engine.ramulator import export_ramulator
    from sim.engine.registry import make_engine
    from sim.workload.run import run_workload

    def save(run: Any) -> None:
        if request.ramulator is not None:
            export_ramulator(run.addresses, request.ramulator, config)

    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    console = Console(stderr=True)
    record = timing.mode == "hbm2" or request.ramulator is not None
    with Progress(*columns, console=console, transient=True, disable=not console.is_terminal) as bar:
        line = bar.add_task("model", total=len(made.jobs))

        def progress(done: int, cycles: int) -> None:
            bar.update(line, completed=done, description=f"{cycles:,} cycles")

        with make_engine(request.engine, config, timing=timing, record_addresses=record) as simulator:
            return run_workload(made, simulator, check=request.check, progress=progress, on_run=save)


def _figures(result: WorkloadResult, seed: int) -> dict[str, Any]:
    from sim.common.revision import revision

    return result.to_json() | {
        "seed": seed,
        "command": " ".join(["spatten", *sys.argv[1:]]),
        "git_revision": revision(),
    }


# What is printed -----------------------------------------------------------------------------------------------


def _print(console: Console, result: WorkloadResult) -> None:
    console.print(_summary(result))
    table = Table("bytes", "", "× less than fp32 dense", box=None, pad_edge=False)
    dense = result.bytes["fp32_dense"]
    for name, count in result.bytes.items():
        table.add_row(name.replace("_", " "), f"{count:,}", f"{dense / count:.2f}")
    console.print(table)
    table = Table("stalled, waiting for", "cycles", "%", box=None, pad_edge=False)
    for name, count in result.stalls.items():
        unit, _, cause = name.partition("_stall_")
        table.add_row(f"{unit}: {cause}", f"{count:,}", f"{100 * count / result.cycles:.1f}")
    console.print(table)


def _add_memory_alone(grid: Table, result: WorkloadResult) -> None:
    """What the memory alone would take for the same words, by what is granted to it."""
    from sim.engine.deliverable import WIDE_WINDOW

    alone = (
        ("deliverable", result.deliverable_cycles, result.fraction_of_deliverable, "same order, same window"),
        ("", result.wide_window_cycles, result.fraction_of_wide_window, f"same order, {WIDE_WINDOW} in flight"),
        ("", result.peak_cycles, result.fraction_of_peak, "peak less refresh, any order"),
    )
    for title, cycles, share, granted in alone:
        if cycles is not None and share is not None:
            grid.add_row(title, f"{cycles:,} cycles of the memory alone ({granted}): {share:.1%} of it reached")


def _summary(result: WorkloadResult) -> Table:
    grid = Table.grid(padding=(0, 2))
    grid.add_column(style="bold")
    grid.add_column()
    grid.add_row(
        "workload", f"{result.workload}: {result.jobs:,} heads, {result.rows:,} rows, {result.flat_rows:,} flat"
    )
    for note in _notes(result.facts):
        grid.add_row("", note)
    grid.add_row("machine", f"preset {result.preset}, {result.engine}, memory {result.memory}")
    grid.add_row("cycles", f"{result.cycles:,} ({result.cycles_per_second:,.0f} a second of wall time)")
    limits = f"Q×K {result.qk_limit_cycles:,.0f}, memory {result.memory_limit_cycles:,.0f}"
    grid.add_row("limit", f"{result.limit_cycles:,.0f} ({limits}): {result.fraction_of_limit:.1%} of it reached")
    _add_memory_alone(grid, result)
    grid.add_row("GFLOPS", f"{result.gflops:,.0f} at 1 GHz; dense equivalent {result.gflops_dense_equivalent:,.0f}")
    use = " · ".join(f"{name} {share:.1%}" for name, share in result.utilization.items())
    grid.add_row("utilization", use)
    style = "red" if result.mismatches else "green"
    found = f"{result.value_mismatches:,} of {result.values_compared:,} values of {result.rows_checked:,} rows differ"
    flags = "in the count of flat rows" if "flat" in result.not_shown else "flat flags of all rows"
    grid.add_row("golden", f"[{style}]{found}, {result.flat_mismatches:,} {flags}[/{style}]")
    if result.not_shown:
        grid.add_row("", f"not shown by engine {result.engine}, so not compared: {', '.join(result.not_shown)}")
    if result.first_mismatch is not None:
        grid.add_row("", f"[red]first: {result.first_mismatch}[/red]")
    return grid


def _notes(facts: dict[str, Any]) -> list[str]:
    """What the user must know of how the workload was made."""
    notes = []
    if facts.get("source"):
        notes.append(f"made by {facts['source']}")
    narrowed = facts.get("narrowed_queries")
    if narrowed:
        widths = f"{narrowed['to_bits']} bits, not {narrowed['from_bits']} as in the file"
        notes.append(f"queries of {narrowed['rows']:,} rows run at {widths}: operands of the preset are no wider")
    elif facts.get("query_bits") and "part_keys" not in facts:
        notes.append(f"queries of all rows at {facts['query_bits']} bits (--query-bits), not at those of the file")
    if facts.get("paired_rows"):
        both = facts["planes_in_both_layouts"]
        also = f"; K of {both:,} heads also lies alone, for other rows" if both else ""
        notes.append(f"{facts['paired_rows']:,} rows in pairs of heads whose K lies together in memory{also}")
    if facts.get("topk_rows"):
        notes.append(f"survivors are those of the file: the selections after {facts['topk_rows']:,} rows do not run")
    if "lengths" in facts:
        lengths, heads = facts["lengths"], f"{facts['layers']} layers of {facts['heads']} heads, D = {facts['dim']}"
        notes.append(f"{len(lengths)} sequences of {min(lengths)} to {max(lengths)} tokens, {heads}")
    return notes
