"""Software model of the top-k engine: its result, its exact cycle count, and rows to measure it with.

The result equals :func:`golden.datapath.integer.kth_largest` and :func:`golden.datapath.integer.keep_mask`; this
module adds *how* the engine gets there (the pivots of every pass), because that is what its cycle count depends on.
"""

from __future__ import annotations

import dataclasses
import math
import random

from hdl.spec.select_policy import (
    EARLY_LINES,
    GATHER_LINES,
    LOAD_CYCLES,
    PASS_CYCLES,
    load_ranks,
    pivot_ranks,
    store_latency,
)

__all__ = ["BENCH_KINDS", "Pass", "bench_rows", "quick_select_cycles", "quick_select_passes", "survivors"]

BENCH_KINDS = ("random", "sorted", "equal", "eight", "scores")
"""Of rows, as :func:`bench_rows` makes them."""


@dataclasses.dataclass(frozen=True)
class Pass:
    """One pass over the candidates: how many there were, the pivots, and what the pass cost in cycles."""

    size: int
    """candidates"""
    high: int
    """the larger pivot, a score"""
    low: int
    """the smaller one; the same if one pivot is enough"""
    cycles: int
    """what the pass costs"""


def _gather(items: list[int], parallelism: int) -> list[int]:
    """Sample spread over all full lines of a part."""
    lines = len(items) // parallelism
    reads = min(GATHER_LINES, parallelism)
    share = parallelism // reads
    return [items[(lane // share * lines // reads) * parallelism + lane] for lane in range(parallelism)]


def quick_select_passes(scores: list[int], k: int, parallelism: int) -> tuple[int, int, list[Pass]]:
    """(threshold, ties, passes) of the engine with ``parallelism`` lanes; k >= n means n."""
    if not scores or k < 1:
        raise ValueError(f"a row needs scores and k >= 1, not {len(scores)} and {k!r}")
    items, k, passes = list(scores), min(k, len(scores)), []
    overhead, sample = LOAD_CYCLES, items[:parallelism]
    ranks = load_ranks(parallelism) if len(items) > parallelism else (k - 1, k - 1)
    while True:
        ordered = sorted(sample, reverse=True)
        high, low = (ordered[rank] for rank in ranks)
        passes.append(Pass(len(items), high, low, overhead + -(-len(items) // parallelism)))
        greater = [x for x in items if x > high]
        at_high = sum(x == high for x in items)
        middle = [x for x in items if low < x < high]
        less = [x for x in items if x < low]
        if k <= len(greater):
            part = greater
        elif k <= len(greater) + at_high:
            return high, k - len(greater), passes
        elif k <= len(greater) + at_high + len(middle):
            k -= len(greater) + at_high
            part = middle
        elif k <= len(items) - len(less):
            return low, k - len(greater) - at_high - len(middle), passes
        else:
            k -= len(items) - len(less)
            part = less
        poor = len(part) > max(len(items) - len(items) // 4, parallelism)
        overhead, sample = PASS_CYCLES, part[:parallelism]
        if poor:
            overhead += min(GATHER_LINES, parallelism) - 1
            sample = _gather(part, parallelism)
        if poor or len(part) < EARLY_LINES * parallelism:
            overhead += store_latency(parallelism)
        ranks = pivot_ranks(k, len(part), parallelism)
        items = part


def quick_select_cycles(scores: list[int], k: int, parallelism: int) -> int:
    """Cycles of ``QuickSelect`` from the row's first line accepted to its result valid, with its lines back to back."""
    return sum(item.cycles for item in quick_select_passes(scores, k, parallelism)[2])


def survivors(scores: list[int], k: int) -> list[int]:
    """Positions of the min(k, n) survivors, ascending: the largest scores, among equal ones the earliest."""
    order = sorted(range(len(scores)), key=lambda position: (-scores[position], position))
    return sorted(order[:k])


def bench_rows(kind: str, n: int, count: int, seed: int, *, score_width: int = 31) -> list[list[int]]:
    """``count`` rows of ``n`` signed scores of one of ``BENCH_KINDS``.

    random: uniform over the full range; sorted: the same, ascending and descending in turn; equal: one value a row;
    eight: eight distinct values; scores: dot products of a normal query with normal keys of 64 12-bit elements.
    """
    if kind not in BENCH_KINDS:
        raise ValueError(f"kind must be one of {', '.join(BENCH_KINDS)}, not {kind!r}")
    rng = random.Random(f"{kind} {n} {seed}")
    limit = 1 << (score_width - 1)
    rows = []
    for index in range(count):
        if kind == "equal":
            row = [rng.randrange(-limit, limit)] * n
        elif kind == "eight":
            values = [rng.randrange(-limit, limit) for _ in range(8)]
            row = [rng.choice(values) for _ in range(n)]
        elif kind == "scores":
            # A dot product with normal keys is normal with the norm of the query.
            norm = math.sqrt(sum(rng.gauss(0, 500) ** 2 for _ in range(64)))
            row = [max(-limit, min(limit - 1, round(rng.gauss(0, 500 * norm)))) for _ in range(n)]
        else:
            row = [rng.randrange(-limit, limit) for _ in range(n)]
            if kind == "sorted":
                row.sort(reverse=bool(index % 2))
        rows.append(row)
    return rows
