"""Widths of counts, and other shapes derived from sizes."""

from __future__ import annotations

from hdl.spec.config import Config

__all__ = ["bits_for_count", "lane_count", "signed"]


def bits_for_count(limit: int) -> int:
    """Width of an unsigned count 0…limit."""
    return max(1, int(limit).bit_length())


def lane_count(config: Config) -> int:
    """Width of a number of lanes, 0…lanes."""
    return bits_for_count(config.lanes)


def signed(width: int):
    from amaranth.hdl import signed as amaranth_signed

    return amaranth_signed(width)
