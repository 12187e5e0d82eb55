"""RESET: the core and what waits around it as after power-on."""

from __future__ import annotations

from amaranth.hdl import Module, Signal
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from fpga.link.command_port import LENGTH_BITS, CommandPort, finish

__all__ = ["ResetCommand"]


class ResetCommand(wiring.Component):
    """Holds the core in reset until the memory has forgotten it, then answers with the payload of the request.

    Members
    -------
    command : In(CommandPort())
    core_reset : Out(1)      for CYCLES cycles, and until ``memory_idle``
    memory_idle : In(1)      no request of the core is in flight
    """

    CYCLES = 8

    def __init__(self):
        super().__init__({"command": In(CommandPort()), "core_reset": Out(1), "memory_idle": In(1)})

    def elaborate(self, platform):
        m = Module()
        command = self.command
        timer, left = Signal(range(self.CYCLES)), Signal(LENGTH_BITS)
        m.d.sync += [command.done.eq(0), command.answer.valid.eq(0), command.answer.payload.eq(command.body.payload)]
        with m.FSM():
            with m.State("IDLE"):
                m.d.sync += timer.eq(self.CYCLES - 1)
                with m.If(command.start):
                    m.d.sync += [self.core_reset.eq(1), left.eq(command.length)]
                    m.next = "RESET"
            with m.State("RESET"):
                with m.If(timer != 0):
                    m.d.sync += timer.eq(timer - 1)
                with m.Elif(self.memory_idle):
                    m.d.sync += self.core_reset.eq(0)
                    m.next = "ECHO"
            with m.State("ECHO"):
                with m.If(left == 0):
                    finish(m, command)
                    m.next = "IDLE"
                with m.Else():
                    m.d.comb += command.body.ready.eq(1)
                    m.d.sync += [command.answer.valid.eq(command.body.valid), left.eq(left - command.body.valid)]
        return m
