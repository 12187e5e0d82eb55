"""Export of a run's reads as a trace for Ramulator 2."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from hdl.spec.config import Config
from sim.engine.hbm2_timing import HBM2

__all__ = ["export_ramulator"]


def export_ramulator(addresses: Sequence[np.ndarray], path: Path, config: Config) -> None:
    """Write the bursts that were read as a trace for the ``LoadStoreTrace`` frontend of Ramulator 2.

    A line is ``LD 0x…``, the byte address of a burst of 32 bytes, the channel in the bits above the byte: with
    ``CacheLineInterleave`` Ramulator sends it to the same channel. Neighbouring words of a burst are one line. The
    channels take turns, each in its own order.
    """
    burst_bytes, word_bytes = HBM2.burst_bytes, config.channel_width // 8
    HBM2.check_word(config.channel_width)
    path.parent.mkdir(parents=True, exist_ok=True)
    turns, channels, lines = [], [], []
    for channel, words in enumerate(addresses):
        bursts = np.asarray(words, dtype=np.int64) * word_bytes // burst_bytes
        bursts = bursts[np.diff(bursts, prepend=-1) != 0]
        turns.append(np.arange(len(bursts)))
        channels.append(np.full(len(bursts), channel))
        lines.append((bursts * config.num_channels + channel) * burst_bytes)
    if not lines:
        path.write_text("")
        return
    order = np.lexsort((np.concatenate(channels), np.concatenate(turns)))
    with path.open("w") as file:
        file.writelines(f"LD {address:#x}\n" for address in np.concatenate(lines)[order].tolist())
