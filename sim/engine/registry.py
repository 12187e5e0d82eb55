"""Engines by name; what lies above this package registers its own."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from hdl.spec.config import Config
    from sim.engine.engine import Engine

__all__ = ["AUTO", "BOARD", "GOLDEN", "SIMULATORS", "best_simulator", "engine_names", "make_engine", "register"]

AUTO, GOLDEN, BOARD = "auto", "golden", "fpga"
"""The best simulator that runs here; the golden model alone; a board, which a package above registers."""

SIMULATORS = ("verilator", "pysim", "axi")
"""Engines that simulate the hardware cycle by cycle: the streams of the core, the fastest first, and the AXI top."""


def _verilator(config: Config, **options: Any) -> Engine:
    from sim.engine.verilator import VerilatorEngine

    return VerilatorEngine(config, **options)


def _pysim(config: Config, **options: Any) -> Engine:
    from sim.engine.pysim import PysimEngine

    return PysimEngine(config, **options)


def _axi(config: Config, **options: Any) -> Engine:
    from sim.engine.axi.engine import AxiEngine

    return AxiEngine(config, **options)


_FACTORIES: dict[str, Callable[..., Engine]] = dict(zip(SIMULATORS, (_verilator, _pysim, _axi), strict=True))


def best_simulator() -> str:
    """The fastest simulator whose tools are here."""
    from sim.engine import verilator

    return SIMULATORS[0] if verilator.available() else SIMULATORS[1]


def register(name: str, factory: Callable[..., Engine]) -> None:
    """Make ``factory(config, **options)`` the engine of this name."""
    _FACTORIES[name] = factory


def engine_names() -> tuple[str, ...]:
    """Names that :func:`make_engine` takes."""
    return tuple(_FACTORIES)


def make_engine(name: str, config: Config, **options: Any) -> Engine:
    """An engine by its name; options as in :class:`sim.engine.engine.Engine`, or of the registered factory."""
    if name not in _FACTORIES:
        raise ValueError(f"engine must be one of {', '.join(_FACTORIES)}, not {name!r}")
    return _FACTORIES[name](config, **options)
