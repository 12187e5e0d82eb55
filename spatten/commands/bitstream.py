"""``spatten bitstream`` and ``spatten fpga``: build for a board, and load it."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console
from rich.table import Table

if TYPE_CHECKING:
    from fpga.build.bitstream import BuildReport

__all__ = ["bitstream", "fpga_app"]

LOADER = "openFPGALoader"

fpga_app = typer.Typer(no_args_is_help=True, help="Boards: list them, load a bitstream.")

BoardName = Annotated[str, typer.Option("--board", help="See: spatten fpga boards.")]


def _board(name: str) -> Any:
    from fpga.board.boards import BoardError, find_board
    from sim.common.errors import UserError

    try:
        return find_board(name)
    except BoardError as error:
        raise UserError(f"--{error}") from None


def _settings(name: str, preset: str | None, freq: float | None, memory: str | None, baud: int) -> tuple[Any, Any]:
    """Board and settings of the options."""
    from fpga.board.boards import BoardError
    from sim.common.errors import UserError
    from spatten.commands.preset import load_config

    board = _board(name)
    if freq is not None and not 1 <= freq <= 400:
        raise UserError(f"--freq must be from 1 to 400 MHz, not {freq:g}")
    if baud < 1:
        raise UserError(f"--baud must be at least 1, not {baud}")
    config = load_config(preset or board.preset)
    clock_hz = None if freq is None else round(freq * 1e6)
    try:
        return board, board.settings(config, memory=memory, clock_hz=clock_hz, baud=baud)
    except BoardError as error:
        raise UserError(f"--{error}") from None


def bitstream(
    board: BoardName = "ulx3s-85f",
    preset: Annotated[str | None, typer.Option("--preset", help="Default: one that routes; or a .json file.")] = None,
    freq: Annotated[float | None, typer.Option("--freq", help="Clock in MHz; default the board's.")] = None,
    seed: Annotated[int, typer.Option("--seed", min=0, help="Of the placement; of --seeds the first.")] = 1,
    seeds: Annotated[int, typer.Option("--seeds", min=1, help="Seeds to try; the best bitstream is kept.")] = 1,
    memory: Annotated[
        str | None, typer.Option("--memory", help="block or sdram; default the board's SDRAM if the preset can use it.")
    ] = None,
    baud: Annotated[int, typer.Option("--baud", help="Of the serial link.")] = 1_000_000,
    output: Annotated[
        Path | None, typer.Option("-o", "--output", help="Folder; default build/fpga/<board>-<preset>[-<memory>].")
    ] = None,
) -> None:
    """Build the bitstream of a board; exit status 1 if it misses its clock (the bitstream is made all the same)."""
    from fpga.build.bitstream import BuildError, build_bitstream, build_name
    from sim.common.errors import UserError

    chosen, settings = _settings(board, preset, freq, memory, baud)
    folder = output or Path("build") / "fpga" / build_name(chosen, settings)
    if folder.exists() and not folder.is_dir():
        raise UserError(f"--output must be a folder, not the file {str(folder)!r}")
    try:
        with Console(stderr=True).status("") as status:
            report = build_bitstream(
                chosen,
                settings,
                seeds=range(seed, seed + seeds),
                folder=folder,
                progress=lambda step: status.update(f"{build_name(chosen, settings)}: {step}"),
            )
    except BuildError as error:
        typer.echo(f"error: {error}\nlogs are in {folder}", err=True)
        raise typer.Exit(1) from None
    except OSError as error:
        raise UserError(f"--output must be a writable folder, not {str(folder)!r}: {error.strerror}") from None
    _print_report(report, chosen.device, build_name(chosen, settings))
    if not report.met:
        raise typer.Exit(1)


def _print_report(report: BuildReport, device: str, title: str) -> None:
    from fpga.build.bitstream import seed_lines, timing_lines

    table = Table("Resource", "Used", device, "%", title=title)
    for name, used in report.usage.items():
        limit = report.limits[name]
        table.add_row(name, f"{used:,}", f"{limit:,}", f"{100 * used / limit:.1f}")
    Console().print(table)
    typer.echo("seconds: " + ", ".join(f"{step} {seconds:g}" for step, seconds in report.seconds.items()))
    typer.echo(f"{report.bitstream}")
    for line in [*seed_lines(report.timing), *timing_lines(report.timing)]:
        typer.echo(line)


@fpga_app.command("boards")
def boards() -> None:
    """List the boards."""
    from fpga.board.boards import BOARDS

    table = Table("Board", "What", "Memories", "Preset", "Clock")
    for board in BOARDS.values():
        table.add_row(board.name, board.title, ", ".join(board.memories), board.preset, f"{board.clock_hz / 1e6:g} MHz")
    Console().print(table)


@fpga_app.command("program")
def program(
    file: Annotated[Path, typer.Argument(metavar="FILE.bit", help="What spatten bitstream made.")],
    board: BoardName = "ulx3s-85f",
) -> None:
    """Load a bitstream into the FPGA, until the power goes, with openFPGALoader."""
    from sim.common.errors import UserError

    chosen = _board(board)
    if file.suffix != ".bit" or not file.is_file():
        raise UserError(f"FILE.bit must be a bitstream (.bit), not {str(file)!r}")
    loader = shutil.which(LOADER)
    if loader is None:
        raise UserError(f"{LOADER} must be installed and on the PATH to load a bitstream; it is not there")
    status = subprocess.run([loader, "-b", chosen.programmer, str(file)], check=False).returncode
    if status:
        typer.echo(f"error: {LOADER} failed with exit status {status}", err=True)
        raise typer.Exit(1)
