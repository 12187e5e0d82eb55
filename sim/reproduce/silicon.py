"""Records of bench ``silicon``: area and power that take an hour to measure are read, not measured again."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from sim.common.errors import UserError
from sim.common.files import read_text

__all__ = ["DEFAULT", "Records"]

DEFAULT = Path(__file__).resolve().parents[2] / "docs" / "results" / "silicon.json"
"""In a checkout."""


@dataclasses.dataclass(frozen=True)
class Records:
    """Values by name, and where each is from; empty if there are none."""

    values: Mapping[str, float] = dataclasses.field(default_factory=dict)
    sources: Mapping[str, str] = dataclasses.field(default_factory=dict)

    @classmethod
    def load(cls, path: Path | None) -> Records:
        """Of a file, or of those of the project if there are any; UserError if the file has no records."""
        if path is None and not DEFAULT.is_file():
            return cls()
        chosen = path or DEFAULT
        try:
            records: list[dict[str, Any]] = json.loads(read_text(chosen, "--silicon"))
            values = {record["name"]: float(record["value"]) for record in records}
            sources = {record["name"]: f"{record['command']}, revision {record['revision']}" for record in records}
        except (json.JSONDecodeError, TypeError, KeyError, ValueError) as error:
            if isinstance(error, UserError):
                raise
            raise UserError(f"--silicon must be records of spatten bench silicon, not {str(chosen)!r}") from None
        return cls(values, sources)
