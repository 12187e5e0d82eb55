"""What a memory alone delivers of a run's words."""

from __future__ import annotations

import dataclasses
import math
import shutil
from collections.abc import Sequence

import numpy as np

from hdl.spec.config import Config
from sim.engine.hbm2 import HBM2Channel, drive
from sim.engine.hbm2_native import NativeChannel, build_library
from sim.engine.timing import MemoryTiming

__all__ = ["WIDE_WINDOW", "deliverable_cycles", "peak_cycles"]

WIDE_WINDOW = 256
"""Requests in flight a channel of a window that hides the opening of most rows."""


def deliverable_cycles(
    addresses: Sequence[np.ndarray], timing: MemoryTiming, config: Config, *, window: int = 0
) -> int:
    """Cycles in which the memory alone gives these words: requests always offered, responses always taken.

    The order within a channel is that of the run, so its row conflicts are in the figure too. addresses: word
    addresses by channel, in order (``RunResult.addresses``). window: least requests in flight of an HBM2 channel;
    0: as many as in the run. The slowest channel counts.
    """
    if timing.stall:
        raise ValueError(f"stall must be 0 for deliverable cycles, not {timing.stall!r}")
    word_bytes, model = config.channel_width // 8, timing.hbm2_of(config)
    model = dataclasses.replace(model, queue=max(model.queue, window))
    library = build_library() if timing.mode == "hbm2" and shutil.which("g++") else None

    def cycles(index: int, words: np.ndarray) -> int:
        if timing.mode == "ideal":
            return _ideal_cycles(len(words), timing.channel_latency(index), timing.depth)
        if library is not None:
            return NativeChannel(model, index, word_bytes, library).drive(words)
        _, given = drive(HBM2Channel(model, index, word_bytes), words.tolist())
        return given[-1] + 1 if given else 0

    return max((cycles(index, words) for index, words in enumerate(addresses)), default=0)


def peak_cycles(addresses: Sequence[np.ndarray], timing: MemoryTiming, config: Config) -> int:
    """Cycles of the fullest channel's words at the peak rate, for HBM2 less the refresh: no order can be faster.

    Rows are open whenever they are needed and the window is endless. Neighbours of one burst are one access.
    """
    if timing.mode == "ideal":
        return max((len(words) for words in addresses), default=0)
    word_bytes, model = config.channel_width // 8, timing.hbm2_of(config)
    accesses = max((len(model.bursts(words, word_bytes)) for words in addresses), default=0)
    refreshed = 1 - (model.tRP + model.tRFC) / model.tREFI
    return math.ceil(accesses * model.tBL / (model.pseudo_channels * refreshed))


def _ideal_cycles(count: int, latency: int, depth: int) -> int:
    """Cycles of ``count`` words; a place in the queue is free the cycle after the response."""
    if not count:
        return 0
    last = count - 1
    return last + last // depth * max(0, latency + 1 - depth) + latency + 1
