"""The memory channels: what rows of a plane ask of them, and when they give it."""

from __future__ import annotations

import dataclasses
from collections import deque

import numpy as np

from hdl.spec.config import Config
from sim.model.shape import Shape

__all__ = ["Channels", "Demand", "Planes"]


@dataclasses.dataclass(frozen=True)
class Demand:
    """What rows of a plane ask of the memory."""

    words: float
    """that any row touches; rows that are neighbours in a channel share one"""
    cycles: np.ndarray
    """of each channel: a slice a cycle, and ``period`` cycles a word"""


class Planes:
    """Rows of packed planes in the channels."""

    def __init__(self, config: Config, period: float = 1.0):
        self.config, self.period = config, period
        channels = np.arange(config.num_channels)
        self._turns = (channels - channels[:, None]) % config.num_channels
        self._cache: dict[tuple, tuple[Demand, object]] = {}

    def of_keys(self, shape: Shape, bits: int, slices: int) -> Demand:
        """All rows that the job attends."""
        key = (id(shape.ids), shape.keys, shape.skew, bits, slices)
        if key not in self._cache:  # with the array, so that its identity is not given to another one
            ids = np.arange(shape.keys) if shape.ids is None else shape.ids
            self._cache[key] = self.of_rows(ids, shape.skew, bits, slices), shape.ids
        return self._cache[key][0]

    def of_rows(self, rows: np.ndarray, skew: int, bits: int, slices: int) -> Demand:
        """Rows of so many bits and slices."""
        config = self.config
        place, channel = np.divmod(rows, config.num_channels)
        first, last = place * bits // config.channel_width, ((place + 1) * bits - 1) // config.channel_width
        touched = np.zeros((config.num_channels, int(last.max()) + 1), dtype=bool)
        for further in range(-(-bits // config.channel_width) + 1):
            touched[channel, np.minimum(first + further, last)] = True
        words = touched.sum(axis=1)
        cycles = np.maximum(words * self.period, np.bincount(channel, minlength=config.num_channels) * slices)
        return Demand(float(words.sum()), cycles[self._turns[skew]].astype(float))

    def of_queries(self, shape: Shape) -> Demand:
        """All Q rows of a job, which never share a word."""
        config, bits = self.config, shape.dim * shape.query_bits
        place, channel = np.divmod(np.arange(shape.rows), config.num_channels)
        words = ((place + 1) * bits - 1) // config.channel_width - place * bits // config.channel_width + 1
        cycles = np.bincount(channel, weights=words, minlength=config.num_channels) * self.period
        return Demand(float(words.sum()), cycles[self._turns[shape.skew]])


@dataclasses.dataclass
class _Urgent:
    """Cycles of words that go before bulk loads from ``time`` on, as far as no bulk load was delayed by them yet."""

    time: float
    cycles: np.ndarray


class Channels:
    """Channels, in which gathered V, LSBs and Q go before loads of K and V."""

    def __init__(self, config: Config):
        self.free = np.zeros(config.num_channels)
        """end of the last bulk load"""
        self.urgent_free = np.zeros(config.num_channels)
        self.urgent: deque[_Urgent] = deque()

    def load(self, start: float, cycles: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """First and last request of a bulk load in each channel."""
        begin = np.maximum(self.free, start)
        end = begin + cycles
        rest = deque()
        for item in self.urgent:
            if item.time >= end.max():
                rest.append(item)
                continue
            touched = (item.time < end) & (item.cycles > 0)
            late = np.where(item.time < begin, np.maximum(0, item.time + item.cycles - begin), item.cycles)
            end = end + np.where(touched, late, 0)
            item.cycles = np.where(touched, 0, item.cycles)
            if item.cycles.any():
                rest.append(item)
        self.urgent = rest
        self.free = np.where(cycles > 0, end, self.free)
        return begin, end

    def fetch(self, start: float, cycles: np.ndarray) -> float:
        """Last request of rows that go first."""
        end = np.maximum(self.urgent_free, start) + cycles
        self.urgent_free = np.where(cycles > 0, end, self.urgent_free)
        self.urgent.append(_Urgent(start, cycles))
        return float(np.max(np.where(cycles > 0, end, start)))
