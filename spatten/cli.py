"""The command line: ``spatten``. Heavy imports (torch, amaranth) happen inside the commands."""

from __future__ import annotations

import sys
import warnings
from pathlib import Path
from typing import Annotated, Any

import typer

from golden.host.cache import cache_folder
from hdl.spec.version import VERSION
from sim.common.errors import Interrupted, UserError
from sim.common.extras import without
from spatten.commands.bench import bench
from spatten.commands.bitstream import bitstream, fpga_app
from spatten.commands.board import board
from spatten.commands.chat import chat
from spatten.commands.comparison.asic import asic
from spatten.commands.comparison.energy import energy
from spatten.commands.comparison.rivals import rivals
from spatten.commands.doctor import doctor
from spatten.commands.evaluate import eval_app
from spatten.commands.models import models
from spatten.commands.reproduce import reproduce
from spatten.commands.results import results
from spatten.commands.run import run
from spatten.commands.synth import baselines, netlist, synth
from spatten.commands.texts import texts
from spatten.commands.verilog import lint_verilog, registers, verilog
from spatten.commands.workload import workload

__all__ = ["KEPT", "app", "main"]

app = typer.Typer(
    add_completion=False,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
    help="SpAtten: generator, simulators and measurements of the sparse-attention accelerator.",
)


def _version(asked: bool) -> None:
    if asked:
        from sim.common.revision import revision

        found = revision()
        typer.echo(f"spatten {VERSION}" + ("" if found == VERSION else f", revision {found}"))
        raise typer.Exit


@app.callback()
def root(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Version and revision, and exit.")
    ] = False,
) -> None:
    """SpAtten: generator, simulators and measurements of the sparse-attention accelerator."""


app.add_typer(eval_app, name="eval")
for command in (run, chat, workload, synth, baselines, netlist, reproduce, bench, results, bitstream, board):
    app.command()(command)
app.add_typer(fpga_app, name="fpga")
for command in (verilog, registers, doctor, models, texts, asic, energy, rivals):
    app.command()(command)
app.command("lint-verilog")(lint_verilog)


KEPT = {
    "baselines": "baselines that were recorded are kept",
    "bench": "the records so far are in build/bench",
    "bitstream": "the logs so far are in the folder of --output, an older bitstream is as it was",
    "chat": "pages that were written are kept",
    "eval": "finished batches are kept; the same command goes on from there",
    "models": "models that are complete are kept",
    "netlist": "no metrics were written; the simulator is kept if it was complete",
    "reproduce": "the figures so far are in the folder of --out",
    "run": "no metrics were written; the simulator is kept if it was complete",
    "texts": "files that were written are kept",
    "workload": "no figures were written; the simulator is kept if it was complete",
}
"""Command -> what there is after it was interrupted; of the others nothing."""


def _one_line(error: Any, arguments: list[str]) -> str:
    """A usage error with the value that caused it, which the message itself may not have."""
    message = " ".join(error.format_message().split())
    if not message:  # a group of commands without one: its help is told already
        return f"a command must follow {arguments[-1]!r}; it is missing"
    for option in getattr(getattr(error, "param", None), "opts", []):
        if option in arguments[:-1]:
            value = arguments[arguments.index(option) + 1]
            return message if repr(value) in message else f"{message}, not {value!r}"
    return message


def _file_error(error: OSError) -> str:
    """A file, folder or program that the machine does not let us have."""
    name, folder = str(error.filename), cache_folder()
    other = "; SPATTEN_CACHE may name another folder" if Path(name).is_relative_to(folder) else ""
    return f"{name!r} cannot be used: {error.strerror}{other}"


def _user_error(error: Exception, arguments: list[str]) -> str | None:
    """The line that tells what the user can put right; None if that is nothing."""
    if isinstance(error, UserError):
        return str(error)
    if isinstance(error, OSError) and error.filename is not None:
        return _file_error(error)
    if isinstance(error, ModuleNotFoundError):
        missing = without(error.name or "")
        return None if missing is None else str(missing)
    # typer brings its own copy of click, whose usage errors all have this method.
    return _one_line(error, arguments) if hasattr(error, "format_message") else None


def main(arguments: list[str] | None = None) -> int:
    """Run the command line; exit status 0, 1 (the work failed), 2 (the user's error, in one line) or 130 (Ctrl-C)."""
    command = typer.main.get_command(app)
    arguments = sys.argv[1:] if arguments is None else arguments
    if not arguments:
        arguments = ["--help"]
    try:
        status = command.main(arguments, prog_name="spatten", standalone_mode=False) or 0
        if status != 130:
            return status
        message = KEPT.get(arguments[0], "nothing is kept")  # Ctrl-C, of which typer makes this status
    except (Interrupted, KeyboardInterrupt) as error:
        message = str(error) or "nothing is kept"
    except Exception as error:
        message = _user_error(error, arguments)
        if message is None:
            raise
        typer.echo(f"error: {message}", err=True)
        return 2
    warnings.simplefilter("ignore")  # a design half made has parts that nothing uses, which Amaranth tells at exit
    typer.echo(f"interrupted: {message}", err=True)
    return 130
