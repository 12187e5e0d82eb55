"""Bench ``verification``: what proofs and campaigns have found, from the files that they leave in docs/results."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

from sim.bench.record import Record

__all__ = ["ATTACK", "bench_verification"]

ATTACK = Path("docs/results/attack.json")
"""Totals of ``make attack``, release by release (docs/verification.md)."""

_GOALS = {
    "rows": ("rows", "higher", 1_000_000),
    "values": ("values", "higher", 100_000_000),
    "faults": ("faults", "higher", 10_000),
    "mismatches": ("values", "lower", 0),
    "hangs": ("runs", "lower", 0),
}
"""Count of the campaigns -> unit, which is better, goal."""


def bench_verification() -> Iterator[Record]:
    yield from _attack(ATTACK)


def _attack(path: Path) -> Iterator[Record]:
    """The five counts over all releases, configurations and campaigns."""
    if not path.is_file():
        raise RuntimeError(f"{path} is not there: make attack, then python -m attack --record")
    releases = json.loads(path.read_text(encoding="utf-8"))["releases"]
    campaigns = [release["configurations"] for release in releases]
    names = list(dict.fromkeys(name for configurations in campaigns for name in configurations))
    counts = [count for configurations in campaigns for found in configurations.values() for count in found.values()]
    for name, (unit, better, goal) in _GOALS.items():
        yield Record(
            name=f"attack.{name}",
            value=sum(count[name] for count in counts),
            unit=unit,
            better=better,
            goal=goal,
            preset=", ".join(names),
            memory="random",
            command="make attack",
        )
