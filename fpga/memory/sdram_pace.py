"""Cycles that a controller of an SDRAM keeps between commands."""

from __future__ import annotations

import dataclasses

from fpga.spec.sdram_timing import SdramCycles

__all__ = ["SdramPace"]


@dataclasses.dataclass(frozen=True)
class SdramPace:
    """What follows from the chip's timing for bursts of ``beats``."""

    beats: int
    cas_latency: int
    cycles: SdramCycles

    @property
    def read_recovery(self) -> int:
        """Cycles from READ to PRECHARGE; ACTIVATE came rcd before and comes rp after, so that ras and rc hold, too.

        A WRITE to the bank can have come a burst before: its recovery lasts wr - 1 cycles from here.
        """
        c = self.cycles
        return max(self.beats, c.ras - c.rcd, c.rc - c.rp - c.rcd, c.wr - 1)

    @property
    def write_recovery(self) -> int:
        """Cycles from WRITE to PRECHARGE."""
        return max(self.beats - 1 + self.cycles.wr, self.read_recovery)

    @property
    def turnaround(self) -> int:
        """Cycles from READ to WRITE: the chip has left the data pins for one cycle."""
        return self.beats + self.cas_latency + 1

    @property
    def service(self) -> int:
        """Most cycles from the wish for a refresh to the REFRESH: an access that has just begun goes before."""
        c = self.cycles
        access = 2 + max(self.write_recovery + c.rp + c.rcd, self.turnaround)
        return access + self.write_recovery + c.rp + 4
