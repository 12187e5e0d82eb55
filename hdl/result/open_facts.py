"""What is kept of the open commands."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from amaranth.hdl import Module, ValueLike
from amaranth.lib import data, stream, wiring
from amaranth.lib.memory import Memory
from amaranth.lib.wiring import In, Out

from hdl.command.open_commands import ENTRY_WIDTH, opened_command

__all__ = ["OpenFacts"]


class OpenFacts(wiring.Component):
    """Some facts of every open command, by its number; combinational, from the cycle after ``opened`` on.

    Members
    -------
    opened : In(stream.Signature(opened_command, always_ready=True))
    entry : In(ENTRY_WIDTH)
    facts : Out(facts)
    """

    def __init__(
        self, facts: data.StructLayout, of: Callable[[Any, Any], dict[str, ValueLike]], *, queues: int, entries: int
    ):
        """``of``: values of the fields of ``facts`` of a command and its plan. ``entries``: most open commands."""
        self.layout, self.of, self.entries = facts, of, entries
        super().__init__(
            {
                "opened": In(stream.Signature(opened_command(queues), always_ready=True)),
                "entry": In(ENTRY_WIDTH),
                "facts": Out(facts),
            }
        )

    def elaborate(self, platform):
        m = Module()
        m.submodules.table = table = Memory(
            shape=self.layout, depth=self.entries, init=[], attrs={"ram_style": "distributed"}
        )
        write, read = table.write_port(), table.read_port(domain="comb")
        fetched = self.opened.payload.fetched
        m.d.comb += [
            write.en.eq(self.opened.valid),
            write.addr.eq(self.opened.payload.entry),
            *(write.data[name].eq(value) for name, value in self.of(fetched.command, fetched.plan).items()),
            read.addr.eq(self.entry),
            self.facts.eq(read.data),
        ]
        return m
