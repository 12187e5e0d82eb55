"""Files of sentence pairs: a line with score, sentence and sentence, between tabs."""

from __future__ import annotations

import math
from pathlib import Path

from sim.common.errors import UserError
from sim.common.files import read_text
from sim.evaluate.reading import bounds

__all__ = [
    "Row",
    "read_pairs",
]

Row = tuple[int, float, str, str]
"""Line, score, sentence, sentence."""


def read_pairs(path: Path, part: str) -> tuple[list[Row], int]:
    """Rows of the part, and how many pairs of the whole file have no score: data sets have pairs nobody judged."""
    rows, unscored = [], 0
    for number, line in enumerate(read_text(path, "--pairs file").removesuffix("\n").split("\n"), 1):
        where = f"--pairs {path}:{number}:"
        columns = [column.strip() for column in line.split("\t")]
        if len(columns) != 3:
            raise UserError(f"{where} a line must have 3 columns (score, sentence, sentence), not {len(columns)}")
        score = _score(columns[0])
        if score is not None and not math.isfinite(score):
            raise UserError(f"{where} score must be a number, or empty, not {columns[0]!r}")
        if not columns[1] or not columns[2]:
            raise UserError(f"{where} a sentence must not be empty")
        if score is None:
            unscored += 1
        else:
            rows.append((number, score, columns[1], columns[2]))
    first, stop = bounds(len(rows), part)
    return rows[first:stop], unscored


def _score(text: str) -> float | None:
    """None: no score; NaN: no number."""
    try:
        return float(text) if text else None
    except ValueError:
        return math.nan
