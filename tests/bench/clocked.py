"""A block without registers, in a design that has a clock: test benches tick."""

from __future__ import annotations

from typing import Any

from amaranth.hdl import Elaboratable, Module, Signal

__all__ = ["Clocked"]


class Clocked(Elaboratable):
    """Has the ports of ``block``."""

    def __init__(self, block: Any):
        self.block = block

    def __getattr__(self, name: str) -> Any:
        return getattr(self.block, name)

    def elaborate(self, platform):
        m = Module()
        m.submodules.block = self.block
        phase = Signal()
        m.d.sync += phase.eq(~phase)
        return m
