"""Pieces of a word to the whole word."""

from __future__ import annotations

from amaranth.hdl import Cat, Module, Mux, Signal
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out

from hdl.result.written_word import row_piece, written_word

__all__ = ["WordJoiner"]


class WordJoiner(wiring.Component):
    """Joins pieces that follow each other and lie in one word, so that it goes over the bus once.

    Latency 1 from the piece that is done; a piece a cycle.

    Members
    -------
    i : In(stream.Signature(row_piece))
    flush : In(1)     nothing follows for the word that is here
    o : Out(stream.Signature(written_word))
    """

    def __init__(self, *, word_width: int):
        self.word_width = word_width
        super().__init__(
            {
                "i": In(stream.Signature(row_piece(word_width))),
                "flush": In(1),
                "o": Out(stream.Signature(written_word(word_width))),
            }
        )

    def elaborate(self, platform):
        m = Module()
        held = Signal(written_word(self.word_width), reset_less=True)
        full, done = Signal(), Signal()
        piece = self.i.payload
        new, old = piece.write, held.write
        fresh = ~full | done
        m.d.comb += [
            self.o.valid.eq(full & done),
            self.o.payload.eq(held),
            self.i.ready.eq(fresh & (~full | self.o.ready) | ~fresh),
        ]
        with m.If(self.o.ready & done):
            m.d.sync += full.eq(0)
        with m.If(self.flush):
            m.d.sync += done.eq(1)
        with m.If(self.i.valid & self.i.ready):
            joined = [
                Mux(new.strobes[place], new.data[8 * place :][:8], old.data[8 * place :][:8])
                for place in range(self.word_width // 8)
            ]
            m.d.sync += [
                full.eq(1),
                done.eq(piece.done),
                held.entry.eq(piece.entry),
                held.last.eq(piece.last),
                old.word.eq(new.word),
                old.data.eq(Cat(joined)),
                old.strobes.eq(Mux(fresh, 0, old.strobes) | new.strobes),
            ]
        return m
