"""The text layer by layer, and the table of its tokens."""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Iterator
from typing import Any

from sim.run.page_scene import Scene, Tokens
from sim.run.page_words import joined
from sim.run.record import Word

__all__ = ["MAX_SHALLOW", "texts", "token_table"]

MAX_TEXTS = 8
"""Layers whose text is shown, if the model is not shallow."""
MAX_SHALLOW = 12
"""Layers that have room for all."""


@dataclasses.dataclass(frozen=True)
class _Chip:
    """A token, or several in a row that were pruned before, in the text of a layer."""

    tag: str
    style: str
    text: str
    space: bool


def texts(scene: Scene) -> list[dict[str, Any]]:
    picked = _spread(len(scene.views), MAX_TEXTS if len(scene.views) > MAX_SHALLOW else MAX_SHALLOW)
    return [
        {
            "layer": scene.views[index].layer,
            "attended": scene.views[index].tokens,
            "pruned": sum(
                level is not None and not keep for level, keep in zip(tokens.levels, tokens.keep, strict=True)
            ),
            "chips": _chips(scene.words, tokens, scene.tables),
        }
        for index in picked
        for tokens in [scene.layers[index]]
    ]


def _spread(number: int, most: int) -> list[int]:
    """Indices of the first, the last, and some evenly between."""
    if number <= most:
        return list(range(number))
    return [round(index * (number - 1) / (most - 1)) for index in range(most)]


def _chips(words: list[Word], tokens: Tokens, tables: int) -> list[_Chip]:
    chips = []
    for gone, group in itertools.groupby(range(len(words)), key=lambda token: tokens.levels[token] is None):
        members = list(group)
        if gone:
            text = "".join(" " * (words[token].space and token > members[0]) + words[token].text for token in members)
            chips.append(_Chip("s", "", text, words[members[0]].space))
            continue
        for token in members:
            style = f"l{tokens.levels[token]}" + " part" * (tokens.tables[token] < tables)
            chips.append(_Chip("span" if tokens.keep[token] else "del", style, words[token].text, words[token].space))
    return _written_together(chips)


def _written_together(chips: list[_Chip]) -> list[_Chip]:
    """No gap where letters of two tokens belong together: a gap would cut their strokes."""
    styles = [[chip.style] if chip.style else [] for chip in chips]
    for index, (before, after) in enumerate(itertools.pairwise(chips)):
        if not after.space and joined(before.text, after.text):
            styles[index].append("on")
            styles[index + 1].append("off")
    return [dataclasses.replace(chip, style=" ".join(style)) for chip, style in zip(chips, styles, strict=True)]


def token_table(scene: Scene) -> Iterator[tuple[int, str, int, str, str]]:
    """Token, text, how many layers attend it, the last of them, and the importance after that one."""
    for token, word in enumerate(scene.words):
        attending = [index for index, layer in enumerate(scene.layers) if layer.levels[token] is not None]
        last = attending[-1] if attending else None
        importance = None if last is None else scene.layers[last].importance[token]
        yield (
            token,
            word.text,
            len(attending),
            "–" if last is None else str(scene.views[last].layer),
            "–" if importance is None else f"{importance:.4g}",
        )
