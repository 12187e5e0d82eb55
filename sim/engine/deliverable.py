"""What a memory alone delivers of a run's words."""

from __future__ import annotations

import shutil
from collections.abc import Sequence

import numpy as np

from hdl.spec.config import Config
from sim.engine.hbm2 import HBM2Channel, drive
from sim.engine.hbm2_native import NativeChannel, build_library
from sim.engine.timing import MemoryTiming

__all__ = ["deliverable_cycles"]


def deliverable_cycles(addresses: Sequence[np.ndarray], timing: MemoryTiming, config: Config) -> int:
    """Cycles in which the memory alone gives these words: requests always offered, responses always taken.

    addresses: word addresses by channel, in order (``RunResult.addresses``). The slowest channel counts.
    """
    if timing.stall:
        raise ValueError(f"stall must be 0 for deliverable cycles, not {timing.stall!r}")
    word_bytes, model = config.channel_width // 8, timing.hbm2
    library = build_library() if timing.mode == "hbm2" and shutil.which("g++") else None

    def cycles(index: int, words: np.ndarray) -> int:
        if timing.mode == "ideal":
            return _ideal_cycles(len(words), timing.channel_latency(index), timing.depth)
        if library is not None:
            return NativeChannel(model, index, word_bytes, library).drive(words)
        _, given = drive(HBM2Channel(model, index, word_bytes), words.tolist())
        return given[-1] + 1 if given else 0

    return max((cycles(index, words) for index, words in enumerate(addresses)), default=0)


def _ideal_cycles(count: int, latency: int, depth: int) -> int:
    """Cycles of ``count`` words; a place in the queue is free the cycle after the response."""
    if not count:
        return 0
    last = count - 1
    return last + last // depth * max(0, latency + 1 - depth) + latency + 1
