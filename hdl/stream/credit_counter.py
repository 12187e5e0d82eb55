"""Places of a queue that items on their way may count on."""

from __future__ import annotations

from amaranth.hdl import Module, Mux, Signal
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

__all__ = ["CreditCounter"]


class CreditCounter(wiring.Component):
    """Says whether a place is free for one more item, before a pipeline that cannot stall.

    ``some`` is a flip-flop; it knows in the next cycle of places that are taken or given back.

    Members
    -------
    take : In(1)    a place is taken; only while ``some``
    give : In(1)    one is free again
    some : Out(1)   at least one is free
    """

    def __init__(self, places: int):
        if not isinstance(places, int) or places < 1:
            raise ValueError(f"places must be a positive integer, not {places!r}")
        self.places = places
        super().__init__({"take": In(1), "give": In(1), "some": Out(1, init=1)})

    def elaborate(self, platform):
        m = Module()
        free = Signal(range(self.places + 1), init=self.places)
        m.d.sync += self.some.eq(self.give | (self.some & ~(self.take & (free == 1))))
        with m.If(self.take ^ self.give):
            m.d.sync += free.eq(free + Mux(self.give, 1, -1))
        return m
