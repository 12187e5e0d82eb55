"""The memory of a campaign: random words, a window in it, and the planes that descriptors find there."""

from __future__ import annotations

import random

import numpy as np
import torch
from torch import Tensor

from hdl.spec.config import Config

__all__ = ["Memory", "plane_words"]

_MOST_WORDS = 8192
"""Of a channel; a machine with a wider address sees no more of its space in a run."""
_SECTIONS = 24


def plane_words(config: Config, rows: int, dim: int, width: int) -> int:
    """Words that a plane takes in every channel (docs/architecture.md, "Memory")."""
    bits = -(-rows // config.num_channels) * dim * width
    return -(-bits // config.channel_width)


def _sections(config: Config, words: int, random_words: np.random.Generator) -> np.ndarray:
    """uint32 (channels, words): sections of noise, of constants, of one word again and again, and of few ones.

    Equal rows give ties, and zeros give rows in which every score is the same.
    """
    each = config.channel_width // 32
    image = random_words.integers(0, 2**32, (config.num_channels, words, each), dtype=np.uint32)
    edges = np.sort(random_words.integers(0, words + 1, _SECTIONS))
    for start, stop in zip(edges[:-1].tolist(), edges[1:].tolist(), strict=True):
        part, kind = image[:, start:stop], random_words.integers(0, 10)
        if kind == 0:
            part[:] = 0
        elif kind == 1:
            part[:] = 0xFFFFFFFF
        elif kind == 2:
            part[:] = random_words.integers(0, 2**32, dtype=np.uint32)
        elif kind == 3:
            part &= random_words.integers(0, 2**32, part.shape, dtype=np.uint32) & part >> 3
    return image.reshape(config.num_channels, -1)


class Memory:
    """Random words, of which the machine may read ``base`` … ``limit`` - 1 in every channel.

    The engine takes it in place of a memory image: nothing is placed, descriptors point anywhere.
    """

    def __init__(self, config: Config, rng: random.Random):
        self.config = config
        self.words = min(_MOST_WORDS, 1 << config.address_width)
        self._image = _sections(config, self.words, np.random.default_rng(rng.getrandbits(64)))
        self.base, self.limit = 0, self.words
        # A row may end with the last word: two more for the element that is read with its neighbour.
        padded = np.pad(self._image, ((0, 0), (0, 2)))
        self._halves = np.ascontiguousarray(padded).view("<u2").astype(np.uint32)

    def open(self, base: int, limit: int) -> Memory:
        """Move the window."""
        self.base, self.limit = base, limit
        return self

    def channels(self) -> np.ndarray:
        """uint32 (channels, words * channel_width / 32)"""
        return self._image

    def rows(self, base: int, count: int, dim: int, width: int, skew: int, *, signed: bool = True) -> Tensor:
        """Rows of a plane as docs/architecture.md ("Memory") has them, int64 (count, dim)."""
        config, row = self.config, np.arange(count)
        channel = (row + skew) % config.num_channels
        first = base * config.channel_width + row // config.num_channels * (dim * width)
        bit = first[:, None] + np.arange(dim) * width
        half, lane = bit >> 4, channel[:, None]
        pair = self._halves[lane, half] | self._halves[lane, half + 1] << 16
        value = (pair >> (bit & 15).astype(np.uint32) & ((1 << width) - 1)).astype(np.int64)
        return torch.from_numpy(value - (value >> (width - 1) << width) if signed else value)
