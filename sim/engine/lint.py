"""Lint of the generated Verilog: Verilator with all warnings on, Yosys, and Icarus Verilog where it is installed.

What Verilator may find stands in sim/engine/waivers.vlt; the others find nothing.
"""

from __future__ import annotations

import re
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

from golden.host.cache import cache_folder
from hdl import verilog
from hdl.spec.config import Config
from sim.common.yosys import YOSYS
from sim.engine.verilator import check_tools, run_verilator

__all__ = ["WAIVERS", "lint_verilog", "linters"]

WAIVERS = Path(__file__).with_name("waivers.vlt")
LINT = cache_folder() / "lint"

_YOSYS_CHECKS = "hierarchy -check -top {top}; proc; check -assert"
"""Every instance fits its module; no net without a driver or with two, no loop of logic."""


def linters() -> tuple[str, ...]:
    """What :func:`lint_verilog` runs here."""
    return ("Verilator", "Yosys", *(["Icarus Verilog"] if shutil.which("iverilog") else []))


def lint_verilog(
    config: Config, *, kind: str = "core", factory: Callable[[Config], Any] | None = None, folder: Path = LINT
) -> list[str]:
    """Findings of all linters, one line each, in the top of a kind of ``hdl.verilog.TOPS``, or that of ``factory``.

    The Verilog is left in ``folder``/<preset>/<name of the top>.v.
    """
    check_tools("the Verilog lint")
    path = folder / config.name / f"{verilog.TOPS[kind]}.v"
    path.parent.mkdir(parents=True, exist_ok=True)
    top = verilog.top_of(config, kind) if factory is None else factory(config)
    path.write_text(verilog.to_verilog(config, top=top, name=path.stem))
    findings = [*_verilator(path), *_yosys(path)]
    return findings + (_icarus(path) if shutil.which("iverilog") else [])


def _verilator(path: Path) -> list[str]:
    process = run_verilator(["--lint-only", "-Wall", "--top-module", path.stem, str(WAIVERS), str(path)])
    findings = re.findall(r"^%(?:Warning|Error)[^\n]*", process.stdout, flags=re.MULTILINE)
    if process.returncode and not findings:  # it did not run at all
        findings = process.stdout.strip().splitlines()[-1:] or [f"verilator ended with {process.returncode}"]
    findings = [finding for finding in findings if "Exiting due to" not in finding]
    return [finding.replace(str(path), path.name) for finding in findings]


def _yosys(path: Path) -> list[str]:
    command = [*YOSYS, "-q", "-p", f"read_verilog {path.name}; {_YOSYS_CHECKS.format(top=path.stem)}"]
    return _lines(command, "yosys", path.parent)


def _icarus(path: Path) -> list[str]:
    return _lines(["iverilog", "-g2005", "-Wall", "-t", "null", "-s", path.stem, path.name], "iverilog", path.parent)


def _lines(command: list[str], name: str, folder: Path) -> list[str]:
    """What a tool says that is silent about clean text, under its name."""
    process = subprocess.run(
        command, cwd=folder, text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, check=False
    )
    lines = [line.strip() for line in process.stdout.splitlines() if line.strip()]
    if process.returncode and not lines:
        lines = [f"ended with exit status {process.returncode}"]
    return [f"{name}: {line}" for line in lines]
