"""Timing of the SDRAM: the data sheet's nanoseconds, and clock cycles made of them."""

from __future__ import annotations

import dataclasses

__all__ = ["SdramCycles", "SdramTiming", "clock_phase"]

_SHORTEST_NS = {2: 10, 3: 7}
"""Shortest clock period for a CAS latency."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class SdramCycles:
    """:class:`SdramTiming` in cycles of one clock."""

    rcd: int
    rp: int
    ras: int
    rc: int
    rfc: int
    rrd: int
    wr: int
    mrd: int
    power_up: int
    refresh: int
    """Most cycles from one REFRESH to the next."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class SdramTiming:
    """Least times in ns that satisfy both the IS42S16160G-7 and the W9825G6KH-6; sources are in docs/sdram.md."""

    cas_latency: int = 3
    round_trip: int = 2
    """Cycles by which data comes later than from a chip without any delay: the registers at the pins, in and out."""
    rcd_ns: float = 18
    """ACTIVATE to READ or WRITE."""
    rp_ns: float = 18
    """PRECHARGE to ACTIVATE or REFRESH."""
    ras_ns: float = 42
    """ACTIVATE to PRECHARGE."""
    rc_ns: float = 60
    """ACTIVATE to ACTIVATE (same bank) or REFRESH."""
    rfc_ns: float = 70
    """REFRESH to any command."""
    rrd_ns: float = 14
    """ACTIVATE to ACTIVATE of another bank; at least 2 cycles."""
    wr_ns: float = 14
    """Last word written to PRECHARGE; at least 2 cycles."""
    mrd_ns: float = 14
    """Mode register to any command; at least 2 cycles."""
    power_up_us: float = 200
    """Clock and power to the first command."""
    refresh_ns: float = 64e6 / 8192
    """From one REFRESH to the next at most: 64 ms for all rows."""
    init_refreshes: int = 8
    """Refreshes before the mode register is set."""

    def __post_init__(self) -> None:
        if self.cas_latency not in _SHORTEST_NS:
            raise ValueError(f"cas_latency must be 2 or 3, not {self.cas_latency!r}")
        if not 0 <= self.round_trip <= 8:
            raise ValueError(f"round_trip must be from 0 to 8, not {self.round_trip!r}")
        if self.init_refreshes < 1:
            raise ValueError(f"init_refreshes must be at least 1, not {self.init_refreshes!r}")
        for field in dataclasses.fields(self):
            value = getattr(self, field.name)
            if field.type == "float" and not value > 0:
                raise ValueError(f"{field.name} must be positive, not {value!r}")

    def cycles(self, clock_hz: int) -> SdramCycles:
        """Whole cycles: least times are rounded up, the refresh interval is rounded down."""
        fastest = 10**9 // _SHORTEST_NS[self.cas_latency]
        if not 0 < clock_hz <= fastest:
            raise ValueError(
                f"clock_hz must be from 1 to {fastest} for an SDRAM with CAS latency {self.cas_latency}, "
                f"not {clock_hz!r}"
            )

        def least(ns: float, cycles: int = 1) -> int:
            return max(cycles, -(-round(ns * 1000) * clock_hz // 10**12))

        return SdramCycles(
            rcd=least(self.rcd_ns),
            rp=least(self.rp_ns),
            ras=least(self.ras_ns),
            rc=least(self.rc_ns),
            rfc=least(self.rfc_ns),
            rrd=least(self.rrd_ns, 2),
            wr=least(self.wr_ns, 2),
            mrd=least(self.mrd_ns, 2),
            power_up=least(self.power_up_us * 1000),
            refresh=round(self.refresh_ns * 1000) * clock_hz // 10**12,
        )


def clock_phase(clock_hz: int) -> float:
    """Degrees by which the chip's clock lags behind the controller's: it comes 3 ns before the next edge.

    That is the middle between the hold time of the chip's inputs and that of the board's; see docs/sdram.md.
    """
    return 360 * (1 - 3e-9 * clock_hz) % 360
