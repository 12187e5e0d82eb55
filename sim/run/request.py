"""What ``spatten run`` is asked for: one record that the command line makes, and that Python may make as well."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Annotated

from sim.common.settings import UNCHANGED, Settings, Told

__all__ = ["METRICS", "MachineRequest", "RunRequest"]

METRICS = Path("build/sim/metrics.json")
"""Where the metrics go if the request does not say it."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class MachineRequest:
    """A model, an engine, and how they meet; the fields are options, in their order."""

    model: Annotated[str, Told("minilm, smollm2, or a folder or name for transformers.", argument=True)] = "minilm"
    engine: Annotated[str, Told("auto, verilator, pysim, axi, fpga or golden.")] = "auto"
    preset: Annotated[str, Told("tiny, ulx3s, eighth, paper, ulx3s-d32, ulx3s-4k, paper-32k, or a .json file.")] = (
        "tiny"
    )
    algorithm: Annotated[str | None, Told("A named one, or a .json file; default no pruning, K 8+4.")] = None
    settings: Settings = UNCHANGED
    memory: Annotated[str, Told("ideal (fixed latency) or hbm2.")] = "ideal"
    memory_latency: Annotated[int, Told("Cycles; of ideal.")] = 20
    memory_stall: Annotated[float, Told("Chance of a stalled cycle, 0 to 1; of ideal.")] = 0.0
    seed: Annotated[int, Told("Of the stalls.")] = 0
    layers: Annotated[int | None, Told("Layers that run on the engine; default all.")] = None
    max_cycles: Annotated[int | None, Told("Most cycles of a layer.")] = None
    trace: Annotated[Path | None, Told("Waveform file (VCD).")] = None
    port: Annotated[str | None, Told("Serial port of the board of the engine fpga.")] = None
    baud: Annotated[int | None, Told("Of the port; default 1000000.")] = None
    html_path: Annotated[Path | None, Told("A page of the run.", option="html")] = None


@dataclasses.dataclass(frozen=True, kw_only=True)
class RunRequest(MachineRequest):
    """A text on top; :func:`sim.run.run.run_command` checks and runs it. The options of ``spatten run``."""

    text: Annotated[str | None, Told("The text, or @FILE; default a built-in one.")] = None
    generate: Annotated[int | None, Told("Tokens a language model adds; default 16.")] = None
    json_path: Annotated[Path | None, Told("Metrics; default build/sim/metrics.json.", option="json")] = None
