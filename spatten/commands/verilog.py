"""The accelerator as Verilog, Verilator's opinion of it, and what software needs to know of its registers."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from spatten.commands.preset import Preset, load_config

__all__ = ["lint_verilog", "registers", "verilog"]


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


def registers(
    output: Annotated[Path, typer.Option("-o", "--output", help="Folder.")] = Path("build/registers"),
    update: Annotated[
        bool,
        typer.Option("--update", help="Read registers.rdl anew, and write into the checkout in place of a folder."),
    ] = False,
) -> None:
    """Write the registers as C header, Python, IP-XACT and Markdown."""
    from hdl.registers.outputs import OUTPUTS, ROOT, outputs
    from hdl.spec.register_map import MAP
    from sim.common.errors import UserError
    from sim.common.files import check_writable, write_text

    if update:
        from hdl.registers.source import read_source

        if not all((ROOT / name).parent.is_dir() for name in OUTPUTS):
            raise UserError("--update must be used in a checkout, not in an installed copy")
        paths = {ROOT / name: text for name, text in outputs(read_source()).items()}
    else:
        if output.exists() and not output.is_dir():
            raise UserError(f"--output must be a folder, not the file {str(output)!r}")
        paths = {output / Path(name).name: text for name, text in outputs(MAP).items()}
        for path in paths:
            check_writable("--output", path)
    for path, text in paths.items():
        write_text(path, text)
        typer.echo(f"{path}: {text.count(chr(10)):,} lines")
