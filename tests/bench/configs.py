"""Random small configurations, all of them accepted by ``Config``."""

from __future__ import annotations

import random
from typing import Any

from hdl.spec.config import Config, ConfigError

__all__ = ["random_config"]


def _page_count(slots: int, least: int, rng: random.Random) -> int:
    """Pages that cut ``slots`` slices in powers of two of at least ``least``; 1 where there are none."""
    counts = [slots >> log for log in range(20) if slots % (1 << log) == 0 and slots >> log and 1 << log >= least]
    return rng.choice(counts or [1])


def _draw(rng: random.Random) -> dict[str, Any]:
    lanes = rng.choice((1, 1, 2, 2, 4, 8))
    lane_width = rng.choice((1, 2, 4, 8, 16, 16, 32))
    max_dim = rng.choice((16, 16, 32, 32, 64, 128))
    served = range(16, max_dim + 1, 16)
    max_tokens, buffer_dim = rng.randint(8, 40), rng.choice((8, 16, 16, 32, 48, 64))
    rows = {what: max_tokens + rng.choice((0, 0, rng.randint(0, 40))) for what in ("key", "value")}
    banks_per_lane, max_heads = rng.choice((1, 1, 2, 4)), rng.choice((1, 2, rng.randint(1, 40), 128))
    slots = {what: rows[what] * buffer_dim // lane_width for what in rows}
    least = max(lanes * banks_per_lane, max_dim // lane_width)
    return {
        "num_multipliers": lanes * lane_width,
        "lanes": lanes,
        "max_dim": max_dim,
        "dims": tuple(sorted(rng.sample(served, rng.randint(1, len(served))))),
        "operand_width": rng.choice((8, 10, 12, 14, 16)),
        "max_tokens": max_tokens,
        "buffer_dim": buffer_dim,
        **{f"{what}_rows": rows[what] for what in rows},
        **{f"{what}_pages": _page_count(slots[what], least, rng) for what in rows},
        "banks_per_lane": banks_per_lane,
        "num_channels": rng.choice((1, 1, 2, 4)),
        "channel_width": rng.choice((32, 64, 128)),
        "address_width": rng.choice((8, 10, 12, 16, 24, 32)),
        "topk_parallelism": lanes * rng.choice((1, 1, 2, 4)),
        "num_topk_engines": rng.choice((1, 1, 2, 3)),
        "norm_lanes": rng.choice((1, 2, 4, 8)),
        "outstanding": rng.choice((1, 2, 5, 16)),
        "slice_queue": rng.choice((1, 2, 3, 4)),
        "contexts": rng.choice((4, 4, 8)),
        "loads": rng.choice((2, 2, 4)),
        "max_heads": max_heads,
        "max_group": rng.randint(1, min(16, max_heads)),
        "query_queue": rng.choice((1, 2, 3, 4)),
        "line_queue": max_tokens * buffer_dim // (lanes * lane_width) + rng.choice((1, 2, 7)),
        "adder_levels": rng.choice((1, 2, 3)),
        "packing": rng.random() < 0.7,
    }


def random_config(seed: int) -> Config:
    """A small configuration: sizes of one, odd ones, and limits that meet; drawn until ``Config`` accepts it."""
    rng = random.Random(seed)
    while True:
        try:
            return Config(name=f"random-{seed}", **_draw(rng))
        except ConfigError:
            continue
