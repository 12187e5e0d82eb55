"""The activity of SpAtten's blocks, from the counters of a run and what the data path does for each of them."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping

from hdl.spec import numerics as N
from hdl.spec.config import Config
from sim.energy.activity import Activity

__all__ = ["BLOCKS", "DERIVED", "Counted", "blocks_of"]

BLOCKS = ("qk", "pv", "softmax", "topk", "importance", "fetcher", "sram", "dram")
"""Parts of the machine; ``sram`` is the buffers of K and V."""

DERIVED = {
    "qk": "a product of each element of each score (qk_useful), the sum of these, registers of operands and products",
    "pv": "a product of each multiplier in each beat (pv_beats: lanes without weight count, too), its accumulation, "
    "and the normalization of each row",
    "softmax": "of each score (qk_useful) the product with the scale, the interpolation, the sum, and the passage of "
    "score and exponential through their queues",
    "topk": "two comparisons and the compaction of each score that a busy engine takes (topk_busy), and its store",
    "importance": "of each score one product with the reciprocal, and reading, adding and writing of a sum",
    "fetcher": "each word (…_words) through its channel's queue, the crossbar and the converter",
    "sram": "elements of K and V written once (…_words over the bits of an element), a line read in each beat",
    "dram": "bits of all words (…_words)",
}
"""What is derived from which counter, for there is none of its own."""

_SCORE_QUEUES = 2
"""Memories that each score passes, as a score and as an exponential."""
_WORD_STAGES = 4
"""Registers that a word of memory passes: its port, the channel's queue, crossbar, converter."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Counted:
    """Counters of a run, and the sizes that they are of."""

    counters: Mapping[str, float]
    """by the names of hdl/control/counters.py: qk_useful, qk_beats, pv_beats, topk_busy, rows, …_words"""
    dim: int
    """D"""
    key_bits: float
    """of an element in memory, MSBs"""
    value_bits: float


def blocks_of(counted: Counted, config: Config) -> dict[str, Activity]:
    """Activity of each of :data:`BLOCKS`."""
    counts, dim, width = counted.counters, counted.dim, config.operand_width
    scores, products = counts["qk_useful"], counts["qk_useful"] * counted.dim
    weighed = counts["pv_beats"] * config.num_multipliers
    rows, word = counts["rows"], config.channel_width
    words = sum(counts[f"{plane}_words"] for plane in ("query", "key", "key_lsb", "value"))
    ranked = counts["topk_busy"] * config.topk_parallelism
    levels = config.topk_parallelism.bit_length() - 1
    written = word * width * (counts["key_words"] / counted.key_bits + counts["value_words"] / counted.value_bits)
    written += word * counts["key_lsb_words"]
    read = (counts["qk_beats"] + counts["pv_beats"]) * config.num_multipliers * width
    return {
        "qk": Activity(multiplied=products * width**2, added=products * 2 * width, registered=products * 4 * width),
        "pv": Activity(
            multiplied=weighed * N.EXP_WIDTH * width + rows * dim * N.RECIP_WIDTH * config.acc_width,
            added=weighed * config.acc_width,
            registered=weighed * (N.EXP_WIDTH + width + config.acc_width) + rows * dim * config.acc_width,
        ),
        "softmax": Activity(
            multiplied=scores * (config.score_width * N.SCALE_WIDTH + (N.X_FRAC - N.EXP_INDEX) * max_slope_bits()),
            added=scores * (2 * config.score_width + config.sum_width),
            registered=scores * 4 * (config.score_width + N.EXP_WIDTH),
            stored=scores * _SCORE_QUEUES * (config.score_width + N.EXP_WIDTH),
        ),
        "topk": Activity(
            added=2 * ranked * config.score_width,
            registered=ranked * config.score_width * (1 + levels),
            stored=2 * ranked * config.score_width,
        ),
        "importance": Activity(
            multiplied=scores * N.EXP_WIDTH * N.RECIP_WIDTH,
            added=scores * N.IMPORTANCE_WIDTH,
            stored=scores * 2 * N.IMPORTANCE_WIDTH,
        ),
        "fetcher": Activity(registered=_WORD_STAGES * words * word),
        "sram": Activity(stored=written + read),
        "dram": Activity(fetched=words * word),
    }


def max_slope_bits() -> int:
    """Bits of the slope that the exponential interpolates with."""
    return max(N.EXP_SLOPE).bit_length()
