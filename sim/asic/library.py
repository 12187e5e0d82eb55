"""A standard-cell library in Liberty format: what mapping and timing must know of it before they read it."""

from __future__ import annotations

import dataclasses
import gzip
import hashlib
import re
from pathlib import Path

from sim.common.errors import UserError

__all__ = ["Library", "load_library"]

_NAME = re.compile(r"^\s*library\s*\(\s*\"?([^\")\s]+)", re.MULTILINE)
_CELL = re.compile(r"^\s*cell\s*\(\s*\"?([^\")\s]+)\"?\s*\)", re.MULTILINE)
_PIN = re.compile(r"\bpin\s*\(\s*\"?([^\")\s]+)\"?\s*\)")
_FUNCTION = re.compile(r"\bfunction\s*:\s*\"([^\"]*)\"")
_AREA = re.compile(r"\barea\s*:\s*\"?([0-9.eE+-]+)")
_WIRES = re.compile(r"\bdefault_wire_load\s*:\s*\"?([^\";\s]+)")
_UNUSUAL = re.compile(r"clk|dly|lpflow")
"""Parts of names of buffers for clocks, delays and switched supplies."""
_FLOP = re.compile(r"\bff\s*\(")


@dataclasses.dataclass(frozen=True)
class Library:
    """A library as text, and what was found in it."""

    text: str
    name: str
    driver: str
    """the buffer that is taken to drive what a module reads from outside"""
    wires: str | None
    """its default wire-load model"""

    @property
    def digest(self) -> str:
        return hashlib.sha256(self.text.encode()).hexdigest()[:16]


def load_library(path: Path) -> Library:
    """Read a Liberty file, gzipped or not; UserError if it is none, or lacks a flip-flop or a buffer."""
    try:
        content = path.read_bytes()
        text = (gzip.decompress(content) if content[:2] == b"\x1f\x8b" else content).decode("utf-8", "replace")
    except OSError as error:
        raise UserError(f"--liberty {path}: {error.strerror or error}") from None
    except EOFError:
        raise UserError(f"--liberty {path}: the gzip file is cut short") from None
    name = _NAME.search(text)
    if name is None:
        raise UserError(f"--liberty {path} must be a library in Liberty format: it has no line 'library (…)'")
    if not _FLOP.search(text):
        raise UserError(f"--liberty {path} must have a flip-flop: no cell has a group 'ff (…)'")
    wires = _WIRES.search(text)
    return Library(text, name[1], _driver(text, path), wires[1] if wires else None)


def _driver(text: str, path: Path) -> str:
    """The third smallest buffer, or the largest of fewer: a usual strength."""
    starts = [*_CELL.finditer(text)]
    ends = [match.start() for match in starts[1:]] + [len(text)]
    buffers = []
    for match, end in zip(starts, ends, strict=True):
        body = text[match.end() : end]
        functions, pins, area = _FUNCTION.findall(body), set(_PIN.findall(body)), _AREA.search(body)
        if (
            not _UNUSUAL.search(match[1])
            and len(functions) == 1
            and len(pins) == 2
            and functions[0].strip(" ()") in pins
            and area
        ):
            buffers.append((float(area[1]), match[1]))
    if not buffers:
        raise UserError(f"--liberty {path} must have a buffer: no cell has two pins, one of them a copy of the other")
    return sorted(buffers)[:3][-1][1]
