"""Bench ``silicon``: area and clock in open cells, and energy of the eighth from the counters of runs of its RTL."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from hdl.spec.config import PRESETS
from sim.asic.published import PAPER_TOTAL_MM2
from sim.asic.timing import MISSING, find_sta
from sim.bench.record import Record, json_of
from sim.bench.workloads import PER8, data_folder
from sim.energy.constants import PUBLISHED
from sim.energy.estimate import estimate

__all__ = ["area_records", "bench_silicon", "clock_record"]

LIBRARY = Path("liberty") / "nangate45_typ.lib.gz"
"""In the folder SPATTEN_DATA: NanGate's open cells of 45 nm, typical corner."""
CLOCK_GOAL_MHZ = 500
ARRAYS_GOAL_MM2 = 14.3
"""Q×K and prob×V together; the paper's are 14.34."""


def bench_silicon() -> Iterator[Record]:
    """Area of ``paper`` and ``eighth`` scaled to 40 nm, clock of the eighth's slowest block, GOP/J counted as the paper
    counts; needs the folder SPATTEN_DATA, and OpenSTA for the clock."""
    workload = data_folder() / PER8
    library = Path(os.environ["SPATTEN_DATA"]) / LIBRARY
    if not library.is_file():
        raise ValueError(f"SPATTEN_DATA must name a folder with {LIBRARY}, not {os.environ['SPATTEN_DATA']!r}")
    for preset in ("eighth", "paper"):
        yield from area_records(*json_of(["asic", "--liberty", str(library), "--preset", preset, "--no-clock"]))
    yield from _energy("bert", ["--shape", "bert", "--tokens", "128", "--layers", "1"], None)
    yield from _energy("per8", [str(workload)], PUBLISHED["gop_per_j"])
    if find_sta() is None:
        raise RuntimeError(f"eighth.clock_mhz.45nm {MISSING}")
    yield clock_record(*json_of(["asic", "--liberty", str(library), "--preset", "eighth"]))


def area_records(found: dict[str, Any], command: str) -> Iterator[Record]:
    """Square millimetres at 40 nm of the whole, and of each part of the paper's Figure 13."""
    preset = found["preset"]
    goals = {"total": PAPER_TOTAL_MM2["paper"], "qk_pv": ARRAYS_GOAL_MM2} if preset == "paper" else {}
    areas = {"total": found["total"], **found["groups"]}
    square = {name: part["area_mm2_40nm"] for name, part in areas.items()}
    square["qk_pv"] = square["qk"] + square["pv"]
    for name, value in square.items():
        yield Record(
            name=f"{preset}.area_mm2.{name}",
            value=round(value, 4),
            unit="mm²",
            better="lower",
            goal=goals.get(name),
            preset=preset,
            memory="",
            command=command,
        )


def clock_record(found: dict[str, Any], command: str) -> Record:
    """Megahertz of the slowest instance in the top, from register to register."""
    clocks = [block["clock"]["mhz"] for block in found["blocks"].values() if block.get("clock")]
    return Record(
        name=f"{found['preset']}.clock_mhz.{found['node_nm']:g}nm",
        value=min(clocks),
        unit="MHz",
        better="higher",
        goal=CLOCK_GOAL_MHZ,
        preset=found["preset"],
        memory="",
        command=command,
    )


def _energy(name: str, options: list[str], goal: float | None) -> Iterator[Record]:
    """GOP/J of a run on the eighth, and watts of its blocks."""
    run, command = json_of(["workload", *options, "--preset", "eighth"])
    [part] = estimate(run, PRESETS["eighth"])["parts"].values()
    common: dict[str, Any] = {"preset": "eighth", "memory": "ideal", "command": command}
    yield Record(
        name=f"energy.{name}.gop_per_j", value=part["gop_per_j"], unit="GOP/J", better="higher", goal=goal, **common
    )
    for block, figures in part["blocks"].items():
        watts = float(f"{figures['watts']:.5g}")
        yield Record(name=f"energy.{name}.watts.{block}", value=watts, unit="W", better="lower", goal=None, **common)
