"""Sizes, numbers and places of right jobs: sizes of one, odd ones and the largest, planes that end with the window."""

from __future__ import annotations

import math
import random
from typing import Any

from attack.memory import plane_words
from attack.refusals import Refusals
from hdl.spec.config import Config

__all__ = ["PLANES", "Shapes", "random_window"]

PLANES = ("query", "key", "key_lsb", "value")


def random_window(words: int, rng: random.Random) -> tuple[int, int]:
    """All of the memory, or a part of it."""
    if rng.random() < 0.4:
        return 0, words
    return rng.randint(0, words // 4), words - rng.randint(0, words // 4)


class Shapes:
    """What jobs and layers are drawn of, so that the model of refusals accepts them.

    large: share of sizes that are the largest. dense: share of jobs that keep all V rows, for which no row waits for
    quick-select. keys: most of a job's.
    """

    def __init__(
        self,
        config: Config,
        rng: random.Random,
        model: Refusals,
        *,
        large: float = 0.5,
        dense: float = 0.3,
        keys: int | None = None,
    ):
        self.config, self.rng, self.model, self.large, self.dense = config, rng, model, large, dense
        self.keys = config.max_tokens if keys is None else keys

    def size(self, most: int) -> int:
        """1…most: the ends, the odd ones, and what meets the lanes."""
        rng = self.rng
        if rng.random() < self.large:
            return most
        near = self.config.lanes * rng.randint(1, 4) + rng.choice((-1, 0, 1))
        value = rng.choice((1, 2, most, most - 1, rng.randint(1, most), rng.randint(1, most) | 1, near))
        return max(1, min(most, value))

    def keep(self, keys: int) -> int:
        """V rows that each row keeps."""
        return keys if self.rng.random() < self.dense else self.rng.choice((1, keys, self.rng.randint(1, keys)))

    def most_keys(self, dim: int, pair: int) -> int:
        config = self.config
        slices = config.slices(dim)
        most = min(self.keys, config.max_tokens, config.buffer_slots // slices)
        if pair:
            most = min(most, config.key_slots // 2 // config.key_banks * config.key_banks // slices)
        return most

    def dims(self, pair: int) -> list[int]:
        config = self.config
        dims = [dim for dim in config.dims if self.most_keys(dim, pair) > 0]
        if pair:
            dims = [dim for dim in dims if dim % config.lane_width == 0 and 2 * dim <= config.max_dim]
        return dims

    def rows(self, kind: str, keys: int) -> tuple[int, int]:
        """Query heads of the job, and queries of each."""
        rng, config = self.rng, self.config
        if kind == "generation":
            return 1, 1
        group = rng.choice((1, 1, 1, config.max_group, rng.randint(1, config.max_group)))
        most = max(1, config.max_tokens // group)
        group = min(group, config.max_tokens)
        return group, self.size(min(most, keys) if kind == "causal" else most)

    def numbers(self, dim: int) -> dict[str, int]:
        """D, widths, scale and limit, so that rows are anything from flat to one key."""
        rng, config = self.rng, self.config
        query_bits, value_bits = rng.choice(config.plane_widths), rng.choice(config.plane_widths)
        key_bits, key_lsb_bits = rng.choice(config.splits)
        spread = query_bits + key_bits + key_lsb_bits - 3.6 + math.log2(dim) / 2  # log2 of scores of noise
        shift = round(spread + 16 - 12 - rng.choice((-3, -1, 0, 0, 1, 2, 4)))
        wild = rng.random() < 0.1
        limits = (0, 2**16, 2**17, rng.randrange(2**16, 2**18), rng.randrange(2**config.sum_width))
        return {
            "dim": dim,
            "query_bits": query_bits,
            "key_bits": key_bits,
            "key_lsb_bits": key_lsb_bits,
            "value_bits": value_bits,
            "scale": rng.choice((1, 2**16 - 1, rng.randint(1, 2**16 - 1))) if wild else rng.randint(2**14, 2**16 - 1),
            "shift": rng.randint(1, 63) if wild else max(1, min(63, shift)),
            "flat_limit": min(rng.choice((*limits, 2**config.sum_width - 1)), 2**config.sum_width - 1),
        }

    def place(self, job: dict[str, Any], strides: dict[str, int] | None = None, last: int = 0) -> bool:
        """Bases of the planes, and strides if asked for, with room for K/V head ``last``; whether the window has it."""
        rng, base, limit = self.rng, self.model.base, self.model.limit
        for name in PLANES:
            rows = job["group"] * job["num_queries"] if name == "query" else job["num_rows"]
            dim = 2 * job["dim"] if name == "key" and job["pair"] else job["dim"]
            words = plane_words(self.config, rows, dim, job[f"{name}_bits"])
            room = limit - base - words
            if room < 0:
                return False
            first = base + rng.choice((0, room, rng.randint(0, room), rng.randint(0, room)))
            if strides is not None:
                most = (limit - words - first) // last if last else 1 << (self.config.address_width - 1)
                strides[f"{name}_stride"] = rng.choice((0, most, rng.randint(0, most)))
            job[f"{name}_base"] = first
        if not job["key_lsb_bits"]:  # nothing is read there
            job["key_lsb_base"] = rng.randrange(1 << self.config.address_width)
        return True
