"""All that is made of the registers' source and of the formats in memory, and where it lies in a checkout."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from hdl.registers.c_formats import c_formats
from hdl.registers.c_header import c_header
from hdl.registers.ipxact import ipxact
from hdl.registers.markdown import markdown
from hdl.registers.python_module import python_module
from hdl.spec.register_map import RegisterMap

__all__ = ["OUTPUTS", "ROOT", "outputs"]

ROOT = Path(__file__).resolve().parents[2]

OUTPUTS: dict[str, Callable[[RegisterMap], str]] = {
    "hdl/spec/registers.json": RegisterMap.to_json,
    "driver/spatten_regs.h": c_header,
    "driver/spatten_formats.h": lambda _: c_formats(),
    "driver/spatten_regs.py": python_module,
    "driver/spatten_regs.xml": ipxact,
    "docs/registers.md": markdown,
}
"""File of a checkout -> what makes its text of the map; that of the formats, which are in Python, needs no map."""


def outputs(registers: RegisterMap) -> dict[str, str]:
    """File -> its text."""
    return {name: make(registers) for name, make in OUTPUTS.items()}
