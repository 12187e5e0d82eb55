"""The step that a page shows, and the shade of each token in each of its layers."""

from __future__ import annotations

import statistics
from collections.abc import Sequence

from sim.run.record import LayerView, RunRecord, words_of

__all__ = ["LEVELS", "Scene", "Tokens", "levels_of"]

LEVELS = (0.5, 0.75, 1.0, 1.5, 3.0)
"""Edges between shades of importance, relative to the median of the layer."""


class Scene:
    """The step that the page shows layer by layer: the last one, an encoder's only one."""

    def __init__(self, record: RunRecord):
        self.record, self.step = record, record.last_step
        self.views = record.step(self.step)
        self.words = words_of(record.texts)[: record.num_tokens(self.step)]
        self.layers = [Tokens(view, len(self.words)) for view in self.views]

    @property
    def tables(self) -> int:
        """Tables of a layer; more than one in the scope "head"."""
        return len(self.views[0].tables)

    @property
    def tokens_kept(self) -> float:
        """Share of the tokens that a layer attends, mean of the layers."""
        return statistics.fmean(view.tokens for view in self.views) / len(self.words)

    @property
    def heads_kept(self) -> float:
        return statistics.fmean(view.num_heads / len(view.heads) for view in self.views)


class Tokens:
    """A layer's tokens by id: shade (None: not attended), tables that attend it, whether it survives."""

    def __init__(self, view: LayerView, number: int):
        self.importance: list[float | None] = [None] * number
        self.tables, self.keep = [0] * number, [False] * number
        for table in view.tables:
            for token, importance, keep in zip(table.ids, table.importance, table.keep, strict=True):
                self.importance[token] = (self.importance[token] or 0.0) + importance
                self.tables[token] += 1
                self.keep[token] |= keep
        self.levels = levels_of(self.importance)


def levels_of(values: Sequence[float | None]) -> list[int | None]:
    """Shades relative to the median."""
    known = [value for value in values if value is not None]
    median = statistics.median(known) if known else 0.0
    return [None if value is None else _level(value, median) for value in values]


def _level(value: float, median: float) -> int:
    return sum(value >= edge * median for edge in LEVELS) if median else (len(LEVELS) if value else 0)
