"""The paper's figures and tables with this machine's numbers beside the published ones (docs/reproduce.md)."""

from __future__ import annotations

from collections.abc import Callable

from sim.reproduce.fig13 import fig13
from sim.reproduce.fig18 import fig18
from sim.reproduce.fig19 import fig19a, fig19b
from sim.reproduce.fig20 import fig20
from sim.reproduce.figures import Figure
from sim.reproduce.lab import Lab
from sim.reproduce.table3 import table3
from sim.reproduce.timing import timing

__all__ = ["FIGURES"]

FIGURES: dict[str, Callable[[Lab], Figure]] = {
    "fig13": fig13,
    "fig18": fig18,
    "fig19a": fig19a,
    "fig19b": fig19b,
    "fig20": fig20,
    "table3": table3,
    "timing": timing,
}
