"""When a manager gives up: silence of the bus, and the first fault."""

from __future__ import annotations

from collections.abc import Sequence

from amaranth.hdl import Module, Signal
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from hdl.axi.axi4 import BusFault, bus_fault

__all__ = ["FaultLatch", "SilenceTimer"]


class SilenceTimer(wiring.Component):
    """Tells a bus that owes something and does nothing between two ticks.

    One counter gives the ticks of all managers; a silence that is told has lasted one to two periods.

    Members
    -------
    tick : In(1)       high for one cycle in each period; never: there is no time-out
    waiting : In(1)    the bus owes something
    progress : In(1)   it does something
    expired : Out(1)   high with the tick that ends a silence, and with every further one
    """

    def __init__(self):
        super().__init__({"tick": In(1), "waiting": In(1), "progress": In(1), "expired": Out(1)})

    def elaborate(self, platform):
        m = Module()
        silent = Signal()  # since the tick before
        m.d.comb += self.expired.eq(self.tick & silent & self.waiting & ~self.progress)
        with m.If(self.progress | ~self.waiting):
            m.d.sync += silent.eq(0)
        with m.Elif(self.tick):
            m.d.sync += silent.eq(1)
        return m


class FaultLatch(wiring.Component):
    """Holds the first fault until it is cleared; of those of one cycle that of the lowest index.

    Members
    -------
    hit : In(1).array(n)          fault ``codes[index]`` is seen
    address : In(address_width).array(n)
    clear : In(1)
    fault : Out(bus_fault)
    failed : Out(1)               there is one; from the cycle after ``hit``
    """

    def __init__(self, address_width: int, *, codes: Sequence[BusFault]):
        self.codes = tuple(codes)
        super().__init__(
            {
                "hit": In(1).array(len(self.codes)),
                "address": In(address_width).array(len(self.codes)),
                "clear": In(1),
                "fault": Out(bus_fault(address_width)),
                "failed": Out(1),
            }
        )

    def elaborate(self, platform):
        m = Module()
        with m.If(self.clear):
            m.d.sync += [self.failed.eq(0), self.fault.eq(0)]
        with m.Elif(~self.failed):
            # The last assignment stands.
            for index in reversed(range(len(self.codes))):
                with m.If(self.hit[index]):
                    m.d.sync += [
                        self.failed.eq(1),
                        self.fault.code.eq(self.codes[index]),
                        self.fault.address.eq(self.address[index]),
                    ]
        return m
