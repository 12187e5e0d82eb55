"""Serial line: 8 data bits, no parity, 1 stop bit."""

from __future__ import annotations

from amaranth.hdl import Cat, Module, Mux, Signal
from amaranth.lib import stream, wiring
from amaranth.lib.cdc import FFSynchronizer
from amaranth.lib.wiring import In, Out

__all__ = ["UartReceiver", "UartTransmitter"]


def _check_cycles(cycles_per_bit: int) -> int:
    if not 4 <= cycles_per_bit < 1 << 16:
        raise ValueError(f"cycles_per_bit must be from 4 to {(1 << 16) - 1}, not {cycles_per_bit!r}")
    return cycles_per_bit


class UartReceiver(wiring.Component):
    """Bytes of the line, each given in the middle of its stop bit.

    A start bit that is gone in its middle was noise. A byte whose stop bit is low is dropped, and the line must become
    high before the next one.

    Members
    -------
    rx : In(1)     the line, asynchronous; high when idle
    o : Out(stream.Signature(8, always_ready=True))
    """

    BITS = 10  # start, 8 data, stop

    def __init__(self, cycles_per_bit: int):
        self.cycles_per_bit = _check_cycles(cycles_per_bit)
        super().__init__({"rx": In(1, init=1), "o": Out(stream.Signature(8, always_ready=True))})

    def elaborate(self, platform):
        m = Module()
        line = Signal(init=1)
        m.submodules.sync = FFSynchronizer(self.rx, line, init=1)
        half = self.cycles_per_bit // 2
        timer = Signal(range(self.cycles_per_bit))
        tick = Signal()  # the timer is at 0: the middle of a bit
        left = Signal(range(self.BITS + 1))  # bits that are still to come
        bits = Signal(8, reset_less=True)
        m.d.sync += self.o.valid.eq(0)
        m.d.comb += [tick.eq(timer == 0), self.o.payload.eq(bits)]
        with m.FSM():
            with m.State("IDLE"):
                m.d.sync += [timer.eq(half - 1), left.eq(self.BITS - 1)]
                with m.If(~line):
                    m.next = "BITS"
            with m.State("BITS"):
                m.d.sync += timer.eq(Mux(tick, self.cycles_per_bit - 1, timer - 1))
                with m.If(tick):
                    m.d.sync += left.eq(left - 1)
                    with m.If(left == 0):
                        m.d.sync += self.o.valid.eq(line)
                        m.next = "STOP"
                    with m.Elif(left != self.BITS - 1):
                        m.d.sync += bits.eq(Cat(bits[1:], line))
                    with m.Elif(line):
                        m.next = "IDLE"
            with m.State("STOP"):
                with m.If(line):
                    m.next = "IDLE"
        return m


class UartTransmitter(wiring.Component):
    """Bytes to the line; a byte is taken as soon as the stop bit of the one before it is over.

    Members
    -------
    i : In(stream.Signature(8))
    tx : Out(1)     the line, a flip-flop; high when idle
    busy : Out(1)   a byte is on the line
    """

    BITS = 10

    def __init__(self, cycles_per_bit: int):
        self.cycles_per_bit = _check_cycles(cycles_per_bit)
        super().__init__({"i": In(stream.Signature(8)), "tx": Out(1, init=1), "busy": Out(1)})

    def elaborate(self, platform):
        m = Module()
        timer = Signal(range(self.cycles_per_bit))
        left = Signal(range(self.BITS))
        bits = Signal(8, init=0xFF)
        m.d.comb += self.i.ready.eq(~self.busy)
        with m.If(~self.busy):
            with m.If(self.i.valid):
                m.d.sync += [self.busy.eq(1), self.tx.eq(0), bits.eq(self.i.payload)]
                m.d.sync += [timer.eq(self.cycles_per_bit - 1), left.eq(self.BITS - 1)]
        with m.Elif(timer != 0):
            m.d.sync += timer.eq(timer - 1)
        with m.Else():
            m.d.sync += [timer.eq(self.cycles_per_bit - 1), left.eq(left - 1)]
            m.d.sync += [self.tx.eq(bits[0]), bits.eq(Cat(bits[1:], 1))]
            with m.If(left == 0):
                m.d.sync += self.busy.eq(0)
        return m
