"""Totals of the campaigns: what this checkout has run, and the file and table that grow from release to release."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

from attack.judge import Findings
from golden.host.cache import source_digest
from hdl.spec.version import VERSION
from sim.common.errors import UserError
from sim.common.files import write_text

__all__ = ["COMMITTED", "DOCUMENT", "PENDING", "Tally", "put", "rows", "summed"]

COMMITTED = Path("docs/results/attack.json")
PENDING = Path("build/attack.json")
"""What has been run since the committed file was written; a campaign goes on after it."""

DOCUMENT = Path("docs/verification.md")
_BEGIN, _END = "<!-- attacks -->", "<!-- end of attacks -->"
_SHOWN = ("batches", "commands", "rows", "values", "faults", "mismatches", "hangs")
_COUNTS = ("commands", "rows", "values", "faults", "mismatches", "hangs", "cycles")

Totals = dict[str, dict[str, dict[str, int]]]
"""Configuration -> campaign -> batches and counts."""


def _add(totals: Totals, config: str, campaign: str, counts: dict[str, int]) -> None:
    mine = totals.setdefault(config, {}).setdefault(campaign, dict.fromkeys(("batches", *_COUNTS), 0))
    for name, value in counts.items():
        mine[name] += value


class Tally:
    """Both files. A release of the committed one has its totals by configuration and campaign."""

    def __init__(self, committed: Path = COMMITTED, pending: Path = PENDING):
        self._committed, self._pending = committed, pending
        self.releases: list[dict[str, Any]] = _read(committed, {"releases": []})["releases"]
        found = _read(pending, {"configurations": {}, "problems": []})
        self.new: Totals = found["configurations"]
        self.problems: list[dict[str, Any]] = found["problems"]

    def total(self) -> Totals:
        """Of all releases, and what is new."""
        totals: Totals = {}
        for part in [*(release["configurations"] for release in self.releases), self.new]:
            for config, campaigns in part.items():
                for campaign, counts in campaigns.items():
                    _add(totals, config, campaign, counts)
        return totals

    def next_seed(self, config: str, campaign: str) -> int:
        """Batches of a campaign have the seeds 0, 1, … in the order in which they are run."""
        return self.total().get(config, {}).get(campaign, {}).get("batches", 0)

    def add(self, config: str, campaign: str, seed: int, found: Findings) -> None:
        """A batch; it is in the file at once."""
        counts = {"batches": 1} | {name: getattr(found, name) for name in _COUNTS}
        _add(self.new, config, campaign, counts)
        place = {"config": config, "campaign": campaign, "seed": seed}
        self.problems += [place | {"problem": problem} for problem in found.problems]
        content = {"configurations": self.new, "problems": self.problems}
        write_text(self._pending, json.dumps(content, indent=1) + "\n")

    def record(self) -> None:
        """Move what is new to the committed file, to the entry of this version and hardware."""
        mine = {"version": VERSION, "hardware": source_digest("hdl/spatten.py")[:12]}
        entry = next((each for each in self.releases if mine.items() <= each.items()), None)
        if entry is None:
            entry = {**mine, "configurations": {}, "problems": []}
            self.releases.append(entry)
        for config, campaigns in self.new.items():
            for campaign, counts in campaigns.items():
                _add(entry["configurations"], config, campaign, counts)
        entry["problems"] += self.problems
        write_text(self._committed, json.dumps({"releases": self.releases}, indent=1) + "\n")
        self._pending.unlink(missing_ok=True)
        self.new, self.problems = {}, []


def summed(totals: Totals) -> dict[str, int]:
    """Counts over all configurations and campaigns."""
    found = [counts for campaigns in totals.values() for counts in campaigns.values()]
    return {name: sum(counts[name] for counts in found) for name in ("batches", *_COUNTS)}


def _read(path: Path, default: dict[str, Any]) -> dict[str, Any]:
    if not path.is_file():
        return default
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise UserError(f"{path} must be a JSON file of this command: {error}") from None
    missing = sorted(set(default) - set(found))
    if missing:
        raise UserError(f"{path} must have {', '.join(missing)}")
    return found


def rows(totals: Totals) -> list[str]:
    """Head, a row for each campaign of a configuration, and the sum."""
    lines = [f"| Configuration | Campaign | {' | '.join(name.capitalize() for name in _SHOWN)} |"]
    lines.append("|---" * (2 + len(_SHOWN)) + "|")
    cells = [(f"`{config}`", name, counts) for config, found in totals.items() for name, counts in found.items()]
    for config, name, counts in [*cells, ("all", "", summed(totals))]:
        lines.append(f"| {config} | {name} | {' | '.join(f'{counts[count]:,}' for count in _SHOWN)} |")
    return lines


def put(totals: Totals, document: Path = DOCUMENT) -> None:
    """Write the table into the document."""
    text = document.read_text(encoding="utf-8")
    written = "\n".join([_BEGIN, *rows(totals), _END])
    document.write_text(re.sub(f"{_BEGIN}.*?{_END}", lambda _: written, text, flags=re.DOTALL), encoding="utf-8")
