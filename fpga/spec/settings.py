"""What a board's design is built from."""

from __future__ import annotations

import dataclasses

from hdl.spec.config import Config
from hdl.spec.digest import config_digest

__all__ = ["MEMORIES", "SystemSettings", "config_digest"]

MEMORIES = ("block", "sdram")


@dataclasses.dataclass(frozen=True, kw_only=True)
class SystemSettings:
    """Core, clock, link and memory of a design.

    memory: "block" (block RAM) or "sdram". The host, and the core's jobs, may use words ``window_base`` …
    ``window_base + window_words - 1`` of every channel, the rest of the memory is out of their reach.
    """

    core: Config
    clock_hz: int
    baud: int = 1_000_000
    """8 data bits, no parity, 1 stop bit; at most a fourth of the clock."""
    memory: str = "block"
    memory_words: int
    """Words of each channel, a power of two."""
    window_base: int = 0
    window_words: int | None = None
    """None: all above the base."""

    def __post_init__(self) -> None:
        if self.memory not in MEMORIES:
            raise ValueError(f"memory must be one of {', '.join(MEMORIES)}, not {self.memory!r}")
        if self.memory_words < 2 or self.memory_words & (self.memory_words - 1):
            raise ValueError(f"memory_words must be a power of two, at least 2, not {self.memory_words!r}")
        if self.memory_words > 1 << self.core.address_width:
            raise ValueError(
                f"memory_words must be at most {1 << self.core.address_width} "
                f"(address_width {self.core.address_width}), not {self.memory_words!r}"
            )
        if not 4 <= self.cycles_per_bit < 1 << 16:
            raise ValueError(
                f"baud must be from {-(-self.clock_hz // ((1 << 16) - 1))} to {self.clock_hz // 4}, not {self.baud!r}"
            )
        if not 0 <= self.window_base < self.memory_words:
            raise ValueError(f"window_base must be from 0 to {self.memory_words - 1}, not {self.window_base!r}")
        if self.window_words is not None and not 1 <= self.window_words <= self.memory_words - self.window_base:
            raise ValueError(
                f"window_words must be from 1 to {self.memory_words - self.window_base}, not {self.window_words!r}"
            )
        if self.memory == "sdram" and self.core.num_channels != 1:
            raise ValueError(
                f"memory must be block for a core of {self.core.num_channels} channels: an SDRAM is one channel"
            )

    @property
    def cycles_per_bit(self) -> int:
        """Clock cycles of a bit on the serial line."""
        return round(self.clock_hz / self.baud) if self.baud > 0 else 0

    @property
    def window_limit(self) -> int:
        """First word after the window."""
        size = self.memory_words - self.window_base if self.window_words is None else self.window_words
        return self.window_base + size
