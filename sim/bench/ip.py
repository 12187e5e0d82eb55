"""Bench ``ip``: what a user of the core as an IP gets."""

from __future__ import annotations

from collections.abc import Iterator

from hdl.spec.config import PRESETS
from hdl.verilog import to_verilog
from sim.bench.record import Record

__all__ = ["bench_ip"]

GOALS_MB = {"tiny": 2.0, "paper": 10.0}
"""Preset -> most that its Verilog may take."""


def bench_ip() -> Iterator[Record]:
    """All figures of the bench."""
    yield from _bench_verilog()


def _bench_verilog() -> Iterator[Record]:
    """Size of the Verilog, all modules and the header of the text included; 1 MB is 10^6 bytes."""
    for preset, goal in GOALS_MB.items():
        yield Record(
            name=f"verilog.{preset}_mb",
            value=len(to_verilog(PRESETS[preset]).encode()) / 1e6,
            unit="MB",
            better="lower",
            goal=goal,
            preset=preset,
            memory="none",
            command="spatten bench ip",
        )
