"""``spatten texts``: texts of several kinds to tune and measure algorithms on."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

__all__ = ["texts"]


def texts(
    folder: Annotated[Path, typer.Argument(metavar="FOLDER", help="Gets first/KIND.txt and second/KIND.txt.")],
    size: Annotated[int, typer.Option("--size", help="Most bytes of a file.")] = 400_000,
) -> None:
    """Gather texts of several kinds (prose, source code, tables, manuals, languages) from what is installed here."""
    from sim.common.errors import UserError
    from sim.common.files import check_writable
    from sim.evaluate.texts import HALVES, KINDS, Places, gather

    if size < 1:
        raise UserError(f"--size must be at least 1, not {size}")
    check_writable("FOLDER", folder / HALVES[0] / f"{next(iter(KINDS))}.txt")
    written = gather(folder, Places.here(), size=size)
    for kind, halves in written.items():
        typer.echo(f"{kind:<9} {halves[0]:>9,} {halves[1]:>9,} bytes")
    missing = [kind for kind in KINDS if kind not in written]
    if missing:
        typer.echo(f"no text on this machine: {', '.join(missing)}", err=True)
    if not written:
        raise typer.Exit(1)
