"""Verilator models of the campaigns: the core with random bits at power-up, and the job checker alone."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

from golden.host.cache import source_digest
from hdl import verilog
from hdl.control.job_checker import JobChecker
from hdl.spec.config import Config
from sim.engine.verilator import CACHE, HARNESS, HARNESS_SOURCES, cached_build, compile_library, model_key

__all__ = ["CHECKER_HARNESS", "checker_model", "core_model", "random_power_up"]

CHECKER_HARNESS = Path(__file__).with_name("checker.cpp")

_REGISTER = re.compile(r"^(  reg (?:\[(\d+):0\] )?\S+) = \d+'h[0-9a-f]+;$", re.MULTILINE)
_MEMORY = re.compile(r"^  initial begin\n((?:    \S+\[\d+\] = (\d+)'h0+;\n)+)  end$", re.MULTILINE)
"""A memory that begins with zeros only; a table of constants has others."""


def _bits(width: int) -> str:
    """Random bits, at least so many."""
    return f"{{{', '.join(['$urandom'] * -(-width // 32))}}}"


def random_power_up(text: str) -> str:
    """Verilog in which registers begin with random bits, and so do memories whose initial contents are zeros only."""

    def memory(found: re.Match[str]) -> str:
        name, words = found[1].split("[")[0].strip(), found[1].count("\n")
        return (
            f"  integer {name}_word;\n"
            f"  initial for ({name}_word = 0; {name}_word < {words}; {name}_word = {name}_word + 1)\n"
            f"    {name}[{name}_word] = {_bits(int(found[2]))};"
        )

    text = _REGISTER.sub(lambda found: f"{found[1]} = {_bits(int(found[2] or 0) + 1)};", text)
    return _MEMORY.sub(memory, text)


def _write_design(folder: Path, text: str, top: Any) -> None:
    """What the engine reads beside the library (:mod:`sim.engine.verilator`)."""
    (folder / "spatten.v").write_text(text, encoding="utf-8")
    layout = top.counters.shape()
    fields = {name: [layout[name].offset, layout[name].width] for name in layout.members}
    (folder / "counters.json").write_text(json.dumps(fields), encoding="utf-8")


def core_model(config: Config, cache: Path = CACHE) -> Path:
    """Folder with the library of the core that begins with random bits, as the engine of Verilator takes it."""
    sources = [path.read_text(encoding="utf-8") for path in (*HARNESS_SOURCES, Path(__file__))]

    def fill(work: Path) -> None:
        top = verilog.top_of(config)
        _write_design(work, random_power_up(verilog.to_verilog(config, top=top)), top)
        calls = " ".join(f"X({channel})" for channel in range(config.num_channels))
        ports = f'#include "Vspatten.h"\n#define SPATTEN_CHANNELS(X) {calls}\n'
        (work / "spatten_ports.h").write_text(ports, encoding="utf-8")
        compile_library(work, HARNESS)

    key = model_key(config, [*sources, source_digest("hdl/verilog.py")])
    return cached_build(cache / f"attack-{config.name}-{key}", fill)


def checker_model(config: Config, cache: Path = CACHE) -> Path:
    """Folder with the library of the job checker alone (``attack/checker.cpp``)."""
    text = verilog.to_verilog(config, top=JobChecker(config))
    sources = [CHECKER_HARNESS.read_text(encoding="utf-8"), Path(__file__).read_text(encoding="utf-8")]

    def fill(work: Path) -> None:
        (work / "spatten.v").write_text(text, encoding="utf-8")
        compile_library(work, CHECKER_HARNESS)

    return cached_build(cache / f"checker-{config.name}-{model_key(config, [*sources, text])}", fill)
