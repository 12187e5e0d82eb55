"""Records of the benches: every figure of the project in one format, counted in cycles where possible."""

from __future__ import annotations

import dataclasses
import json
import shlex
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

__all__ = ["BENCH_DIR", "Record", "json_of"]

BENCH_DIR = Path("build/bench")


@dataclasses.dataclass(kw_only=True)
class Record:
    """One measured figure. goal: None if it is only reported."""

    name: str
    value: float
    unit: str
    better: str
    goal: float | None
    preset: str
    memory: str
    command: str

    @property
    def met(self) -> bool | None:
        if self.goal is None:
            return None
        return self.value >= self.goal if self.better == "higher" else self.value <= self.goal


def json_of(arguments: list[str]) -> tuple[dict[str, Any], str]:
    """What a command of ``spatten`` writes with --json, and the command; RuntimeError if it fails."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "result.json"
        command = [sys.executable, "-m", "spatten", *arguments, "--json", str(path)]
        status = subprocess.run(command, check=False).returncode
        if not path.is_file():
            raise RuntimeError(f"spatten {shlex.join(arguments)} ended with exit status {status}")
        return json.loads(path.read_text()), f"spatten {shlex.join(arguments)}"
