"""Cycles of the top-k engines for scores that nobody knows."""

from __future__ import annotations

import functools
import random

from golden.datapath.topk import quick_select_cycles

__all__ = ["topk_cycles"]


def topk_cycles(keys: int, keep: int, parallelism: int) -> float:
    """Cycles of a quick-select engine from a row's first line to its threshold, for normal scores: a mean."""
    step = 1 << max(0, keys.bit_length() - 6)  # neighbouring lengths share a mean
    rounded = max(1, round(keys / step)) * step
    return _topk_mean(rounded, max(1, round(keep * rounded / keys)), parallelism)


@functools.lru_cache(maxsize=4096)
def _topk_mean(keys: int, keep: int, parallelism: int) -> float:
    rng = random.Random(keys * 4099 + keep)
    rows = [[round(rng.gauss(0, 1 << 20)) for _ in range(keys)] for _ in range(max(8, 4096 // keys))]
    return sum(quick_select_cycles(row, keep, parallelism) for row in rows) / len(rows)
