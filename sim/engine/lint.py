"""Verilator's lint of the generated Verilog, all warnings on, with the waivers of sim/engine/waivers.vlt."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

from golden.host.cache import cache_folder
from hdl import verilog
from hdl.spec.config import Config
from sim.engine.verilator import check_tools, run_verilator

__all__ = ["WAIVERS", "lint_verilog"]

WAIVERS = Path(__file__).with_name("waivers.vlt")
LINT = cache_folder() / "lint"


def lint_verilog(
    config: Config, *, factory: Callable[[Config], Any] = verilog.top_of, folder: Path = LINT
) -> list[str]:
    """Findings that are not waived, one line each. The Verilog is left in ``folder``/<preset>/spatten.v."""
    check_tools("the Verilog lint")
    path = folder / config.name / "spatten.v"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(verilog.to_verilog(config, top=factory(config)))
    process = run_verilator(["--lint-only", "-Wall", "--top-module", "spatten", str(WAIVERS), str(path)])
    findings = re.findall(r"^%(?:Warning|Error)[^\n]*", process.stdout, flags=re.MULTILINE)
    if process.returncode and not findings:  # it did not run at all
        findings = process.stdout.strip().splitlines()[-1:] or [f"verilator ended with {process.returncode}"]
    findings = [finding for finding in findings if "Exiting due to" not in finding]
    return [finding.replace(str(path), path.name) for finding in findings]
