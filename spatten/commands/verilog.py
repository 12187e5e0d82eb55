"""The accelerator as Verilog, Verilator's opinion of it, and what software needs to know of its registers."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console

from sim.common.errors import UserError
from sim.common.files import check_distinct, check_writable, write_text
from spatten.commands.preset import Preset, load_config

__all__ = ["lint_verilog", "registers", "verilog"]


Top = Annotated[
    str,
    typer.Option(
        "--top",
        metavar="KIND",
        help="core: streams of its own; stream: the same as AXI4-Stream; axi: registers, commands in memory, AXI4.",
    ),
]


def verilog(
    preset: Preset = "tiny",
    output: Annotated[
        Path | None,
        typer.Option("-o", "--output", help="File, a folder with --split; default build/<preset>.v, build/<preset>."),
    ] = None,
    split: Annotated[bool, typer.Option("--split", help="A file for each module, and a list of them.")] = False,
    top: Top = "core",
) -> None:
    """Write the accelerator as Verilog-2005, with a header of localparams."""
    config = load_config(preset)
    stem = config.name if _kind(top) == "core" else f"{config.name}_{top}"
    path = output or Path("build") / (stem if split else f"{stem}.v")
    texts = _split if split else _whole
    for file, text in texts(config, path, preset, top).items():
        write_text(file, text)
        typer.echo(f"{file}: {text.count(chr(10)):,} lines")


def _whole(config: Any, path: Path, preset: str, kind: str) -> dict[Path, str]:
    """The Verilog, and beside it the header; the Verilog only if it goes to a pipe or a device."""
    from hdl.verilog import TOPS, to_package, to_verilog, top_of

    check_writable("--output", path)
    header = path.with_name(f"{path.stem}_pkg.vh")
    check_distinct({"--output": path, "the header of --output": header}, {"--preset": preset})
    with Console(stderr=True).status(f"Verilog of {config.name}"):
        top, name = top_of(config, kind), TOPS[kind]
        files = {path: to_verilog(config, top=top, name=name), header: to_package(config, top=top, name=name)}
    return {path: files[path]} if path.exists() and not path.is_file() else files


def _split(config: Any, folder: Path, preset: str, kind: str) -> dict[Path, str]:
    from hdl.verilog import TOPS, to_files, top_of

    if folder.exists() and not folder.is_dir():
        raise UserError(f"--output must be a folder with --split, not the file {str(folder)!r}")
    check_writable("--output", folder / f"{TOPS[kind]}.f")
    with Console(stderr=True).status(f"Verilog of {config.name}"):
        return {
            folder / name: text for name, text in to_files(config, top=top_of(config, kind), name=TOPS[kind]).items()
        }


def _kind(top: str) -> str:
    from hdl.verilog import TOPS

    if top not in TOPS:
        raise UserError(f"--top must be one of {', '.join(TOPS)}, not {top!r}")
    return top


def lint_verilog(preset: Preset = "tiny", top: Top = "core") -> None:
    """Lint the Verilog with all of Verilator's warnings (waivers: sim/engine/waivers.vlt), Yosys and Icarus Verilog."""
    from sim.engine.engine import EngineError
    from sim.engine.lint import lint_verilog as lint
    from sim.engine.lint import linters

    config, _ = load_config(preset), _kind(top)
    try:
        with Console(stderr=True).status(f"Lint of {config.name}"):
            findings = lint(config, kind=top)
    except UserError:  # tools are missing
        raise
    except EngineError as error:
        typer.echo(f"error: {error}", err=True)
        raise typer.Exit(1) from None
    for finding in findings:
        typer.echo(finding)
    typer.echo(f"{config.name}: {len(findings)} findings of {', '.join(linters())}")
    if findings:
        raise typer.Exit(1)


def registers(
    output: Annotated[Path, typer.Option("-o", "--output", help="Folder.")] = Path("build/registers"),
    update: Annotated[
        bool,
        typer.Option("--update", help="Read registers.rdl anew, and write into the checkout in place of a folder."),
    ] = False,
) -> None:
    """Write the registers as C header, Python, IP-XACT and Markdown, and the formats in memory as C header."""
    from hdl.registers.outputs import OUTPUTS, ROOT, outputs
    from hdl.spec.register_map import MAP

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
