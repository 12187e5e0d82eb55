"""``spatten energy``: what a run costs, estimated from what its hardware counted."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.table import Table

from sim.common.console import console_of
from sim.common.files import check_distinct, check_writable, write_text
from spatten.commands.preset import load_config

__all__ = ["energy"]


def energy(
    run: Annotated[Path, typer.Argument(metavar="RUN", help="JSON of spatten run or workload, of an engine.")],
    preset: Annotated[str | None, typer.Option("--preset", help="Configuration file of RUN, if it had one.")] = None,
    json_path: Annotated[Path | None, typer.Option("--json", help="All figures.")] = None,
) -> None:
    """Estimate the energy of a run from its counters and cited constants, by block."""
    from sim.energy.estimate import estimate, read_run

    if json_path is not None:
        check_writable("--json", json_path)
    check_distinct({"--json": json_path}, {"RUN": run, "--preset": preset})
    found = estimate(read_run(run), None if preset is None else load_config(preset))
    _print(console_of(), found)
    if json_path is not None:
        write_text(json_path, json.dumps(found, indent=2) + "\n")
        typer.echo(f"{json_path}")


def _print(console: Console, found: dict[str, Any]) -> None:
    from sim.energy.constants import PUBLISHED, SETS

    for name, part in found["parts"].items():
        table = Table("block", *(f"µJ, {each}" for each in SETS), "mW at 1 GHz", "paper, mW (512 + 512 multipliers)")
        for block, figures in part["blocks"].items():
            quoted = PUBLISHED.get(block)
            table.add_row(
                block,
                *(f"{1e6 * figures[f'joules_{each}']:.4g}" for each in SETS),
                f"{1e3 * figures['watts']:.4g}",
                "" if quoted is None else f"{1e3 * quoted:,.0f}",
            )
        table.title = f"{name}: {part['tokens']} tokens, {part['cycles']:,} cycles, estimated"
        console.print(table)
        console.print(
            f"{1e6 * part['joules']:.4g} µJ ({1e6 * part['joules_low']:.4g} to {1e6 * part['joules_high']:.4g}), "
            f"{part['pj_per_token']:,.0f} pJ a token, {part['gop_per_j']:.4g} GOP/J "
            f"({part['gop_per_j_low']:.4g} to {part['gop_per_j_high']:.4g}; paper's eighth, quoted: "
            f"{PUBLISHED['gop_per_j']:g})",
            highlight=False,
        )
