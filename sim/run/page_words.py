"""Numbers and words as the page writes them."""

from __future__ import annotations

import unicodedata
from collections.abc import Iterator
from typing import Any

__all__ = ["bytes_text", "count", "direction", "flattened", "joined", "percent", "precision", "share"]


def flattened(settings: dict[str, Any], prefix: str = "") -> Iterator[tuple[str, str]]:
    """Settings by dotted name."""
    for name, value in settings.items():
        if isinstance(value, dict):
            yield from flattened(value, f"{prefix}{name}.")
        else:
            yield f"{prefix}{name}", ", ".join(map(str, value)) if isinstance(value, list | tuple) else str(value)


def precision(attention: dict[str, Any]) -> str:
    """Bits of Q, K and V; nothing of what is not known."""
    key, lsb = attention.get("key_bits"), attention.get("key_lsb_bits")
    widths = {"Q": attention.get("query_bits"), "K": f"{key}+{lsb}" if lsb else key, "V": attention.get("value_bits")}
    told = ", ".join(f"{name} {width}" for name, width in widths.items() if width is not None)
    return f"{told} bit" if told else ""


_RIGHT_TO_LEFT = ("R", "AL")


def direction(text: str) -> str:
    """``rtl`` or ``ltr``, as the first letter of a text that has a direction."""
    kinds = (unicodedata.bidirectional(letter) for letter in text)
    first = next((kind for kind in kinds if kind in ("L", *_RIGHT_TO_LEFT)), "L")
    return "rtl" if first in _RIGHT_TO_LEFT else "ltr"


def joined(before: str, after: str) -> bool:
    """Whether the letters of two tokens without a space between them may be written as one, as those of Arabic are."""
    ends = before[-1], after[0]
    return any(
        unicodedata.category(letter).startswith("M") or unicodedata.bidirectional(letter) in _RIGHT_TO_LEFT
        for letter in ends
    )


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
