"""Widths of fields that no configuration changes, widths of counts, and other shapes derived from sizes."""

from __future__ import annotations

from hdl.spec.config import Config

__all__ = [
    "CODE_WIDTH",
    "DECAY_WIDTH",
    "DIM_WIDTH",
    "ELEMENT_BITS_WIDTH",
    "FIELD_WIDTH",
    "GROUP_FIELD_WIDTH",
    "HEAD_FIELD_WIDTH",
    "ID_WIDTH",
    "JOB_ID_WIDTH",
    "LIST_WIDTH",
    "LOG_SLICES_WIDTH",
    "LSB_FIELD_WIDTH",
    "PAIR_WIDTH",
    "PLANE_SHIFT_WIDTH",
    "SKEW_FIELD_WIDTH",
    "bits_for_count",
    "lane_count",
    "signed",
]

JOB_ID_WIDTH = 16
"""Bits of the number that the host gives a job or layer, and gets back with every result."""
FIELD_WIDTH = 16
"""Bits of a count of tokens or rows in a descriptor: more than any legal one has, so that a wrong one can be told."""
ID_WIDTH = 16
"""Bits of a token's id on its way from and to the host; a configuration keeps ``position_width`` of them."""
HEAD_FIELD_WIDTH = 8
"""Bits of a head's number, or of a count of heads, in a descriptor."""
GROUP_FIELD_WIDTH = 5
"""Bits of the number of query heads of a job."""
DIM_WIDTH = 8
"""Bits of a head dimension; of a pair's rows, too, but for the largest."""
LOG_SLICES_WIDTH = 3
"""Bits of log2 of the slices of a row, at most 128."""
ELEMENT_BITS_WIDTH = 5
"""Bits of the width of a plane's elements."""
LSB_FIELD_WIDTH = 3
"""Bits of the width of the elements of the K LSB plane."""
PLANE_SHIFT_WIDTH = 4
"""Bits of the left shift of an element on its way to the buffers."""
SKEW_FIELD_WIDTH = 8
"""Bits of the channel in which row 0 of a plane lies, in a descriptor."""
LIST_WIDTH = 2
"""Bits of the choice of an id list (LIST_DENSE, …)."""
PAIR_WIDTH = 2
"""Bits of the place of a job in its pair; 0: it has none."""
DECAY_WIDTH = 5
"""Bits of the shift by which importance falls at a selection."""
CODE_WIDTH = 4
"""Bits of a code of ``payloads.STATUS``."""


def bits_for_count(limit: int) -> int:
    """Width of an unsigned count 0…limit."""
    return max(1, int(limit).bit_length())


def lane_count(config: Config) -> int:
    """Width of a number of lanes, 0…lanes."""
    return bits_for_count(config.lanes)


def signed(width: int):
    from amaranth.hdl import signed as amaranth_signed

    return amaranth_signed(width)
