"""What attention cost, against fp32 and fp16 dense attention, and how much of the difference each technique made."""

from __future__ import annotations

from typing import Any

from golden.host.traces import Totals

__all__ = ["FACTORS", "accounting", "dram_reduction", "everything_reduction", "factors", "summed"]

FACTORS = ("tokens", "heads", "values", "passes", "quantization")
"""Techniques in the order in which they apply: cascade token and head pruning, local value pruning, K and V read again
for each chunk of a prompt (a loss), narrow planes (second passes of flat rows included)."""


def dram_reduction(totals: Totals) -> float:
    """Bytes of fp32 dense attention over bytes read; 1 if nothing ran."""
    return _ratio(totals.traffic.dense, totals.traffic.total)


def everything_reduction(totals: Totals, bits: int = 32) -> float:
    """Bytes of dense attention in floats of so many bits over all that was moved; 1 if nothing ran."""
    return _ratio(totals.traffic.dense * bits / 32, totals.traffic.everything)


def factors(totals: Totals) -> dict[str, float]:
    """:func:`dram_reduction` as the product of a factor of each technique.

    Each is fp32 bytes before it over bytes after it, the last one over the bytes that were read; 1 changes nothing.
    """
    traffic = totals.traffic
    steps = [traffic.dense, traffic.tokens, traffic.heads, traffic.values, traffic.passes, traffic.total]
    return {name: _ratio(steps[index], steps[index + 1]) for index, name in enumerate(FACTORS)}


def summed(*parts: Totals) -> Totals:
    """The sum of some totals, such as those of prompt and generation."""
    result = Totals()
    for part in parts:
        result.add(part)
    return result


def accounting(totals: Totals) -> dict[str, Any]:
    """All figures of some totals, by the names that results have."""
    return {
        "dram_reduction": dram_reduction(totals),
        "dram_reduction_everything": everything_reduction(totals),
        "dram_reduction_everything_fp16": everything_reduction(totals, 16),
        "factors": factors(totals),
        "bytes_read": totals.traffic.by_plane | {"total": totals.traffic.read},
        "bytes_requantized": totals.traffic.requantized,
        "bytes_ids": totals.traffic.ids,
        "bytes_scales": totals.traffic.scales,
        "bytes_read_fp32_dense": totals.traffic.dense,
        "rows": totals.rows,
        "flat_rows": totals.flat_rows,
        "flat_row_share": totals.flat_rows / max(1, totals.rows),
        "macs": totals.macs,
        "dense_macs": totals.dense_macs,
        "macs_saved": 1 - _ratio(totals.macs, totals.dense_macs),
    }


def _ratio(before: float, after: float) -> float:
    return before / after if after else 1.0
