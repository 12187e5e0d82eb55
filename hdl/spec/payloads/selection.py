"""Payloads of the top-k engine."""

from __future__ import annotations

from amaranth.lib import data

from hdl.spec.config import Config
from hdl.spec.widths import bits_for_count, signed

__all__ = [
    "lane_group",
    "masked_group",
    "select_line",
    "selection",
]

S = data.StructLayout
A = data.ArrayLayout


def lane_group(shape, lanes: int) -> S:
    """Items of one row, compact from lane 0. A row is a series of groups, the last of which has ``last``."""
    return S(
        {
            "items": A(shape, lanes),
            "count": bits_for_count(lanes),  # valid lanes
            "last": 1,  # row ends
        }
    )


def masked_group(shape, lanes: int) -> S:
    """Items of one row with a mask of those to keep."""
    return S({"items": A(shape, lanes), "keep": lanes, "last": 1})


def select_line(config: Config, score_width: int | None = None) -> S:
    """P scores of one row (Q×K, or of ``score_width`` bits) for a top-k engine; every line but the last is full."""
    return S(
        {
            "scores": A(signed(score_width or config.score_width), config.topk_parallelism),
            "count": bits_for_count(config.topk_parallelism),  # valid lanes 1…P, from lane 0
            "last": 1,  # row ends
            "k": config.count_width,  # 1…n; read with the row's first line
        }
    )


def selection(config: Config, score_width: int | None = None) -> S:
    """Result of quick-select for a row."""
    return S(
        {
            "threshold": signed(score_width or config.score_width),  # k-th largest score
            "ties": config.count_width,  # how many scores equal to it belong to the top k, 1…
        }
    )
