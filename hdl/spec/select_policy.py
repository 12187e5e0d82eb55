"""How quick-select picks pivots and what a pass costs: what the RTL and its software model share."""

from __future__ import annotations

__all__ = [
    "EARLY_LINES",
    "GATHER_LINES",
    "LOAD_CYCLES",
    "PASS_CYCLES",
    "WIDE_LINES",
    "load_ranks",
    "pivot_ranks",
    "store_latency",
]

LOAD_CYCLES = 9
"""First line accepted to result valid, beyond one cycle a line, if the load decides."""
PASS_CYCLES = 8
"""The same for every further pass."""
EARLY_LINES = 4
"""Parts of at least so many full lines are read at once; shorter ones wait until their last line is written."""
WIDE_LINES = 2
"""Parts of at least so many full lines are cut by two pivots one rank further apart on either side."""
GATHER_LINES = 8
"""Most lines from which the sample of a part is gathered after a poor pass."""


def store_latency(parallelism: int) -> int:
    """Cycles that the last line of a part is written later than its first could be read: network stages."""
    return max(1, -(-(parallelism.bit_length() - 1) // 2))


def load_ranks(parallelism: int) -> tuple[int, int]:
    """Ranks of the two pivots in the first line while the row's length is unknown: they cut it in thirds."""
    third = (parallelism - 1) // 3
    return third, parallelism - 1 - third


def pivot_ranks(k: int, size: int, parallelism: int) -> tuple[int, int]:
    """Ranks (0 is the largest) in a sorted sample of the pivots around the k-th largest of ``size`` candidates."""
    if size <= parallelism:
        return k - 1, k - 1
    position = (k - 1) * (parallelism + 1) // size
    wide = size >= WIDE_LINES * parallelism
    return max(position - 1 - wide, 0), min(position + wide, parallelism - 1)
