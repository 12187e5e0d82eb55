"""Completions to interrupts of a queue."""

from __future__ import annotations

from amaranth.hdl import Module, Mux, Signal
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

__all__ = ["Coalescer"]


class Coalescer(wiring.Component):
    """An interrupt after so many completions, or so long after the first of them (register COALESCE of a queue).

    One that is ``urgent`` ends the waiting of those before it, too.

    Members
    -------
    enable : In(1)       without it completions are forgotten
    published : In(1)    pulse: a completion
    urgent : In(1)       with it: the interrupt comes now
    count : In(8)        completions; 0 counts as 1
    cycles : In(24)      since the first of them; 0: no limit
    event : Out(1)       pulse, 1 cycle after its cause
    """

    def __init__(self):
        flags = dict.fromkeys(("enable", "published", "urgent"), In(1))
        super().__init__({**flags, "count": In(8), "cycles": In(24), "event": Out(1)})

    def elaborate(self, platform):
        m = Module()
        waiting, age = Signal(8), Signal(24)
        enough, old, due = Signal(), Signal(), Signal()
        m.d.comb += [
            enough.eq(self.published & (self.urgent | (waiting + 1 >= self.count))),
            old.eq((waiting != 0) & (self.cycles != 0) & (age + 1 >= self.cycles)),
            due.eq(enough | old),
        ]
        m.d.sync += [
            self.event.eq(due & self.enable),
            waiting.eq(Mux(due | ~self.enable, 0, waiting + self.published)),
            age.eq(Mux(due | (waiting == 0), 0, age + 1)),
        ]
        return m
