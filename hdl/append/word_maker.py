"""Chunks of rows to words of memory."""

from __future__ import annotations

from amaranth.hdl import Array, Cat, Module, Mux, Signal
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out

from hdl.append.append_layouts import CHUNK_WIDTH, check_append_width, row_span
from hdl.axi.write_manager import word_write
from hdl.spec.config import Config

__all__ = ["ADDRESS_WIDTH", "WordMaker"]

ADDRESS_WIDTH = 64
"""Bits of a byte address of the bus."""


class WordMaker(wiring.Component):
    """Writes the chunks of a row to its place, a word as soon as it is complete; what is not the row's is not touched.

    The chunks of a span are taken after the span, from ``msb`` or ``lsb`` as it says. Latency 1 from the last chunk of
    a word, and 1 for each chunk that the last word of the span lacks; a chunk a cycle.

    Members
    -------
    channel_base : In(ADDRESS_WIDTH).array(num_channels)    byte address of word 0 of each, a multiple of a word's bytes
    span : In(stream.Signature(row_span))
    msb, lsb : In(stream.Signature(CHUNK_WIDTH))
    o : Out(stream.Signature(word_write(ADDRESS_WIDTH, word_width)))
    last : Out(1)       the word on offer is the last one of a span that is ``last``
    """

    def __init__(self, config: Config, *, word_width: int):
        self.config, self.word_width = config, check_append_width(word_width)
        super().__init__(
            {
                "channel_base": In(ADDRESS_WIDTH).array(config.num_channels),
                "span": In(stream.Signature(row_span(config))),
                "msb": In(stream.Signature(CHUNK_WIDTH)),
                "lsb": In(stream.Signature(CHUNK_WIDTH)),
                "o": Out(stream.Signature(word_write(ADDRESS_WIDTH, word_width))),
                "last": Out(1),
            }
        )

    def elaborate(self, platform):
        m = Module()
        log_places = (self.word_width // CHUNK_WIDTH).bit_length() - 1
        span, busy = Signal(row_span(self.config), reset_less=True), Signal()  # chunks: those that have not come
        place, word = span.place[:log_places], span.place[log_places:]
        step, taken, whole = Signal(), Signal(), Signal()  # whole: the last chunk is here
        valid, over = Signal(), Signal()  # over: nothing is left but the word on offer
        m.d.comb += [
            whole.eq(span.chunks == 0),
            over.eq(whole & (place == 0)),
            taken.eq(valid & self.o.ready),
            self.span.ready.eq(~busy | (taken & over)),
            self.o.valid.eq(valid),
            self.last.eq(span.last & over),
        ]
        chunk = self._source(m, span, step & ~whole)
        m.d.comb += step.eq(busy & ~over & (~valid | self.o.ready) & (whole | chunk.valid))
        self._address(m, span, word)
        self._shift(m, step, whole, place, chunk)
        with m.If(taken):
            m.d.sync += [valid.eq(0), word.eq(word + 1)]
        with m.If(taken & over):
            m.d.sync += busy.eq(0)
        with m.If(step):
            m.d.sync += [span.chunks.eq(span.chunks - ~whole), place.eq(place + 1), valid.eq(place.all())]
        with m.If(self.span.valid & self.span.ready):
            m.d.sync += [span.eq(self.span.payload), busy.eq(1)]
        return m

    def _source(self, m, span, take):
        """The stream of chunks of the span; its item is used with ``take``."""
        chunk = stream.Signature(CHUNK_WIDTH).create(path=("chunk",))
        m.d.comb += [
            chunk.valid.eq(Mux(span.lsb, self.lsb.valid, self.msb.valid)),
            chunk.payload.eq(Mux(span.lsb, self.lsb.payload, self.msb.payload)),
            self.msb.ready.eq(take & ~span.lsb),
            self.lsb.ready.eq(take & span.lsb),
        ]
        return chunk

    def _address(self, m, span, word):
        log_bytes = (self.word_width // 8).bit_length() - 1
        bases = [base[log_bytes:] for base in self.channel_base]
        base = Array(bases)[span.channel] if len(bases) > 1 else bases[0]
        m.d.comb += self.o.payload.word.eq(base + word)

    def _shift(self, m, step, whole, place, chunk):
        """Chunks enter at the top; after the last one of a row, others without strobes until it lies in its place."""
        data, strobes = Signal(self.word_width, reset_less=True), Signal(self.word_width // 8, reset_less=True)
        fresh = Signal()  # nothing is here of the word on hand
        mine, size = (~whole).replicate(CHUNK_WIDTH // 8), CHUNK_WIDTH // 8
        m.d.comb += [self.o.payload.data.eq(data), self.o.payload.strobes.eq(strobes)]
        with m.If(step):
            m.d.sync += [
                data.eq(Cat(data[CHUNK_WIDTH:], chunk.payload)),
                strobes.eq(Cat(Mux(fresh, 0, strobes[size:]), mine)),
                fresh.eq(place.all()),
            ]
        with m.If(self.span.valid & self.span.ready):
            m.d.sync += fresh.eq(1)
