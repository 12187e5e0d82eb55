"""``spatten synth``, ``spatten baselines`` and ``spatten netlist``: resources, clock and behaviour on the ECP5."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.table import Table

__all__ = ["baselines", "netlist", "synth"]

SynthPreset = Annotated[
    str, typer.Option("--preset", help="tiny, ulx3s, eighth, paper, ulx3s-d32, ulx3s-4k, paper-32k, or a .json file.")
]


def _seeds(count: int) -> range:
    from sim.common.errors import UserError

    if count < 1:
        raise UserError(f"--seeds must be at least 1, not {count}")
    return range(1, count + 1)


def _print_report(console: Console, report: dict[str, Any], device: str, title: str) -> None:
    table = Table("Resource", "Used", device, "%", title=title)
    for name, used in report["usage"].items():
        limit = report["limits"][name]
        table.add_row(name, f"{used:,}", f"{limit:,}", f"{100 * used / limit:.1f}")
    console.print(table)
    if "fmax_mhz" not in report:
        return
    by_seed = ", ".join(f"{clock:g}" for clock in report["fmax_by_seed"].values())
    console.print(f"clock: {report['fmax_mhz']:g} MHz (by seed: {by_seed}); the slowest path:", markup=False)
    total = 0.0
    for hop in report["critical_path"]:
        total += hop["ns"]
        where = hop["to"] if hop["from"] == hop["to"] else f"{hop['from']} → {hop['to']}"
        console.print(f"{total:7.2f} ns  {hop['what']:9} {where}", markup=False, highlight=False, soft_wrap=True)


def synth(
    preset: SynthPreset = "ulx3s",
    block: Annotated[
        str | None, typer.Option("--block", help="One block, such as softmax, or a class of hdl/, such as RowMax.")
    ] = None,
    route: Annotated[bool, typer.Option("--route", help="Place and route between registers, for the clock.")] = False,
    seeds: Annotated[int, typer.Option("--seeds", help="Runs of --route; the median counts.")] = 1,
    json_path: Annotated[Path | None, typer.Option("--json", help="The report.")] = None,
) -> None:
    """Synthesize for the ECP5 with Yosys and check that it fits an LFE5U-85F."""
    from fpga.build.synth import DEVICE, SynthError, shortages, synthesize
    from sim.common.errors import UserError
    from sim.common.files import write_text
    from spatten.commands.preset import load_config

    config, console = load_config(preset), Console()
    runs = _seeds(seeds)
    if seeds > 1 and not route:
        raise UserError(f"--seeds must be used with --route, not alone ({seeds})")
    try:
        with Console(stderr=True).status(f"{'Yosys and nextpnr' if route else 'Yosys'}: {block or config.name}"):
            report = synthesize(config, block=block, seeds=runs if route else ())
    except SynthError as error:
        if str(error).startswith("--"):
            raise UserError(str(error)) from None
        typer.echo(f"error: {error}", err=True)
        raise typer.Exit(1) from None
    if json_path:
        write_text(json_path, json.dumps(report, indent=2) + "\n")
    _print_report(console, report, DEVICE, f"{block or 'SpAtten'}, {config.name}")
    for line in shortages(report["usage"]):
        console.print(f"does not fit: {line}", style="red")
    if not report["fits"]:
        raise typer.Exit(1)


def baselines(
    names: Annotated[list[str] | None, typer.Argument(metavar="[BLOCK]...", help="Default: all with one.")] = None,
    preset: SynthPreset = "ulx3s",
    update: Annotated[bool, typer.Option("--update", help="Record what was measured.")] = False,
) -> None:
    """Measure blocks anew (three seeds each) and tell what moved by more than 5 % against fpga/baselines/."""
    from fpga.build.baseline import compare, measure, record
    from fpga.build.blocks import BASELINE_BLOCKS, SynthError
    from sim.common.errors import UserError
    from spatten.commands.preset import load_config

    for name in names or []:
        if name not in BASELINE_BLOCKS:
            raise UserError(f"BLOCK must be one of {', '.join(BASELINE_BLOCKS)}, not {name!r}")
    config, console = load_config(preset), Console()
    table = Table("Block", "Figure", "Baseline", "Now", "Moved", title=f"Baselines of {config.name}")
    worse = False
    for name in names or BASELINE_BLOCKS:
        try:
            with Console(stderr=True).status(f"Yosys and nextpnr: {name}"):
                measured = measure(name, config)
        except SynthError as error:
            typer.echo(f"error: {name}: {error}", err=True)
            raise typer.Exit(1) from None
        for change in compare(name, measured, config):
            worse |= change.worse
            style = "red" if change.worse else "green" if change.moved else None
            old = "none" if change.old is None else f"{change.old:,g}"
            table.add_row(name, change.figure, old, f"{change.new:,g}", change.text, style=style)
        if update:
            record(name, measured, config)
    console.print(table)
    if worse and not update:
        raise typer.Exit(1)


def netlist(
    model: Annotated[str, typer.Argument(help="minilm, smollm2, or a folder or name for transformers.")] = "minilm",
    text: Annotated[str | None, typer.Option("--text", help="The text, or @FILE; default a built-in one.")] = None,
    preset: Annotated[str, typer.Option("--preset", help="tiny, ulx3s, or a .json file.")] = "tiny",
    layers: Annotated[int, typer.Option("--layers", help="Layers that run on the netlist.")] = 1,
    seed: Annotated[int, typer.Option("--seed", help="Of the state at the start, and of stalls.")] = 0,
    memory_stall: Annotated[float, typer.Option("--memory-stall", help="Chance of a stalled cycle, 0 to 1.")] = 0.0,
    json_path: Annotated[Path, typer.Option("--json", help="Metrics.")] = Path("build/netlist/metrics.json"),
) -> None:
    """Run a text through a model on the netlist of ECP5 cells; compare every value with the golden model."""
    from fpga.build.netlist import netlist_engine
    from sim.run.request import RunRequest
    from sim.run.run import run_command
    from spatten.commands.preset import load_config

    load_config(preset)
    request = RunRequest(
        model=model,
        text=text,
        generate=0,
        engine="verilator",
        preset=preset,
        memory_stall=memory_stall,
        seed=seed,
        layers=layers,
        json_path=json_path,
    )
    raise typer.Exit(run_command(request, engine_factory=netlist_engine))
