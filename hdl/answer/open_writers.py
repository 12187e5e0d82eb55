"""Open commands that write their tables."""

from __future__ import annotations

from amaranth.hdl import Cat, Module, Signal
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

from hdl.command.open_commands import ENTRY_WIDTH

__all__ = ["WRITERS", "OpenWriters", "written_tables"]

WRITERS = 4
"""Commands that write their tables and can be open at a time."""


def written_tables() -> data.StructLayout:
    """Addresses of the tables of a command."""
    return data.StructLayout({"state": 64, "heads": 64})


class OpenWriters(wiring.Component):
    """The tables that open commands write; all answers are combinational.

    Members
    -------
    opened : In(1)             a command that writes its tables begins; not while ``full``
    entry : In(ENTRY_WIDTH), written : In(written_tables)    of it
    release : In(stream.Signature(ENTRY_WIDTH, always_ready=True))
    tables : In(written_tables), busy : Out(1)    an open command writes one of them
    prefetch : In(64), prefetch_busy : Out(1)     an open command writes the table of heads at this address
    full : Out(1)              ``WRITERS`` are open
    """

    def __init__(self):
        super().__init__(
            {
                "opened": In(1),
                "entry": In(ENTRY_WIDTH),
                **dict.fromkeys(("written", "tables"), In(written_tables())),
                "release": In(stream.Signature(ENTRY_WIDTH, always_ready=True)),
                "prefetch": In(64),
                **dict.fromkeys(("busy", "prefetch_busy", "full"), Out(1)),
            }
        )

    def elaborate(self, platform):
        m = Module()
        shape = data.StructLayout({"entry": ENTRY_WIDTH, "tables": written_tables()})
        writers = [Signal(shape, name=f"writer_{index}", reset_less=True) for index in range(WRITERS)]
        valid = Signal(WRITERS)
        before = self.opened
        for index, writer in enumerate(writers):
            with m.If(self.release.valid & (self.release.payload == writer.entry)):
                m.d.sync += valid[index].eq(0)
            with m.If(before & ~valid[index]):
                m.d.sync += [valid[index].eq(1), writer.entry.eq(self.entry), writer.tables.eq(self.written)]
            before = before & valid[index]
        heads = Cat(writer.tables.heads == self.tables.heads for writer in writers)
        state = Cat(writer.tables.state == self.tables.state for writer in writers)
        ahead = Cat(writer.tables.heads == self.prefetch for writer in writers)
        m.d.comb += [
            self.busy.eq((valid & (heads | state)).any()),
            self.prefetch_busy.eq((valid & ahead).any()),
            self.full.eq(valid.all()),
        ]
        return m
