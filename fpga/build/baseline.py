"""Recorded resources and clocks of single blocks (``fpga/baselines/PRESET.json``), to see what a change costs."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

from fpga.build.synth import synthesize, tool_versions
from hdl.spec.config import Config
from sim.common.files import write_text

__all__ = ["FOLDER", "SEEDS", "TOLERANCE", "Change", "compare", "load", "measure", "record"]

FOLDER = Path(__file__).resolve().parents[1] / "baselines"
SEEDS = (1, 2, 3)
TOLERANCE = 0.05
"""A figure moved if it changed by a larger part."""

Figures = dict[str, float]
"""Figure (LUT, FF, DSP, BRAM, fmax_mhz) -> value."""


@dataclasses.dataclass(frozen=True)
class Change:
    """A figure of a block against its baseline (None: there is none)."""

    figure: str
    old: float | None
    new: float

    @property
    def part(self) -> float:
        """The change as a part of the baseline."""
        if not self.old:
            return float("inf") if self.old == 0 and self.new else 0.0
        return (self.new - self.old) / self.old

    @property
    def moved(self) -> bool:
        return abs(self.part) > TOLERANCE

    @property
    def worse(self) -> bool:
        """Moved to a slower clock, or to more of a resource."""
        return self.moved and (self.part < 0) == (self.figure == "fmax_mhz")

    @property
    def text(self) -> str:
        return "" if not self.part else f"{100 * self.part:+.1f} %"


def measure(name: str, config: Config) -> Figures:
    """Resources and the median clock of a block."""
    report = synthesize(config, block=name, seeds=SEEDS)
    return {**report["usage"], "fmax_mhz": report["fmax_mhz"]}


def load(config: Config, folder: Path = FOLDER) -> dict[str, Figures]:
    """Baselines by block; none of other tool versions, which cannot be compared."""
    path = folder / f"{config.name}.json"
    found: dict[str, Any] = json.loads(path.read_text()) if path.is_file() else {}
    return found["blocks"] if found.get("tools") == tool_versions() else {}


def compare(name: str, figures: Figures, config: Config, folder: Path = FOLDER) -> list[Change]:
    """Every figure of a block beside its baseline."""
    old = load(config, folder).get(name, {})
    return [Change(figure, old.get(figure), value) for figure, value in figures.items()]


def record(name: str, figures: Figures, config: Config, folder: Path = FOLDER) -> None:
    """Make the figures of a block its baseline."""
    blocks = {**load(config, folder), name: figures}
    content = {"tools": tool_versions(), "seeds": SEEDS, "blocks": dict(sorted(blocks.items()))}
    write_text(folder / f"{config.name}.json", json.dumps(content, indent=2) + "\n")
