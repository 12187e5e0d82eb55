"""The beat of the time-outs."""

from __future__ import annotations

from amaranth.hdl import Module, Signal
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

__all__ = ["TimeOut"]


class TimeOut(wiring.Component):
    """Gives the managers a tick every so many cycles: what is silent for one to two periods has failed.

    Members
    -------
    cycles : In(32)    of a period; 0: no tick
    tick : Out(1)
    """

    def __init__(self):
        super().__init__({"cycles": In(32), "tick": Out(1)})

    def elaborate(self, platform):
        m = Module()
        age = Signal(32)
        m.d.sync += [self.tick.eq(0), age.eq(age + 1)]
        with m.If(self.cycles == 0):
            m.d.sync += age.eq(0)
        with m.Elif(age + 1 >= self.cycles):
            m.d.sync += [age.eq(0), self.tick.eq(1)]
        return m
