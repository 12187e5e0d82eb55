"""The option ``--preset`` of all commands."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from sim.common.errors import UserError

__all__ = ["Preset", "load_config"]

Preset = Annotated[
    str, typer.Option("--preset", help="tiny, ulx3s, eighth, paper, ulx3s-d32, ulx3s-4k, paper-32k, or a .json file.")
]


def load_config(preset: str) -> Any:
    """Configuration of the option ``--preset``."""
    from hdl.spec.config import Config, ConfigError

    try:
        return Config.load(preset)
    except ConfigError as error:
        text = str(error)
        # The value itself may be wrong, or a field in the file that it names.
        raise UserError(f"--{text}" if text.startswith("preset ") else f"--preset {preset}: {text}") from None
