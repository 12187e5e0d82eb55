"""Planes in memory, and what the Fetcher shall make of them."""

from __future__ import annotations

import random
from dataclasses import dataclass

from hdl.spec.config import Config


@dataclass
class Plane:
    base: int
    width: int
    dim: int
    rows: list[list[int]]
    signed: bool
    skew: int
    config: Config
    pair: bool = False

    @property
    def fields(self) -> dict:
        return {
            "base": self.base,
            "width": self.width,
            "dim": self.dim,
            "log_slices": self.config.log_slices(self.dim // 2 if self.pair else self.dim),
            "skew": self.skew,
        }

    def channel(self, row: int) -> int:
        return (row + self.skew) % self.config.num_channels

    def words(self, row: int) -> range:
        """Words of a row, in its channel."""
        bits, word = self.dim * self.width, self.config.channel_width
        first = row // self.config.num_channels * bits
        return range(self.base + first // word, self.base + (first + bits - 1) // word + 1)

    def elements(self, row: int, shift: int = 0) -> list[int]:
        """Words on chip: shifted left, cut to operand_width bits, two's complement."""
        size = self.config.operand_width
        values = [(value << shift) & ((1 << size) - 1) for value in self.rows[row]]
        return [value - (1 << size) if value >> (size - 1) else value for value in values]


class Planes:
    """Random planes, one behind the other in all channels."""

    def __init__(self, config: Config, seed: int = 0):
        self.config, self.rng = config, random.Random(seed)
        self.contents: list[list[int]] = [[] for _ in range(config.num_channels)]

    def add(self, num_rows, dim, width, *, is_signed=True, skew=None, pair=False) -> Plane:
        """``pair``: rows of twice ``dim`` elements. The skew is random unless it is given."""
        dim = 2 * dim if pair else dim
        skew = self.rng.randrange(self.config.num_channels) if skew is None else skew
        config, word = self.config, self.config.channel_width
        base = max(len(channel) for channel in self.contents) + self.rng.randrange(2)
        low, high = (-(1 << width >> 1), (1 << width >> 1) - 1) if is_signed else (0, (1 << width) - 1)
        rows = [[self.rng.randint(low, high) for _ in range(dim)] for _ in range(num_rows)]
        for c, channel in enumerate(self.contents):
            channel.extend(0 for _ in range(base - len(channel)))
            packed, position = 0, 0
            for row in rows[(c - skew) % config.num_channels :: config.num_channels]:
                for value in row:
                    packed |= (value & ((1 << width) - 1)) << position
                    position += width
            packed |= self.rng.getrandbits(word) << position  # what lies behind must not matter
            channel.extend(packed >> i & ((1 << word) - 1) for i in range(0, position, word))
        return Plane(base, width, dim, rows, is_signed, skew, config, pair)


def words_read(plane: Plane, rows: list[int], channel: int) -> int:
    """Words of a load of ascending rows in one channel if neighbours share words."""
    count, last = 0, None
    for row in rows:
        if plane.channel(row) == channel:
            words = plane.words(row)
            count += len(words) - (words[0] == last)
            last = words[-1]
    return count
