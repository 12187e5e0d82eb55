"""Heads of a command on their way to the core and to those who write its results."""

from __future__ import annotations

from amaranth.hdl import Module, Signal
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out, connect, flipped

from hdl.command.descriptors import head_fields
from hdl.command.head_reader import table_head
from hdl.command.open_commands import ENTRY_WIDTH, open_head
from hdl.spec import payloads
from hdl.spec.config import Config
from hdl.spec.formats import head_row
from hdl.stream.stream_fork import StreamFork

__all__ = ["HeadGate"]


class HeadGate(wiring.Component):
    """Hands each head to both, or to the second only; an unread one has a scale of 0, which the core refuses.

    Latency and initiation interval as those of a :class:`StreamFork`.

    Members
    -------
    i : In(stream.Signature(table_head))
    core : In(1)                   the core gets them, too; this and entry are constant from the first to the last one
    entry : In(ENTRY_WIDTH)
    heads : Out(stream.Signature(head_entry))
    open_head : Out(stream.Signature(open_head))
    first : Out(head_row)          the first one of the command, from the cycle after ``passed`` on
    passed : Out(1)                pulse: all have taken the last one
    """

    def __init__(self, config: Config):
        self.config = config
        super().__init__(
            {
                "i": In(stream.Signature(table_head())),
                "core": In(1),
                "entry": In(ENTRY_WIDTH),
                "heads": Out(stream.Signature(payloads.head_entry(config))),
                "open_head": Out(stream.Signature(open_head())),
                "first": Out(head_row()),
                "passed": Out(1),
            }
        )

    def elaborate(self, platform):
        m = Module()
        m.submodules.fork = fork = StreamFork(table_head(), num_outputs=2)
        connect(m, flipped(self.i), fork.i)
        to_core, others = fork.o
        m.d.comb += [
            self.heads.valid.eq(to_core.valid & self.core),
            to_core.ready.eq(self.heads.ready | ~self.core),
            self.heads.payload.last.eq(to_core.payload.last),
            *(
                self.heads.payload[name].eq(value)
                for name, value in head_fields(self.config, to_core.payload.row).items()
            ),
            self.open_head.valid.eq(others.valid),
            others.ready.eq(self.open_head.ready),
            self.open_head.payload.entry.eq(self.entry),
            *(self.open_head.payload[name].eq(others.payload[name]) for name in ("row", "last", "error")),
        ]
        with m.If(to_core.payload.error):
            m.d.comb += self.heads.payload.scale.eq(0)
        begins = Signal(init=1)
        with m.If(self.i.valid & self.i.ready):
            m.d.sync += begins.eq(self.i.payload.last)
            with m.If(begins):
                m.d.sync += self.first.eq(self.i.payload.row)
                with m.If(self.i.payload.error):
                    m.d.sync += self.first.scale.eq(0)
        m.d.comb += self.passed.eq(self.i.valid & self.i.ready & self.i.payload.last)
        return m
