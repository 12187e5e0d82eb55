"""``spatten asic``: area and clock in the cells of a library."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console
from rich.table import Table

from sim.common.console import console_of
from sim.common.errors import UserError
from sim.common.files import check_distinct, check_writable, write_text
from spatten.commands.preset import Preset, load_config

if TYPE_CHECKING:
    from sim.asic.survey import Target

__all__ = ["asic"]

_DOMINANT = 3
"""Parts that are told to dominate."""


def asic(
    liberty: Annotated[Path, typer.Option("--liberty", help="Cell library in Liberty format, gzipped or not.")],
    preset: Preset = "tiny",
    block: Annotated[
        str | None, typer.Option("--block", help="One block, such as softmax, or a class of hdl/, such as RowMax.")
    ] = None,
    mhz: Annotated[float, typer.Option("--mhz", help="Clock that the logic is sized for.")] = 1000,
    node: Annotated[float, typer.Option("--node", help="Feature size of the library in nm, for memories.")] = 45,
    clock: Annotated[bool, typer.Option("--clock/--no-clock", help="Time it, if OpenSTA is installed.")] = True,
    json_path: Annotated[Path | None, typer.Option("--json", help="All figures.")] = None,
) -> None:
    """Estimate area and clock in the cells of a library: each distinct module once, memories by CACTI's table."""
    from golden.host.cache import cache_folder
    from sim.asic.library import load_library
    from sim.asic.mapping import MappingError
    from sim.asic.survey import Target
    from sim.asic.timing import TimingError

    for option, value in (("--mhz", mhz), ("--node", node)):
        if not 0 < value < float("inf"):
            raise UserError(f"{option} must be more than 0, not {value:g}")
    if json_path is not None:
        check_writable("--json", json_path)
    check_distinct({"--json": json_path}, {"--liberty": liberty, "--preset": preset})
    config, library = load_config(preset), load_library(liberty)
    target = Target(library=library, node_nm=node, mhz=mhz, cache=cache_folder() / "asic")
    try:
        found = {"preset": config.name, "block": block, **_survey(config, block, target, clock)}
    except (MappingError, TimingError) as error:
        typer.echo(f"error: {error}", err=True)
        raise typer.Exit(1) from None
    _print(console_of(), found)
    if json_path is not None:
        write_text(json_path, json.dumps(found, indent=2) + "\n")
        typer.echo(f"{json_path}")


def _survey(config: Any, block: str | None, target: Target, clock: bool) -> dict[str, Any]:
    from fpga.build.blocks import SynthError, find_block
    from hdl import verilog
    from sim.asic.survey import survey
    from sim.asic.timing import find_sta

    try:
        top = find_block(block, config) if block else verilog.top_of(config)
    except SynthError as error:
        raise UserError(str(error)) from None
    with Console(stderr=True).status("Verilog") as status:
        text = _verilog(config, block, top, target.cache)
        return survey(text, target, timed=clock and find_sta() is not None, progress=status.update)


def _verilog(config: Any, block: str | None, top: Any, cache: Path) -> str:
    """The design as Verilog, kept: that of ``paper`` takes minutes."""
    from golden.host.cache import source_digest
    from hdl import verilog

    facts = "\n".join((source_digest("hdl"), config.to_json(), block or ""))
    path = cache / "verilog" / f"{hashlib.sha256(facts.encode()).hexdigest()[:20]}.v"
    if not path.is_file():
        path.parent.mkdir(parents=True, exist_ok=True)
        write_text(path, verilog.to_verilog(config, top=top))
    else:
        top._MustUse__silence = True  # Amaranth warns of components that are made into nothing
    return path.read_text()


def _print(console: Console, found: dict[str, Any]) -> None:
    from sim.asic.published import PAPER_TOTAL_MM2
    from sim.asic.timing import MISSING, find_sta

    title = f"{found['block'] or 'SpAtten'}, {found['preset']}: {found['library']}, sized for {found['mhz']:g} MHz"
    columns = ("logic", "flip-flops", "memories", "all, µm²", "mm² at 40 nm")
    table = Table("block", *columns, "MHz", title=title)
    for name, part in (*found["blocks"].items(), ("all", found)):
        area, clock = part.get("total", part), part.get("clock")
        table.add_row(name, *_areas(area), f"{clock['mhz']:,.0f}" if clock else "")
    console.print(table)
    if found["groups"]:
        quoted = "paper, mm² (512 + 512 multipliers)"
        table = Table("part of the paper's Figure 13", *columns, quoted)
        for name, part in found["groups"].items():
            table.add_row(name, *_areas(part), f"{part['paper_mm2']:g}" if part["paper_mm2"] else "")
        console.print(table)
    if not found["block"] and (paper := PAPER_TOTAL_MM2.get(found["preset"])):
        console.print(f"paper, quoted: {paper:g} mm² in all", highlight=False)
    _print_dominant(console, found)
    if clock := found.get("clock"):
        console.print(
            f"clock of the whole: {clock['mhz']:,.0f} MHz, {clock['from']} to {clock['to']}",
            markup=False,
            soft_wrap=True,
        )
        console.print(found["wires"], markup=False, soft_wrap=True)
    elif find_sta() is None:
        console.print(MISSING, markup=False, soft_wrap=True)
    console.print(f"estimated; scaled to 40 nm: {found['scaling']}", markup=False, soft_wrap=True)


def _areas(part: dict[str, Any]) -> list[str]:
    names = ("logic_um2", "flops_um2", "memory_um2", "area_um2")
    return [f"{part[name]:,.0f}" for name in names] + [f"{part['area_mm2_40nm']:.4f}"]


def _print_dominant(console: Console, found: dict[str, Any]) -> None:
    parts = {}
    for module, facts in found["modules"].items():
        parts[f"logic of {module}"] = facts["instances"] * (facts["logic_um2"] + facts["flops_um2"])
        parts[f"memories of {module}"] = facts["instances"] * facts["memory_um2"]
    largest = sorted(parts, key=lambda name: -parts[name])[:_DOMINANT]
    whole = found["total"]["area_um2"]
    told = ", ".join(f"{name} {100 * parts[name] / whole:.0f} %" for name in largest if parts[name])
    console.print(f"largest: {told}", markup=False, soft_wrap=True, highlight=False)
