"""Timing of memory channels and host in a run, and the random stalls that all engines share."""

from __future__ import annotations

import dataclasses
import math

from hdl.spec.config import Config
from sim.engine.hbm2_timing import HBM2Timing

__all__ = ["MEMORY_MODES", "MemoryTiming", "mix", "stall_threshold", "willing"]

MEMORY_MODES = ("ideal", "hbm2")

# Streams of random stalls; channel c has request stalls 9 + 2 * c and response stalls 10 + 2 * c.
SALT_JOB, SALT_ID, SALT_STATUS, SALT_OUT, SALT_PROB, SALT_SKEW, SALT_LAYER, SALT_HEAD, SALT_SURVIVOR = range(9)
SALT_CHANNEL = 9

_MASK = (1 << 64) - 1

MOST_CYCLES, MOST_STALL = 1_000_000, 0.999
"""Limits of latencies and of chances: what waits longer cannot be told from hardware that is stuck."""
_LONGEST_GAP = 64
"""Times the mean gap between two cycles without a stall: a gap is longer once in e^64."""


def mix(seed: int, salt: int, cycle: int) -> int:
    """The splitmix64 finalizer: 64 random bits of a cycle, the same in every engine (and in sim/engine/harness.cpp)."""
    z = (seed * 0x9E3779B97F4A7C15 + salt * 0xD1B54A32D192ED03 + cycle * 0x8CB92BA72F3D8DD7) & _MASK
    z = ((z ^ z >> 30) * 0xBF58476D1CE4E5B9) & _MASK
    z = ((z ^ z >> 27) * 0x94D049BB133111EB) & _MASK
    return z ^ z >> 31


def stall_threshold(stall: float) -> int:
    """Stall probability as a 32-bit threshold for :func:`willing`."""
    return round(stall * 2**32)


def willing(seed: int, salt: int, cycle: int, threshold: int) -> bool:
    """Whether a side with stall threshold ``threshold`` takes part in this cycle."""
    return threshold == 0 or mix(seed, salt, cycle) >> 32 >= threshold


@dataclasses.dataclass(frozen=True, kw_only=True)
class MemoryTiming:
    """Memory channels and host of a run (docs/memory.md)."""

    mode: str = "ideal"
    """ideal: ``latency`` … ``queue`` hold, and a word comes each cycle. hbm2: ``hbm2`` holds, and they do not."""
    hbm2: HBM2Timing | None = None
    """None: the table's values, and a queue for as many words as the machine has in flight (:meth:`hbm2_of`)."""
    latency: int = 20
    """Cycles from the request to the first chance of its response, at least 1."""
    stall: float = 0.0
    """Chance that a channel takes no request, and that it starts no response, in a cycle."""
    skew: int = 0
    """Each channel has 0…skew further cycles of latency (by the seed), so that the channels are out of step."""
    queue: int = 0
    """Requests in flight per channel; 0: enough for one a cycle."""
    host_stall: float = 0.0
    """Chance that the host offers no job or id, or takes no result, in a cycle."""
    seed: int = 0

    def __post_init__(self) -> None:
        for name, least in (("latency", 1), ("skew", 0), ("queue", 0), ("seed", 0)):
            if not isinstance(getattr(self, name), int) or getattr(self, name) < least:
                raise ValueError(f"{name} must be an integer of at least {least}, not {getattr(self, name)!r}")
            if name != "seed" and getattr(self, name) > MOST_CYCLES:
                raise ValueError(f"{name} must be at most {MOST_CYCLES}, not {getattr(self, name)}")
        for name in ("stall", "host_stall"):
            if not 0 <= getattr(self, name) < 1:
                raise ValueError(f"{name} must be from 0 to below 1, not {getattr(self, name)!r}")
            if getattr(self, name) > MOST_STALL:
                raise ValueError(f"{name} must be at most {MOST_STALL}, not {getattr(self, name)!r}")
        if self.mode not in MEMORY_MODES:
            raise ValueError(f"mode must be one of {', '.join(MEMORY_MODES)}, not {self.mode!r}")
        idle = ("latency", "stall", "skew", "queue") if self.mode == "hbm2" else ("hbm2",)
        for name in idle:
            if getattr(self, name) != type(self).__dataclass_fields__[name].default:
                raise ValueError(f"{name} must be left as it is with mode {self.mode}, not {getattr(self, name)!r}")

    def hbm2_of(self, config: Config) -> HBM2Timing:
        """The channels of a machine in mode hbm2: a default queue must not be what throttles it."""
        return self.hbm2 or HBM2Timing(queue=config.outstanding)

    @property
    def depth(self) -> int:
        return self.queue or self.latency + self.skew + 16

    @property
    def longest_wait(self) -> int:
        """Cycles in which working hardware may see no transfer, for memory or host let it wait."""
        stalls = _LONGEST_GAP / (1 - max(self.stall, self.host_stall))
        return self.latency + self.skew + math.ceil(stalls)

    def channel_latency(self, channel: int) -> int:
        extra = mix(self.seed, SALT_SKEW, channel) >> 32
        return self.latency + (extra % (self.skew + 1))
