"""Everybody's words to the write manager; those of commands only into their queue's window."""

from __future__ import annotations

from amaranth.hdl import Const, Module, Mux, Signal
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out

from hdl.axi.write_manager import word_write
from hdl.command.command_check import window
from hdl.command.open_commands import ENTRY_WIDTH
from hdl.result.written_word import ADDRESS_WIDTH, written_word

__all__ = ["WriteGate"]


class WriteGate(wiring.Component):
    """Hands on words of the source of the lowest number that has one.

    Those of source 0 are not looked at (completions), and thrown away while ``hold``; of the others what lies outside
    the window, and all while ``drop``, is thrown away, and ``outside`` names the command. Latency 1, a word a cycle.

    Members
    -------
    i : In(stream.Signature(written_word)).array(sources)
    writable : In(window)       byte addresses, multiples of a word
    drop, hold : In(1)
    o : Out(stream.Signature(word_write))
    outside : Out(stream.Signature(ENTRY_WIDTH, always_ready=True))
    left : Out(1).array(sources)    pulse: a word of the source that is ``last`` has been handed on, or thrown away
    """

    def __init__(self, *, sources: int, word_width: int):
        self.sources, self.word_width = sources, word_width
        super().__init__(
            {
                "i": In(stream.Signature(written_word(word_width))).array(sources),
                "writable": In(window()),
                **dict.fromkeys(("drop", "hold"), In(1)),
                "o": Out(stream.Signature(word_write(ADDRESS_WIDTH, word_width))),
                "outside": Out(stream.Signature(ENTRY_WIDTH, always_ready=True)),
                "left": Out(1).array(sources),
            }
        )

    def elaborate(self, platform):
        m = Module()
        low = (self.word_width // 8).bit_length() - 1
        held = Signal(written_word(self.word_width), reset_less=True)
        full, outside, checked = Signal(), Signal(reset_less=True), Signal(reset_less=True)
        source = Signal(range(self.sources), reset_less=True)
        refused, leaves = Mux(checked, outside | self.drop, self.hold), Signal()
        m.d.comb += [
            self.o.valid.eq(full & ~refused),
            self.o.payload.eq(held.write),
            leaves.eq(full & (refused | self.o.ready)),
            self.outside.valid.eq(leaves & checked & outside & ~self.drop),
            self.outside.payload.eq(held.entry),
            *(mine.eq(leaves & held.last & (source == index)) for index, mine in enumerate(self.left)),
        ]
        free = ~full | leaves
        with m.If(free):
            m.d.sync += full.eq(0)
        taken = Const(0, 1)  # by a source before
        for index, item in enumerate(self.i):
            m.d.comb += item.ready.eq(free & ~taken)
            word = item.payload.write.word
            with m.If(free & item.valid & ~taken):
                m.d.sync += [
                    full.eq(1),
                    held.eq(item.payload),
                    source.eq(index),
                    checked.eq(index != 0),
                    outside.eq((word < self.writable.base[low:]) | (word >= self.writable.limit[low:])),
                ]
            taken = taken | item.valid
        return m
