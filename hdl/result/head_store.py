"""Heads of the open commands, by command and rank."""

from __future__ import annotations

from amaranth.hdl import Cat, Module, Mux, Signal
from amaranth.lib import data, stream, wiring
from amaranth.lib.memory import Memory
from amaranth.lib.wiring import In, Out

from hdl.command.descriptors import is_layer
from hdl.command.open_commands import ENTRY_WIDTH, open_commands, open_head, opened_command
from hdl.spec.config import Config
from hdl.spec.formats import head_row
from hdl.spec.widths import bits_for_count

__all__ = ["HeadStore"]


class HeadStore(wiring.Component):
    """Keeps some fields of every row of the table of heads of the open commands.

    A job's ranks begin with its first entry of the table. Latency 1 from ``read_en`` to ``row``, which stays.

    Members
    -------
    opened : In(stream.Signature(opened_command, always_ready=True))    of the command whose heads come next
    head : In(stream.Signature(open_head, always_ready=True))
    read_en : In(1)
    read_entry : In(ENTRY_WIDTH)
    read_rank : In(n)       number of the head in the table; log2 of max_heads bits
    row : Out(fields)
    """

    def __init__(self, config: Config, *, queues: int, fields: tuple[str, ...]):
        """``fields``: names of ``hdl.spec.formats.head_row`` that are kept."""
        self.config = config
        self.fields = data.StructLayout({name: head_row()[name].shape for name in fields})
        self.rank_width = bits_for_count(config.max_heads - 1)
        super().__init__(
            {
                "opened": In(stream.Signature(opened_command(queues), always_ready=True)),
                "head": In(stream.Signature(open_head(), always_ready=True)),
                "read_en": In(1),
                "read_entry": In(ENTRY_WIDTH),
                "read_rank": In(self.rank_width),
                "row": Out(self.fields),
            }
        )

    def elaborate(self, platform):
        m = Module()
        depth = open_commands(self.config) << self.rank_width
        m.submodules.memory = memory = Memory(shape=self.fields.size, depth=depth, init=[])
        write, read = memory.write_port(), memory.read_port(domain="sync")
        rank = Signal(self.rank_width)
        command = self.opened.payload.fetched.command
        head = self.head.payload
        m.d.comb += [
            write.en.eq(self.head.valid),
            write.addr.eq(Cat(rank, head.entry)),
            write.data.eq(Cat(head.row[name] for name in self.fields.members)),
            read.en.eq(self.read_en),
            read.addr.eq(Cat(self.read_rank, self.read_entry)),
            self.row.eq(read.data),
        ]
        with m.If(self.head.valid):
            m.d.sync += rank.eq(rank + 1)
        with m.If(self.opened.valid):
            m.d.sync += rank.eq(Mux(is_layer(command), 0, command.head_keep))
        return m
