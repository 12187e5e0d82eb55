"""Maps of tokens and heads by layer, as SVG."""

from __future__ import annotations

import dataclasses
import itertools
import math

from sim.run.page_scene import LEVELS, Scene, levels_of
from sim.run.page_tokens import MAX_SHALLOW

__all__ = ["head_map", "token_map"]

MAX_COLUMNS = 256
"""Columns of the importance map; more tokens share columns."""
MAX_LABELLED = 64
"""Columns that have the room for the text of their token."""
MAX_LABEL = 14
"""Letters of a column's label."""


@dataclasses.dataclass(frozen=True)
class _Map:
    """A grid of shaded cells as SVG, in pixels."""

    width: int
    height: int
    cells: list[str]
    """path of all cells of a level"""
    pruned: str
    """path of lines through what was pruned"""
    rows: list[tuple[float, str]]
    """y, label"""
    columns: list[tuple[float, str, bool]]
    """x, label, whether it was kept to the end"""
    label_y: int
    slanted: bool
    per_column: int = 1


_LEFT, _GAP = 30, 1


def _map(
    levels: list[list[int | None]],
    *,
    size: tuple[int, int],
    rows: list[str],
    columns: dict[int, tuple[str, bool]],
    foot: int,
    slanted: bool = False,
    per_column: int = 1,
) -> _Map:
    """Cells (width, height) of levels by row and column; labels of columns by their index, in ``foot`` pixels."""
    width, height = size
    cells = [""] * (len(LEVELS) + 1)
    pruned = ""
    for y, row in enumerate(levels):
        for level, group in itertools.groupby(enumerate(row), key=lambda item: item[1]):
            members = [column for column, _ in group]
            if level is None:
                middle = y * height + height // 2
                pruned += f"M{_LEFT + members[0] * width} {middle}h{len(members) * width - _GAP}"
                continue
            across, down = width - _GAP, height - _GAP
            for column in members:
                cells[level] += f"M{_LEFT + column * width} {y * height}h{across}v{down}h-{across}z"
    every = max(1, math.ceil(14 / height))
    return _Map(
        width=_LEFT + len(levels[0]) * width + (foot if slanted else 0),
        height=len(levels) * height + foot,
        cells=cells,
        pruned=pruned,
        rows=[(y * height + height / 2, label) for y, label in enumerate(rows) if y % every == 0],
        columns=[(_LEFT + (x + 0.5) * width, label, kept) for x, (label, kept) in columns.items()],
        label_y=len(levels) * height + (10 if slanted else 14),
        slanted=slanted,
        per_column=per_column,
    )


def token_map(scene: Scene) -> _Map:
    """Layers × tokens; in a column of several tokens the most important one counts."""
    number = len(scene.words)
    per_column = -(-number // MAX_COLUMNS)
    starts = range(0, number, per_column)
    levels = [
        [
            max((level for level in layer.levels[start : start + per_column] if level is not None), default=None)
            for start in starts
        ]
        for layer in scene.layers
    ]
    labelled = number <= MAX_LABELLED
    if labelled:
        last = scene.layers[-1].levels
        columns = {token: (_clipped(word.text), last[token] is not None) for token, word in enumerate(scene.words)}
    else:
        tick = max(per_column, _round_step(number / 8))
        columns = {token // per_column: (str(token), False) for token in range(0, number, tick)}
    cell = max(4, min(24, 860 // len(starts)))
    return _map(
        levels,
        size=(cell, 18 if len(levels) <= MAX_SHALLOW else 12),
        rows=[str(view.layer) for view in scene.views],
        columns=columns,
        foot=84 if labelled else 20,
        slanted=labelled,
        per_column=per_column,
    )


def head_map(scene: Scene) -> _Map:
    levels = []
    for view in scene.views:
        alive = zip(view.heads, view.head_importance, strict=True)
        levels.append(levels_of([importance if computed else None for computed, importance in alive]))
    heads = len(levels[0])
    every = max(1, heads // 16)
    return _map(
        levels,
        size=(24, 18 if len(levels) <= MAX_SHALLOW else 12),
        rows=[str(view.layer) for view in scene.views],
        columns={head: (str(head), False) for head in range(0, heads, every)},
        foot=20,
    )


def _clipped(text: str) -> str:
    return text if len(text) <= MAX_LABEL else text[: MAX_LABEL - 1] + "…"


def _round_step(least: float) -> int:
    """1, 2 or 5 times a power of ten, not below ``least``."""
    power = 10 ** max(0, math.floor(math.log10(max(1.0, least))))
    return next(factor * power for factor in (1, 2, 5, 10) if factor * power >= least)
