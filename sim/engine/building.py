"""Running what compiles a model, and Verilator's run-time library, which all models share."""

from __future__ import annotations

import hashlib
import re
import shutil
import subprocess
from collections.abc import Callable, Sequence
from pathlib import Path

from sim.common.locks import locked
from sim.engine.engine import EngineError

__all__ = ["BuildError", "checked", "run_checked", "runtime_library"]


class BuildError(EngineError):
    """The Verilator model could not be built."""


def run_checked(command: Sequence[str], log: Path, *, cwd: Path | None = None) -> None:
    """Run a command, its output into ``log``; BuildError with its last lines if it fails."""
    process = subprocess.run(command, cwd=cwd, text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, check=False)
    checked(process, Path(command[0]).name, log)


def checked(process: subprocess.CompletedProcess[str], what: str, log: Path) -> None:
    """Its output into ``log``; BuildError with its last lines if it failed."""
    log.write_text(process.stdout)
    if process.returncode:
        tail = "\n".join(process.stdout.strip().splitlines()[-12:])
        raise BuildError(f"{what} failed with exit status {process.returncode}; its last lines are:\n{tail}")


def runtime_library(obj: Path, cache: Path, parts: Sequence[str], make: Callable[[str], None]) -> Path:
    """``libverilated.a`` in ``cache``, which ``make("libverilated.a")`` compiles in ``obj`` if it is not there.

    It takes as long as a small model, and no model shapes it: only ``parts`` (tools and options) and the files of
    Verilator that it is made of, which the model's makefile names. Of many processes one compiles it.
    """
    names = re.findall(r"^VM_GLOBAL\w+ =(?:.*\\\n)*.*", (obj / "Vspatten_classes.mk").read_text(), re.MULTILINE)
    key = hashlib.sha256("\0".join([*parts, *names]).encode()).hexdigest()[:20]
    library = cache / f"runtime-{key}.a"
    if not library.is_file():
        cache.mkdir(parents=True, exist_ok=True)
        with locked(library.with_suffix(".lock")):
            if not library.is_file():
                make("libverilated.a")
                copy = library.with_suffix(".new")
                shutil.copyfile(obj / "libverilated.a", copy)
                copy.rename(library)
    return library
