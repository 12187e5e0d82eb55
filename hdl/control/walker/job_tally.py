"""Counts the jobs of a layer in flight, and keeps the first refusal."""

from __future__ import annotations

from amaranth.hdl import Module, Signal
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from hdl.spec.config import Config
from hdl.spec.widths import bits_for_count

__all__ = ["JobTally"]


class JobTally(wiring.Component):
    """Jobs of a layer that are neither done nor refused, and whether a refusal is its first. Latency 1.

    Members
    -------
    clear : In(1)                 a new layer: none was refused
    sent : In(1)                  pulse: a job goes to the checker
    done : In(1)                  pulse: a job is complete
    refused : In(1)               pulse: a job is refused
    none : Out(1)                 no job is in flight
    first : Out(1)                with ``refused``: none of the layer was before
    """

    def __init__(self, config: Config):
        self.config = config
        super().__init__(
            {"clear": In(1), "sent": In(1), "done": In(1), "refused": In(1), "none": Out(1), "first": Out(1)}
        )

    def elaborate(self, platform):
        m = Module()
        pending = Signal(bits_for_count(self.config.max_heads))
        before = Signal()
        m.d.sync += [
            pending.eq(pending + self.sent - self.done - self.refused),
            before.eq((before & ~self.clear) | self.refused),
        ]
        m.d.comb += [self.none.eq(pending == 0), self.first.eq(self.refused & ~before)]
        return m
