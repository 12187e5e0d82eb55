"""Completions to interrupts of a queue."""

from __future__ import annotations

from amaranth.hdl import Module, Mux, Signal
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

__all__ = ["Coalescer"]


class Coalescer(wiring.Component):
    """An interrupt after so many completions, or so long after the first of them (register COALESCE of a queue).

    Members
    -------
    published : In(1)    pulse: a completion
    count : In(8)        completions; 0 counts as 1
    cycles : In(24)      since the first of them; 0: no limit
    event : Out(1)       pulse, 1 cycle after its cause
    """

    def __init__(self):
        super().__init__({"published": In(1), "count": In(8), "cycles": In(24), "event": Out(1)})

    def elaborate(self, platform):
        m = Module()
        waiting, age = Signal(8), Signal(24)
        enough, old, due = Signal(), Signal(), Signal()
        m.d.comb += [
            enough.eq(self.published & (waiting + 1 >= self.count)),
            old.eq((waiting != 0) & (self.cycles != 0) & (age + 1 >= self.cycles)),
            due.eq(enough | old),
        ]
        m.d.sync += [
            self.event.eq(due),
            waiting.eq(Mux(due, 0, waiting + self.published)),
            age.eq(Mux(due | (waiting == 0), 0, age + 1)),
        ]
        return m
