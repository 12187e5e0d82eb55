"""Registers the engines that lie above the simulators: boards."""

from __future__ import annotations

from typing import Any

from sim.engine.registry import register

__all__ = ["register_boards"]


def _fpga(config: Any, **options: Any) -> Any:
    from fpga.host.engine import FpgaEngine

    return FpgaEngine(config, **options)


def register_boards() -> None:
    """Make ``fpga`` an engine that :func:`sim.engine.registry.make_engine` takes."""
    register("fpga", _fpga)
