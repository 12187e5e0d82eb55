"""When an SDRAM is ready after power-on, and when it is to be refreshed."""

from __future__ import annotations

from amaranth.hdl import Module, Mux, Signal
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

__all__ = ["RefreshTimer"]


class RefreshTimer(wiring.Component):
    """The time since power-on, and since the last REFRESH.

    power_up: cycles until ``powered``. interval: cycles from ``refresh`` to ``due``.

    Members
    -------
    refresh : In(1)     a REFRESH is given
    powered : Out(1)    the chip takes commands
    due : Out(1)        a REFRESH is wanted, until it is given
    """

    def __init__(self, *, power_up: int, interval: int):
        self.power_up, self.interval = power_up, interval
        super().__init__({"refresh": In(1), "powered": Out(1), "due": Out(1)})

    def elaborate(self, platform):
        m = Module()
        waited, passed = Signal(range(self.power_up)), Signal(range(self.interval))
        refreshed = Signal()  # in the cycle before
        m.d.sync += [
            waited.eq(waited + 1),
            refreshed.eq(self.refresh),
            passed.eq(Mux(refreshed, 0, passed + 1)),
        ]
        with m.If(waited == self.power_up - 1):
            m.d.sync += self.powered.eq(1)
        with m.If(passed == self.interval - 1):
            m.d.sync += self.due.eq(1)
        with m.If(self.refresh):
            m.d.sync += self.due.eq(0)
        return m
