"""``spatten board``: say what board is behind a port, or be a simulated board."""

from __future__ import annotations

import os
import signal
import threading
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console

__all__ = ["board"]


def _settings(preset: str, memory: str, baud: int | None) -> Any:
    from fpga.board.simulated_board import simulated_settings
    from fpga.spec.settings import MEMORIES
    from sim.common.errors import UserError
    from spatten.commands.preset import load_config

    config = load_config(preset)
    if memory not in MEMORIES:
        raise UserError(f"--memory must be one of {', '.join(MEMORIES)}, not {memory!r}")
    try:
        return simulated_settings(config, memory=memory, baud=baud)
    except ValueError as error:
        raise UserError(f"--{error}") from None


def _check_link(link: Path) -> None:
    """A link that is there already, such as of a board that was killed, is replaced; nothing else is."""
    from sim.common.errors import UserError

    if link.exists() and not link.is_symlink():
        raise UserError(f"--link must be a new name or a symbolic link, not the file {str(link)!r}")
    if not link.absolute().parent.is_dir():
        raise UserError(f"--link must be in a folder that exists, not {str(link)!r}")


def _simulate(settings: Any, link: Path | None) -> None:
    from fpga.board.simulated_board import BoardModel, BoardServer

    if link is not None:
        _check_link(link)
    stop = threading.Event()
    with BoardServer(BoardModel(settings)) as server:
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, lambda *_: stop.set())
        path = server.path
        if link is not None:
            link.unlink(missing_ok=True)
            link.symlink_to(path)
        core = settings.core
        typer.echo(
            f"{link or path}\n"
            f"preset {core.name}, memory {settings.memory}, {settings.memory_words} words of {core.channel_width} bits "
            f"in each of {core.num_channels} channels, {settings.clock_hz / 1e6:g} MHz, {settings.baud} baud"
        )
        try:
            server.serve(stop.is_set)
        finally:
            if link is not None and link.is_symlink() and os.readlink(link) == path:
                link.unlink()


def _ask(port: str, baud: int) -> None:
    from fpga.host.host import Host, HostError, PortError
    from fpga.spec.settings import config_digest
    from hdl.spec.config import PRESETS
    from sim.common.errors import UserError

    try:
        with Host(port, baud=baud) as host:
            host.reset()
            found = host.version()
    except PortError as error:
        raise UserError(f"--{error}") from None
    except HostError as error:
        typer.echo(f"error: {error}", err=True)
        raise typer.Exit(1) from None
    names = [config.name for config in PRESETS.values() if config_digest(config) == found.digest]
    typer.echo(
        f"protocol {found.protocol}, preset {names[0] if names else 'unknown'} (digest {found.digest:016x}), "
        f"{found.clock_hz / 1e6:g} MHz, {found.window_words} words of {8 * found.word_bytes} bits from word "
        f"{found.window_base} on in each of {found.channels} channels"
    )


def board(
    simulate: Annotated[
        bool, typer.Option("--simulate", help="Be a board on a pseudo-terminal; Ctrl-C ends it.")
    ] = False,
    port: Annotated[
        str | None, typer.Option("--port", help="Reset the board at this serial port; say what it is.")
    ] = None,
    preset: Annotated[str | None, typer.Option("--preset", help="Of the simulated board; default tiny.")] = None,
    memory: Annotated[str | None, typer.Option("--memory", help="Of it: block or sdram; default block.")] = None,
    link: Annotated[Path | None, typer.Option("--link", help="A symbolic link to its pseudo-terminal.")] = None,
    baud: Annotated[
        int | None, typer.Option("--baud", help="Default 1000000; of a simulated board a fourth of its clock.")
    ] = None,
) -> None:
    """Simulate a board with Verilator on a pseudo-terminal, or say what board is at a serial port."""
    from sim.common.errors import UserError
    from sim.engine.engine import EngineError
    from sim.engine.verilator import ToolsError

    if simulate == (port is not None):
        raise UserError("--simulate or --port must be given, and not both")
    if port is not None:
        for option, value in (("preset", preset), ("memory", memory), ("link", link)):
            if value is not None:
                raise UserError(f"--{option} must come with --simulate only")
        if baud is not None and baud < 1:
            raise UserError(f"--baud must be at least 1, not {baud}")
        _ask(port, 1_000_000 if baud is None else baud)
        return
    settings = _settings(preset or "tiny", memory or "block", baud)
    try:
        _simulate(settings, link)
    except ToolsError as error:
        raise UserError(f"--simulate: {error}") from None
    except EngineError as error:
        Console(stderr=True).print(f"error: {error}", markup=False, soft_wrap=True)
        raise typer.Exit(1) from None
