"""What the campaign of faults against ``spatten_axi`` finds (``make test-cocotb ARGS="-m long"``)."""

from __future__ import annotations

import importlib.util
import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

from sim.bench.record import Record

__all__ = ["bench_campaign"]

ROOT = Path(__file__).resolve().parents[2]
TESTS = ROOT / "tests/cocotb/test_spatten_axi.py"
"""Of a checkout."""
REPORT = ROOT / "build/cocotb/faults.json"
"""Written by the campaign, also when it finds something."""

_GOALS = {
    "faults": ("faults", "higher", 2_000),
    "hangs": ("rounds", "lower", 0),
    "wrong": ("rounds", "lower", 0),
}
"""Count of the report -> unit, which is better, goal."""


def bench_campaign() -> Iterator[Record]:
    """Faults that were injected, and rounds that hung or ended wrong; nothing without the extra ``cocotb``.

    RuntimeError if the campaign did not come to its report.
    """
    if not TESTS.is_file() or importlib.util.find_spec("cocotbext") is None:
        return
    REPORT.unlink(missing_ok=True)  # that of an earlier campaign says nothing about this one
    command = [sys.executable, "-m", "pytest", "-q", "-m", "long", str(TESTS)]
    status = subprocess.run(command, cwd=ROOT, check=False).returncode
    if not REPORT.is_file():
        raise RuntimeError(f"{TESTS.name} ended with exit status {status}")
    told = json.loads(REPORT.read_text())
    for name, (unit, better, goal) in _GOALS.items():
        yield Record(
            name=f"axi.cocotb.{name}",
            value=told[name],
            unit=unit,
            better=better,
            goal=goal,
            preset="tiny",
            memory="cocotbext-axi",
            command='make test-cocotb ARGS="-m long"',
        )
