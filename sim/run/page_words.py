"""Numbers as the page writes them."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

__all__ = ["bytes_text", "count", "flattened", "percent", "share"]


def flattened(settings: dict[str, Any], prefix: str = "") -> Iterator[tuple[str, str]]:
    """Settings by dotted name."""
    for name, value in settings.items():
        if isinstance(value, dict):
            yield from flattened(value, f"{prefix}{name}.")
        else:
            yield f"{prefix}{name}", ", ".join(map(str, value)) if isinstance(value, list | tuple) else str(value)


def count(number: float) -> str:
    return f"{number:,.0f}" if float(number).is_integer() else f"{number:,.1f}"


def share(part: float) -> str:
    """A share in percent, with a decimal where whole percents would say little."""
    percent = 100 * part
    return f"{percent:.1f} %" if 0 < percent < 10 or 99 < percent < 100 else f"{percent:.0f} %"


def percent(part: float, whole: float) -> str:
    """A length in CSS."""
    return f"{100 * part / whole:.2f}%"


def bytes_text(number: float) -> str:
    for unit in ("B", "KiB", "MiB"):
        if number < 1024:
            return f"{number:,.0f} {unit}" if unit == "B" or number >= 100 else f"{number:,.1f} {unit}"
        number /= 1024
    return f"{number:,.1f} GiB"
