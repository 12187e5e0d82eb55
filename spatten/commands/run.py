"""``spatten run``: a text through a real model, with every attention on an engine."""

from __future__ import annotations

import typer

from sim.run.request import RunRequest
from spatten.commands.preset import load_config
from spatten.commands.request import takes

__all__ = ["run"]


@takes(RunRequest)
def run(request: RunRequest) -> None:
    """Run a text through a real model, every attention on the accelerator; compare with the golden model."""
    load_config(request.preset)
    from sim.run.run import run_command
    from spatten.engines import register_boards

    register_boards()
    raise typer.Exit(run_command(request))
