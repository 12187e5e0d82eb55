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


_ANY = {
    "lanes": (1, 1, 2, 2, 4, 8),
    "lane_width": (1, 2, 4, 8, 16, 16, 32),
    "max_dim": (16, 16, 32, 32, 64, 128),
    "tokens": (8, 40),
    "buffer_dim": (8, 16, 16, 32, 48, 64),
    "more_rows": 40,
    "banks": (1, 1, 2, 4),
    "heads": 40,
    "most_heads": 128,
    "channels": (1, 1, 2, 4),
    "engines": (1, 1, 2, 3),
    "norm_lanes": (1, 2, 4, 8),
}
_SMALL = {
    **_ANY,
    "lanes": (1, 1, 2),
    "lane_width": (1, 2, 4, 8, 16),
    "max_dim": (16,),
    "tokens": (4, 10),
    "buffer_dim": (8, 16),
    "more_rows": 8,
    "banks": (1, 1, 2),
    "heads": 5,
    "most_heads": 12,
    "channels": (1, 1, 2),
    "engines": (1, 1, 2),
    "norm_lanes": (1, 2),
}
"""What costs much to elaborate and long to run is few."""


def _draw(rng: random.Random, ranges: dict[str, Any]) -> dict[str, Any]:
    lanes = rng.choice(ranges["lanes"])
    lane_width = rng.choice(ranges["lane_width"])
    max_dim = rng.choice(ranges["max_dim"])
    served = range(16, max_dim + 1, 16)
    max_tokens, buffer_dim = rng.randint(*ranges["tokens"]), rng.choice(ranges["buffer_dim"])
    rows = {what: max_tokens + rng.choice((0, 0, rng.randint(0, ranges["more_rows"]))) for what in ("key", "value")}
    banks_per_lane = rng.choice(ranges["banks"])
    max_heads = rng.choice((1, 2, rng.randint(1, ranges["heads"]), ranges["most_heads"]))
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
        "num_channels": rng.choice(ranges["channels"]),
        "channel_width": rng.choice((32, 64, 128)),
        "address_width": rng.choice((8, 10, 12, 16, 24, 32)),
        "topk_parallelism": lanes * rng.choice((1, 1, 2, 4)),
        "num_topk_engines": rng.choice(ranges["engines"]),
        "norm_lanes": rng.choice(ranges["norm_lanes"]),
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


def random_config(seed: int, *, small: bool = False) -> Config:
    """A configuration with sizes of one, odd ones, and limits that meet; drawn until ``Config`` accepts it.

    small: one that a simulator is made of in seconds.
    """
    rng, ranges = random.Random(seed), _SMALL if small else _ANY
    while True:
        try:
            return Config(name=f"random-{seed}", **_draw(rng, ranges))
        except ConfigError:
            continue
