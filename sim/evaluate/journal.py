"""A file of what is finished, which an interruption does not damage."""

from __future__ import annotations

import json
import os
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from sim.common.files import write_text

__all__ = [
    "Journal",
]


class Journal:
    """A file of JSON objects, one a line, written at once; a line torn by a crash does not count."""

    def __init__(self, path: Path):
        self.path = path

    def read(self) -> list[dict[str, Any]]:
        """Whole entries, in the order in which they were written; none without a file."""
        try:
            lines = self.path.read_text(encoding="utf-8").splitlines()
        except FileNotFoundError:
            return []
        entries = []
        for line in lines:
            try:
                entries.append(json.loads(line))
            except json.JSONDecodeError:
                continue
        return entries

    def append(self, entry: dict[str, Any]) -> None:
        """Add an entry, on a line of its own even if the last one is torn."""
        self.path.parent.mkdir(parents=True, exist_ok=True)
        with self.path.open("a+b", buffering=0) as file:
            torn = file.tell() and os.pread(file.fileno(), 1, file.tell() - 1) != b"\n"
            file.write(b"\n" * bool(torn) + json.dumps(entry).encode() + b"\n")

    def replace(self, entries: Iterable[dict[str, Any]]) -> None:
        """These entries in the place of all there are, at once."""
        write_text(self.path, "".join(json.dumps(entry) + "\n" for entry in entries))
