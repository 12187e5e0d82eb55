"""The table of parameters of one HBM2 channel and its controller (docs/memory.md)."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np

__all__ = ["HBM2Timing"]

_RAMULATOR = "Ramulator 2.1, python/ramulator/dram/hbm2.py, HBM2_2000Mbps"
_ORGANIZATION = "Ramulator 2.1, HBM2_2Gb: JESD235, 4 Gb a channel"
_DRAMSIM = "DRAMsim3, configs/HBM2_8Gb_x128.ini"
_GEM5 = "gem5, src/mem/MemCtrl.py"
_OURS = "choice of this project"


def _parameter(value: int, meaning: str, source: str) -> Any:
    return dataclasses.field(default=value, metadata={"meaning": meaning, "source": source})


@dataclasses.dataclass(frozen=True, kw_only=True)
class HBM2Timing:
    """Parameters of a channel, in clock cycles of 1 ns if not said otherwise; the one table of them.

    The order of the fields is the order of ``Timing`` in sim/engine/hbm2.hpp. Meaning and source stand in the metadata.
    """

    pseudo_channels: int = _parameter(2, "pseudo channels of 64 bits", _ORGANIZATION)
    bank_groups: int = _parameter(4, "bank groups of a pseudo channel", _ORGANIZATION)
    banks: int = _parameter(4, "banks of a bank group", _ORGANIZATION)
    page_bytes: int = _parameter(1024, "bytes of an open row", _ORGANIZATION)
    burst_bytes: int = _parameter(32, "bytes of a burst: 64 bits, burst length 4", _ORGANIZATION)
    group_interleave: int = _parameter(1, "bursts of a bank group before the address goes to the next one", _OURS)
    tBL: int = _parameter(2, "data bus, a burst", _RAMULATOR)
    tCL: int = _parameter(14, "RD to first data", _RAMULATOR)
    tCWL: int = _parameter(5, "WR to first data", _RAMULATOR)
    tRCDRD: int = _parameter(14, "ACT to RD", _RAMULATOR)
    tRCDWR: int = _parameter(12, "ACT to WR", _RAMULATOR)
    tRP: int = _parameter(14, "PRE to ACT", _RAMULATOR)
    tRAS: int = _parameter(34, "ACT to PRE", _RAMULATOR)
    tRC: int = _parameter(48, "ACT to ACT of a bank", f"{_RAMULATOR}: tRAS + tRP")
    tRTP: int = _parameter(5, "RD to PRE", _RAMULATOR)
    tWR: int = _parameter(16, "end of written data to PRE", _RAMULATOR)
    tCCDS: int = _parameter(2, "RD to RD, WR to WR, other bank group", _RAMULATOR)
    tCCDL: int = _parameter(4, "RD to RD, WR to WR, same bank group", _RAMULATOR)
    tRRDS: int = _parameter(4, "ACT to ACT, other bank group", _RAMULATOR)
    tRRDL: int = _parameter(4, "ACT to ACT, same bank group", _RAMULATOR)
    tFAW: int = _parameter(15, "ACT to the fourth ACT after it", _RAMULATOR)
    tWTRS: int = _parameter(6, "end of written data to RD, other bank group", _RAMULATOR)
    tWTRL: int = _parameter(8, "end of written data to RD, same bank group", _RAMULATOR)
    tRTW: int = _parameter(15, "RD to WR", f"{_OURS}: tCL + tBL - tCWL + 4 cycles for the turn of the data bus")
    tRFC: int = _parameter(260, "REFab to ACT", _DRAMSIM)
    tREFI: int = _parameter(3900, "REFab to REFab", _DRAMSIM)
    act_cycles: int = _parameter(2, "row command bus, an ACT; it counts from its last cycle", _RAMULATOR)
    queue: int = _parameter(
        64, "requests taken and not yet answered", f"{_OURS}; an engine takes the machine's `outstanding`"
    )
    frontend: int = _parameter(10, "controller, request to first command", f"{_GEM5}: static_frontend_latency")
    backend: int = _parameter(10, "controller, end of data to response", f"{_GEM5}: static_backend_latency")
    refresh_stagger: int = _parameter(0, "refresh of a channel to that of the channel below", f"{_OURS}: all at once")

    def __post_init__(self) -> None:
        for field in dataclasses.fields(self):
            value, least = getattr(self, field.name), int(field.name not in ("backend", "refresh_stagger"))
            if not isinstance(value, int) or isinstance(value, bool) or not least <= value < 1 << 31:
                raise ValueError(f"{field.name} must be an integer of at least {least}, not {value!r}")
        total = self.pseudo_channels * self.pseudo_banks
        if total > 64:
            raise ValueError(f"banks must be at most 64 in a channel, not {total}")
        if self.page_bytes % (self.burst_bytes * self.group_interleave):
            raise ValueError(
                f"page_bytes must be a multiple of burst_bytes * group_interleave "
                f"({self.burst_bytes * self.group_interleave}), not {self.page_bytes!r}"
            )
        if self.tREFI <= self.tRFC:
            raise ValueError(f"tREFI must be above tRFC ({self.tRFC}), not {self.tREFI!r}")

    def values(self) -> np.ndarray:
        """All parameters in the order of the table, uint32."""
        return np.array(dataclasses.astuple(self), dtype="<u4")

    def check_word(self, width: int) -> None:
        """A word of ``width`` bits must be no more than a burst."""
        if width > 8 * self.burst_bytes:
            raise ValueError(f"channel_width must be at most {8 * self.burst_bytes} (a burst) for hbm2, not {width}")

    def bursts(self, words: np.ndarray, word_bytes: int) -> np.ndarray:
        """Numbers of the bursts that words read, in order, int64; neighbouring words of a burst read it once."""
        numbers = np.asarray(words, dtype=np.int64) * word_bytes // self.burst_bytes
        return numbers[np.diff(numbers, prepend=-1) != 0]

    def first_refresh(self, channel: int) -> int:
        """Cycle in which the channel's first refresh is due, 1…tREFI."""
        return self.tREFI - channel * self.refresh_stagger % self.tREFI

    @property
    def pseudo_banks(self) -> int:
        """Banks of a pseudo channel."""
        return self.bank_groups * self.banks

    def place(self, burst: int) -> tuple[int, int]:
        """(bank, row) of a burst; banks are numbered by pseudo channel, bank group, bank."""
        rest, pseudo = divmod(burst, self.pseudo_channels)
        rest, group = divmod(rest // self.group_interleave, self.bank_groups)
        rest //= self.page_bytes // (self.burst_bytes * self.group_interleave)
        row, bank = divmod(rest, self.banks)
        return (pseudo * self.bank_groups + group) * self.banks + bank, row
