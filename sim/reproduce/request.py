"""What ``spatten reproduce`` is asked for."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Annotated

from sim.common.settings import Told

__all__ = ["ReproduceRequest"]

_NAMES = "fig13, fig18, fig19a, fig19b, fig20, table3, timing, all."


@dataclasses.dataclass(frozen=True, kw_only=True)
class ReproduceRequest:
    """Figures, and where their numbers come from; the fields are the options of the command, in their order."""

    names: Annotated[list[str] | None, Told(_NAMES, argument=True, metavar="[NAME]...")] = None
    out: Annotated[Path, Told("Folder of the files.")] = Path("build/reproduce")
    engine: Annotated[str, Told("model, or verilator: measured points, too, at the presets.")] = "model"
    workload: Annotated[Path | None, Told("GPT-2 rows in the authors' CSV; default see docs/reproduce.md.")] = None
    silicon: Annotated[Path | None, Told("Records of bench silicon; default docs/results/silicon.json.")] = None
    fpga_mhz: Annotated[float | None, Told("Clock of preset ulx3s, for its times.")] = None
    runs: Annotated[int, Told("Of each timing of PyTorch.")] = 20
    workers: Annotated[int | None, Told("Processes of a sweep; default one a core.")] = None
    scheduler: Annotated[str | None, Told("Of dask, such as tcp://host:8786.")] = None
