"""RESULTS: which results the host wants."""

from __future__ import annotations

from amaranth.hdl import Module
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from fpga.link.command_port import CommandPort, finish
from fpga.spec.protocol import RESULT_STREAM, Error

__all__ = ["ResultsCommand"]


class ResultsCommand(wiring.Component):
    """Keeps the mask of streams whose results are kept; after reset all are.

    Members
    -------
    command : In(CommandPort())
    keep : Out(4)     by stream number
    """

    def __init__(self):
        streams = len(RESULT_STREAM)
        super().__init__({"command": In(CommandPort()), "keep": Out(streams, init=(1 << streams) - 1)})

    def elaborate(self, platform):
        m = Module()
        command = self.command
        m.d.sync += command.done.eq(0)
        with m.FSM():
            with m.State("IDLE"):
                with m.If(command.start):
                    with m.If(command.length != 1):
                        finish(m, command, Error.BAD_LENGTH)
                    with m.Else():
                        m.next = "MASK"
            with m.State("MASK"):
                m.d.comb += command.body.ready.eq(1)
                with m.If(command.body.valid):
                    m.d.sync += self.keep.eq(command.body.payload)
                    finish(m, command)
                    m.next = "IDLE"
        return m
