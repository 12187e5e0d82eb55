"""Counts that are waited for."""

from __future__ import annotations

from amaranth.hdl import Module, Signal, Value
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

__all__ = ["Fence", "reached"]


def reached(count: Value, ticket: Value) -> Value:
    """Whether a count, which goes on around 0, has reached a number; they are at most half its range apart."""
    return ~(count - ticket)[len(ticket) - 1]


class Fence(wiring.Component):
    """Whether all that had entered a way at ``snap`` has left it, in the order in which it entered.

    ``gone`` stays until the next ``snap``, however much leaves meanwhile.

    Members
    -------
    enters, leaves : In(1)    pulses; what enters in the cycle of ``snap`` counts
    snap : In(1)
    gone : Out(1)             from the cycle after ``snap`` on
    """

    def __init__(self, width: int = 8):
        """``width``: bits of the counts; at most 2**(width - 1) - 1 may be on the way."""
        self.width = width
        super().__init__({**dict.fromkeys(("enters", "leaves", "snap"), In(1)), "gone": Out(1)})

    def elaborate(self, platform):
        m = Module()
        entered, ticket, left = (Signal(self.width, name=name) for name in ("entered", "ticket", "left"))
        m.d.sync += [entered.eq(entered + self.enters), left.eq(left + self.leaves)]
        with m.If(self.snap):
            m.d.sync += ticket.eq(entered + self.enters)
        past = Signal()  # the count of what left goes on, and would be in front of the ticket again
        m.d.sync += past.eq(self.gone & ~self.snap)
        m.d.comb += self.gone.eq(past | reached(left, ticket))
        return m
