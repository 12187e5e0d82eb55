"""``spatten verilog`` and ``spatten lint-verilog``: the accelerator as Verilog, and Verilator's opinion of it."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from spatten.commands.preset import Preset, load_config

__all__ = ["lint_verilog", "verilog"]


def verilog(
    preset: Preset = "tiny",
    output: Annotated[Path | None, typer.Option("-o", "--output", help="File; default build/<preset>.v.")] = None,
) -> None:
    """Write the accelerator as Verilog-2005."""
    from hdl.verilog import to_verilog
    from sim.common.files import check_distinct, check_writable, write_text

    config = load_config(preset)
    path = output or Path("build") / f"{config.name}.v"
    check_writable("--output", path)
    check_distinct({"--output": path}, {"--preset": preset})
    with Console(stderr=True).status(f"Verilog of {config.name}"):
        text = to_verilog(config)
    write_text(path, text)
    typer.echo(f"{path}: {text.count(chr(10)):,} lines")


def lint_verilog(preset: Preset = "tiny") -> None:
    """Lint the Verilog with all of Verilator's warnings; waivers stand in sim/engine/waivers.vlt."""
    from sim.common.errors import UserError
    from sim.engine.engine import EngineError
    from sim.engine.lint import lint_verilog as lint

    config = load_config(preset)
    try:
        with Console(stderr=True).status(f"Lint of {config.name}"):
            findings = lint(config)
    except UserError:  # tools are missing
        raise
    except EngineError as error:
        typer.echo(f"error: {error}", err=True)
        raise typer.Exit(1) from None
    for finding in findings:
        typer.echo(finding)
    typer.echo(f"{config.name}: {len(findings)} findings")
    if findings:
        raise typer.Exit(1)
