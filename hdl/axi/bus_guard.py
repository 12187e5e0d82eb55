"""When a manager gives up, and how it begins again: faults, silence of the bus, stops, bursts in flight."""

from __future__ import annotations

from collections.abc import Sequence

from amaranth.hdl import Module, Mux, Signal
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from hdl.axi.axi4 import BusFault, bus_fault
from hdl.spec.widths import bits_for_count

__all__ = ["BurstCredit", "BusGuard", "FaultLatch", "SilenceTimer"]


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


class BurstCredit(wiring.Component):
    """Limits the bursts that are asked for and not over.

    Members
    -------
    most : In(n)       1…depth; quasi-static; 0 counts as 1, more than depth as depth
    issued : In(1)     one more; only while ``allow``
    ended : In(1)      one less
    allow : Out(1)     another may be asked for
    none : Out(1)      there are none; from the cycle after ``issued`` on
    """

    def __init__(self, depth: int):
        self.depth = depth
        width = bits_for_count(depth)
        super().__init__({"most": In(width), "issued": In(1), "ended": In(1), "allow": Out(1), "none": Out(1)})

    def elaborate(self, platform):
        m = Module()
        count = Signal(bits_for_count(self.depth))
        m.d.comb += [
            self.none.eq(count == 0),
            self.allow.eq(self.none | ((count < self.most) & (count != self.depth))),
        ]
        with m.If(self.issued != self.ended):
            m.d.sync += count.eq(count + Mux(self.issued, 1, -1))
        return m


class BusGuard(wiring.Component):
    """Faults, time-outs and stops of a manager.

    From a fault or stop on the manager drops what it has, and asks the bus for nothing. A stop lasts until the manager
    is idle, and its end clears the fault. What comes during a stop is no fault.

    Members
    -------
    tick, waiting, progress : In(1)    see :class:`SilenceTimer`
    oldest : In(address_width)         where a time-out is seen
    hit : In(1).array(n)               fault ``codes[index]`` is seen, at
    address : In(address_width).array(n)
    countless : In(1)   nobody knows what the bus owes
    stop : In(1)        high for a cycle or more
    idle : In(1)        the manager has nothing, and the bus owes nothing
    stopped : Out(1)    from the cycle of ``stop`` until it is over
    failed : Out(1)     there is a fault; from the cycle after ``hit``
    drop : Out(1)       one of the two
    fault : Out(bus_fault)
    forget : Out(1)     what cannot be counted was silent for a time-out, and counts as over
    hung : Out(1)       while ``drop``, the bus owes something and was silent for a time-out
    """

    def __init__(self, address_width: int, *, codes: Sequence[BusFault]):
        self.latch = FaultLatch(address_width, codes=(*codes, BusFault.TIMEOUT))
        flags = ("tick", "waiting", "progress", "countless", "stop", "idle")
        super().__init__(
            {
                **dict.fromkeys(flags, In(1)),
                "oldest": In(address_width),
                "hit": In(1).array(len(codes)),
                "address": In(address_width).array(len(codes)),
                **dict.fromkeys(("stopped", "failed", "drop", "forget", "hung"), Out(1)),
                "fault": Out(bus_fault(address_width)),
            }
        )

    def elaborate(self, platform):
        m = Module()
        m.submodules.latch = latch = self.latch
        m.submodules.timer = timer = SilenceTimer()
        stopping = Signal()  # a stop is not over
        m.d.sync += stopping.eq(self.stop | (stopping & ~self.idle))
        hits, places = [*self.hit, timer.expired], [*self.address, self.oldest]
        m.d.comb += [
            *(getattr(timer, name).eq(getattr(self, name)) for name in ("tick", "waiting", "progress")),
            *(mine.eq(hit & ~self.stopped) for mine, hit in zip(latch.hit, hits, strict=True)),
            *(mine.eq(place) for mine, place in zip(latch.address, places, strict=True)),
            latch.clear.eq(stopping & self.idle & ~self.stop),
            self.stopped.eq(self.stop | stopping),
            self.failed.eq(latch.failed),
            self.drop.eq(self.stopped | latch.failed),
            self.fault.eq(latch.fault),
            self.forget.eq(timer.expired & self.drop & self.countless),
        ]
        with m.If(self.progress | ~self.waiting):
            m.d.sync += self.hung.eq(0)
        with m.Elif(timer.expired & self.drop & ~self.countless):
            m.d.sync += self.hung.eq(1)
        return m
