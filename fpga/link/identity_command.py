"""VERSION: what the board is."""

from __future__ import annotations

import dataclasses
import struct

from amaranth.hdl import Module, Signal
from amaranth.lib import wiring
from amaranth.lib.wiring import In

from fpga.link.command_port import CommandPort, finish
from fpga.spec.protocol import MAX_PAYLOAD, VERSION, Error, Identity
from fpga.spec.settings import SystemSettings, config_digest

__all__ = ["IdentityCommand", "identity_bytes"]


def identity_bytes(settings: SystemSettings) -> bytes:
    """The answer to VERSION."""
    identity = Identity(
        protocol=VERSION,
        channels=settings.core.num_channels,
        word_bytes=settings.core.channel_width // 8,
        max_payload=MAX_PAYLOAD,
        window_base=settings.window_base,
        window_words=settings.window_limit - settings.window_base,
        clock_hz=settings.clock_hz,
        digest=config_digest(settings.core),
    )
    return struct.pack(Identity.FORMAT, *dataclasses.astuple(identity))


class IdentityCommand(wiring.Component):
    """Answers VERSION with constants, a byte a cycle.

    Members
    -------
    command : In(CommandPort())
    """

    def __init__(self, settings: SystemSettings):
        self.content = identity_bytes(settings)
        super().__init__({"command": In(CommandPort())})

    def elaborate(self, platform):
        m = Module()
        command, content = self.command, self.content
        place = Signal(range(len(content)))
        m.d.sync += [command.done.eq(0), command.answer.valid.eq(0)]
        with m.Switch(place):
            for index, byte in enumerate(content):
                with m.Case(index):
                    m.d.sync += command.answer.payload.eq(byte)
        with m.FSM():
            with m.State("IDLE"):
                m.d.sync += place.eq(0)
                with m.If(command.start):
                    with m.If(command.length != 0):
                        finish(m, command, Error.BAD_LENGTH)
                    with m.Else():
                        m.next = "SEND"
            with m.State("SEND"):
                m.d.sync += [place.eq(place + 1), command.answer.valid.eq(1)]
                with m.If(place == len(content) - 1):
                    finish(m, command)
                    m.next = "IDLE"
        return m
