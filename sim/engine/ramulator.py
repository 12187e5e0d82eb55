"""Export of a run's reads as a trace for Ramulator 2."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from hdl.spec.config import Config
from sim.engine.hbm2_timing import HBM2Timing

__all__ = ["export_ramulator"]


def export_ramulator(addresses: Sequence[np.ndarray], path: Path, config: Config) -> None:
    """Write the bursts that were read as a trace for the ``LoadStoreTrace`` frontend of Ramulator 2.

    A line is ``LD 0x…``, the byte address of a burst of 32 bytes, the channel in the bits above the byte: with
    ``CacheLineInterleave`` Ramulator sends it to the same channel. Above it the burst's number is rearranged, so that
    Ramulator's ``RoBaRaCoCh`` finds the bank, row and column that :meth:`HBM2Timing.place` has for it. Neighbouring
    words of a burst are one line. The channels take turns, each in its own order.
    """
    device = HBM2Timing()
    device.check_word(config.channel_width)
    path.parent.mkdir(parents=True, exist_ok=True)
    turns, channels, lines = [], [], []
    for channel, words in enumerate(addresses):
        bursts = device.bursts(words, config.channel_width // 8)
        turns.append(np.arange(len(bursts)))
        channels.append(np.full(len(bursts), channel))
        lines.append((_rearranged(bursts, device) * config.num_channels + channel) * device.burst_bytes)
    if not lines:
        path.write_text("")
        return
    order = np.lexsort((np.concatenate(channels), np.concatenate(turns)))
    with path.open("w") as file:
        file.writelines(f"LD {address:#x}\n" for address in np.concatenate(lines)[order].tolist())


def _rearranged(bursts: np.ndarray, device: HBM2Timing) -> np.ndarray:
    """From row, bank, column, bank group, pseudo channel (high to low) to row, bank, bank group, pseudo channel,
    column."""
    pseudo, rest = bursts % device.pseudo_channels, bursts // device.pseudo_channels
    group, rest = rest % device.bank_groups, rest // device.bank_groups
    columns = device.page_bytes // device.burst_bytes
    column, rest = rest % columns, rest // columns
    return ((rest * device.bank_groups + group) * device.pseudo_channels + pseudo) * columns + column
