"""Where the K and V of each row lie in memory: alone or in pairs of heads, and from which channel on."""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Iterable, Sequence

from hdl.spec.config import Config
from sim.workload.rows import Row

__all__ = ["PlaneName", "layout_of", "lengths_of", "parted", "plane_of"]

PlaneName = tuple[int, int, int, int, int, int]
"""Layer, head, D, and widths of K (MSBs, LSBs) and V."""
PAIR_SHARE = 1 / 3
"""Most of the K buffer that a pair takes: a larger one would wait for the pair before it."""


def layout_of(rows: Sequence[Row], config: Config, *, pair: bool = True) -> list[tuple[int, int]]:
    """``pair`` and ``skew`` of each row's job."""
    pairs = _pairs(rows, config) if pair else [0] * len(rows)
    skews = _skews(rows, pairs)
    return [(place, skews[plane_of(row)] % config.num_channels) for row, place in zip(rows, pairs, strict=True)]


def plane_of(row: Row) -> PlaneName:
    return row.layer, row.head, row.dim, row.key_bits, row.key_lsb_bits, row.value_bits


def lengths_of(rows: Iterable[Row]) -> dict[PlaneName, int]:
    """Tokens of each head's K and V: the cache of the whole run, one row a token."""
    lengths: dict[PlaneName, int] = {}
    for row in rows:
        lengths[plane_of(row)] = max(row.tokens, lengths.get(plane_of(row), 0))
    return lengths


def _can_pair(config: Config, row: Row) -> bool:
    """Whether two heads like this one may lie together: rows of 2·D whole slices, and room for other jobs' keys."""
    if row.dim % config.lane_width or 2 * row.dim > config.max_dim:
        return False
    region = -(-(row.keys << config.log_slices(row.dim)) // config.key_banks) * config.key_banks
    return -(-2 * region // config.key_page_slots) <= config.key_pages * PAIR_SHARE


def _pairs(rows: Sequence[Row], config: Config) -> list[int]:
    """1 and 2 for neighbouring rows of heads 2h and 2h + 1 with the same survivors and widths, else 0."""
    pairs, lengths = [0] * len(rows), lengths_of(rows)
    for index, (one, other) in enumerate(itertools.pairwise(rows)):
        own = {"line": other.line, "flat": other.flat, "topk": other.topk, "values": other.values}
        same = dataclasses.replace(one, head=one.head + 1, **own) == other
        if one.head % 2 == 0 and same and lengths[plane_of(one)] == lengths[plane_of(other)]:
            pairs[index : index + 2] = (1, 2) if _can_pair(config, one) else (0, 0)
    return pairs


def parted(rows: Sequence[Row], pairs: Sequence[int]) -> tuple[list[Row], list[Row]]:
    """Rows alone, and rows in pairs."""
    parts: tuple[list[Row], list[Row]] = ([], [])
    for row, place in zip(rows, pairs, strict=True):
        parts[place > 0].append(row)
    return parts


def _skews(rows: Sequence[Row], pairs: Sequence[int]) -> dict[PlaneName, int]:
    """Number of each plane's head, or pair of heads, among all of the model."""
    heads = 1 + max(row.head for row in rows)
    paired = {plane_of(row) for row in parted(rows, pairs)[1]}
    skews = {}
    for row in rows:
        single, double = row.layer * heads + row.head, row.layer * -(-heads // 2) + row.head // 2
        skews[plane_of(row)] = double if plane_of(row) in paired else single
    return skews
