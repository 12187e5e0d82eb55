"""Requests for the job checker and its parts, right and wrong."""

from __future__ import annotations

import random
from typing import Any

from hdl.spec.config import PRESETS

CONFIG = PRESETS["tiny"]  # 2 channels of 64 bits, 64 tokens, buffer of 128 slots of 16
GOOD = {
    "job_id": 7,
    "dim": 32,
    "num_keys": 9,
    "num_queries": 3,
    "group": 1,
    "head": 0,
    "accumulate": 0,
    "num_rows": 9,
    "causal": 0,
    "generation": 0,
    "list": 0,
    "skew": 1,
    "pair": 0,
    "value_keep": 4,
    "query_base": 100,
    "key_base": 200,
    "key_lsb_base": 300,
    "value_base": 400,
    "query_bits": 12,
    "key_bits": 6,
    "key_lsb_bits": 4,
    "value_bits": 8,
    "scale": 40000,
    "shift": 10,
    "flat_limit": 655360,
}
"""A job that ``CONFIG`` takes, in a window of words 100…499."""


def request(*, layer: int = 0, list_only: int = 0, match: int = 0, **changes: int) -> dict[str, Any]:
    """A request of GOOD with changes."""
    return {"job": {**GOOD, **changes}, "layer": layer, "list_only": list_only, "match": match}


_VALUES = {
    "dim": (16, 24, 32, 48, 64, 0, 80, 255),
    "num_keys": (1, 5, 16, 17, 32, 33, 63, 64, 65, 0, 65535),
    "num_rows": (1, 9, 33, 64, 65, 65535),
    "num_queries": (1, 2, 9, 16, 21, 22, 64, 65, 0, 65535),
    "group": (1, 2, 3, 7, 8, 9, 0, 31),
    "head": (0, 23, 24, 29, 31, 255),
    "causal": (0, 1),
    "generation": (0, 1),
    "list": (0, 1, 2, 3),
    "skew": (0, 1, 2, 255),
    "pair": (0, 1, 2, 3),
    "value_keep": (1, 4, 9, 10, 64, 0, 65535),
    "query_bits": (4, 6, 8, 10, 12, 0, 5, 16),
    "key_bits": (4, 6, 8, 10, 12, 0, 7),
    "key_lsb_bits": (0, 4, 2),
    "value_bits": (4, 6, 8, 10, 12, 0, 16),
    "scale": (1, 0, 65535),
    "shift": (1, 0, 63),
}
"""Field -> values on both sides of what is right."""


def random_request(rng: random.Random, *, changes: int = 3) -> dict[str, Any]:
    """A request with some fields changed; about half of them are wrong."""
    names = rng.sample(sorted(_VALUES), rng.randint(0, changes))
    return request(
        layer=rng.randrange(2),
        list_only=int(rng.random() < 0.2),
        match=rng.randrange(2),
        **{name: rng.choice(_VALUES[name]) for name in names},
    )
