"""Every engine by name: the simulators, and the board that lies above them."""

from __future__ import annotations

from typing import Any

from sim.engine import registry
from sim.engine.engine import Engine

__all__ = ["engine_names", "make_engine", "register_boards"]


def _board(config: Any, **options: Any) -> Any:
    from fpga.host.engine import FpgaEngine

    return FpgaEngine(config, **options)


def register_boards() -> None:
    """Make the board an engine that :func:`sim.engine.registry.make_engine` takes."""
    registry.register(registry.BOARD, _board)


def engine_names() -> tuple[str, ...]:
    """Names that :func:`make_engine` takes."""
    register_boards()
    return registry.engine_names()


def make_engine(name: str, config: Any, **options: Any) -> Engine:
    """:func:`sim.engine.registry.make_engine`, which also knows the board."""
    register_boards()
    return registry.make_engine(name, config, **options)
