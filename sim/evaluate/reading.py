"""Options and files of an evaluation, checked."""

from __future__ import annotations

from sim.common.errors import UserError

__all__ = [
    "PARTS",
    "bounds",
    "check_count",
    "check_part",
]

PARTS = ("all", "first", "second")
"""Of a text or a file of pairs: settings are tuned on one half and reported on the other."""


def check_count(name: str, value: int) -> None:
    """UserError unless the option ``--name`` is at least 1."""
    if value < 1:
        raise UserError(f"--{name} must be at least 1, not {value}")


def check_part(part: str) -> None:
    """UserError unless it is one of PARTS."""
    if part not in PARTS:
        raise UserError(f"--part must be one of {', '.join(PARTS)}, not {part!r}")


def bounds(number: int, part: str) -> tuple[int, int]:
    """First and end of the part of so many tokens or lines."""
    return {"all": (0, number), "first": (0, number // 2), "second": (number // 2, number)}[part]
