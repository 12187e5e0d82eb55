"""Generation step by step."""

from __future__ import annotations

import itertools
import statistics
from typing import Any

from sim.run.record import RunRecord, words_of

__all__ = ["generated", "steps"]


def steps(record: RunRecord) -> dict[str, Any] | None:
    """Tokens attended in each step, of the layers the fewest, the mean and the most, as SVG points in 100 × 100."""
    last = record.last_step
    if last < 1:
        return None
    rows = []
    for step in range(last + 1):
        tokens = [view.tokens for view in record.step(step)]
        rows.append((step, record.num_tokens(step), min(tokens), statistics.fmean(tokens), max(tokens)))
    most = rows[-1][1]

    known, least, mean, greatest = (
        [f"{100 * row[0] / last:.2f},{100 - 100 * row[column] / most:.2f}" for row in rows] for column in range(1, 5)
    )
    return {
        "rows": rows,
        "most": most,
        "last": last,
        "dense": " ".join(known),
        "mean": " ".join(mean),
        "band": " ".join(least + greatest[::-1]),
    }


def generated(record: RunRecord) -> dict[str, Any] | None:
    """The generated tokens beside the dense model's, and the index of the first that differs (None: none does)."""
    if not record.generated:
        return None
    pairs = itertools.zip_longest(record.generated, record.dense_generated)
    first = next((index for index, (ours, dense) in enumerate(pairs) if ours != dense), None)
    before = len(record.tokens)
    ours = words_of(record.tokens + record.generated)[before:]
    dense = words_of(record.tokens + record.dense_generated)[before:]
    return {"ours": ours, "dense": dense, "first": first if record.dense_generated else None}
