"""The table of mutants in docs/verification.md."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

from mutation.record import Kept

__all__ = ["DOCUMENT", "put", "rows"]

DOCUMENT = Path(__file__).resolve().parents[1] / "docs" / "verification.md"
_BEGIN, _END = "<!-- mutants -->", "<!-- end of mutants -->"
_HEAD = "| Module | Mutants | Tried | Noticed | Not noticed |\n|---|---|---|---|---|"


def rows(kept: Sequence[Kept]) -> list[str]:
    """A row for each module that was tried, and the sum."""
    known = [each for each in kept if each.found]
    lines, sums = [], [0, 0, 0, 0]
    for each in known:
        tried, survived = len(each.counted()), len(each.survivors())
        numbers = [each.total, tried, tried - survived, survived]
        sums = [total + number for total, number in zip(sums, numbers, strict=True)]
        lines.append(f"| `{each.path}` | {' | '.join(map(str, numbers))} |")
    lines.append(f"| all {len(known)} modules | {' | '.join(f'{total:,}' for total in sums)} |")
    return lines


def put(kept: Sequence[Kept]) -> None:
    """Write the table into the document."""
    text = DOCUMENT.read_text(encoding="utf-8")
    written = "\n".join([_BEGIN, _HEAD, *rows(kept), _END])
    DOCUMENT.write_text(re.sub(f"{_BEGIN}.*?{_END}", lambda _: written, text, flags=re.DOTALL), encoding="utf-8")
