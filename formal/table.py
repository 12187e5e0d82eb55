"""The table of docs/verification.md."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

from formal.runner import Result

__all__ = ["DOCUMENT", "put", "rows"]

DOCUMENT = Path(__file__).resolve().parents[1] / "docs" / "verification.md"

_HEAD = "| Block | Configuration | Property | Engine | Holds | Seconds |\n|---|---|---|---|---|---|"
_BEGIN, _END = "<!-- proofs -->", "<!-- end of proofs -->"


def rows(results: Sequence[Result]) -> list[str]:
    """A row for each property of each proof; the seconds are those of the whole proof, in its first row."""
    return [
        f"| {r.block} | {r.configuration} | {claim} | {r.engine} | {r.extent} | {'' if index else f'{r.seconds:.1f}'} |"
        for r in results
        for index, claim in enumerate(r.claims)
    ]


def put(results: Sequence[Result]) -> None:
    """Write the table into the document."""
    text = DOCUMENT.read_text(encoding="utf-8")
    table = "\n".join([_BEGIN, _HEAD, *rows(results), _END])
    DOCUMENT.write_text(re.sub(f"{_BEGIN}.*?{_END}", lambda _: table, text, flags=re.DOTALL), encoding="utf-8")
