"""New rows of K, V or Q from bf16 or fp16 into their planes."""

from __future__ import annotations

from amaranth.hdl import Module, Signal
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out, connect, flipped

from hdl.append.append_layouts import (
    CHUNK_WIDTH,
    append_answer,
    append_request,
    append_step,
    check_append_width,
)
from hdl.append.element_feed import ElementFeed
from hdl.append.read_walk import ReadWalk
from hdl.append.row_packer import RowPacker
from hdl.append.row_quantizer import RowQuantizer
from hdl.append.span_walk import SpanWalk
from hdl.append.word_maker import ADDRESS_WIDTH, WordMaker
from hdl.axi.write_manager import word_write
from hdl.command.read_port import ReadPort
from hdl.spec.config import Config
from hdl.spec.numerics import LSB_BITS
from hdl.spec.widths import bits_for_count
from hdl.stream.stream_queue import StreamQueue

__all__ = ["AppendUnit"]

_AHEAD = 4
"""Heads' constants and rows that are asked for before the first of them is here."""


class AppendUnit(wiring.Component):
    """Executes APPEND commands (docs/append.md), one after the other, after what was wrong with them was told.

    ``golden.datapath.append.appended`` of every element goes to its place; no byte beside is written. Rows are written
    in the order K, V, by head, by row, of a split K its LSB plane after each row: a run of words that follow each
    other for each. The request holds while it is worked on, and is taken with its answer, when all of its words have
    been taken from ``o``; after one that failed, some rows have wrong values.

    An element a cycle, if ``word_width`` bits come a cycle and a row of fewer than 16 + 12 chunks does not lie across
    words; about 40 cycles from a request to the first word, without those of the memory.

    Members
    -------
    request : In(stream.Signature(append_request))
    channel_base : In(64).array(num_channels)       byte address of word 0 of each, a multiple of a word's bytes
    port : Out(ReadPort)                            rows and constants
    o : Out(stream.Signature(word_write(64, word_width)))
    done : Out(stream.Signature(append_answer))
    """

    def __init__(self, config: Config, *, word_width: int | None = None):
        """``word_width``: that of a channel if it is not given, but 64 to 256 bits."""
        self.config = config
        self.word_width = check_append_width(word_width or min(256, max(64, config.channel_width)))
        super().__init__(
            {
                "request": In(stream.Signature(append_request())),
                "channel_base": In(ADDRESS_WIDTH).array(config.num_channels),
                "port": Out(ReadPort(self.word_width)),
                "o": Out(stream.Signature(word_write(ADDRESS_WIDTH, self.word_width))),
                "done": Out(stream.Signature(append_answer())),
            }
        )

    def elaborate(self, platform):
        m = Module()
        config, width = self.config, self.word_width
        m.submodules.walk = walk = ReadWalk(config, word_width=width)
        m.submodules.steps = steps = StreamQueue(append_step(config), depth=_AHEAD)
        m.submodules.feed = feed = ElementFeed(config, word_width=width)
        m.submodules.quantizer = quantizer = RowQuantizer(config)
        m.submodules.packer = packer = RowPacker(config)
        m.submodules.lsbs = lsbs = StreamQueue(CHUNK_WIDTH, depth=max(3, config.max_dim * LSB_BITS // CHUNK_WIDTH + 1))
        m.submodules.spans = spans = SpanWalk(config)
        m.submodules.maker = maker = WordMaker(config, word_width=width)
        connect(m, walk.port, flipped(self.port.request))
        connect(m, walk.o, steps.i)
        connect(m, steps.o, feed.i)
        connect(m, flipped(self.port.word), feed.word)
        connect(m, feed.o, quantizer.i)
        connect(m, quantizer.o, packer.i)
        connect(m, feed.row, spans.i)
        connect(m, spans.o, maker.span)
        connect(m, packer.msb, maker.msb)
        connect(m, packer.lsb, lsbs.i)
        connect(m, lsbs.o, maker.lsb)
        connect(m, maker.o, flipped(self.o))
        request = self.request.payload
        m.d.comb += [
            *(block.request.eq(request) for block in (walk, feed, spans)),
            *(mine.eq(base) for mine, base in zip(maker.channel_base, self.channel_base, strict=True)),
            quantizer.half.eq(request.command.flags.half),
            packer.split.eq(request.plan.key_lsb_bits == LSB_BITS),
        ]
        self._answer(m, walk, feed, quantizer, maker)
        return m

    def _answer(self, m, walk, feed, quantizer, maker):
        busy, answer = Signal(), self.done.payload
        config = self.config
        most = 2 * config.max_heads * config.max_tokens * config.max_dim  # K and V
        saturated, failed = Signal(bits_for_count(most), reset_less=True), Signal(reset_less=True)
        counted = quantizer.o.valid & quantizer.o.ready & quantizer.o.payload.saturated
        m.d.comb += [
            walk.start.eq(self.request.valid & ~busy),
            self.request.ready.eq(self.done.valid & self.done.ready),
            answer.saturated.eq(saturated),
            answer.failed.eq(failed),
        ]
        m.d.sync += [saturated.eq(saturated + counted), failed.eq(failed | feed.error)]
        with m.If(walk.start):
            m.d.sync += [busy.eq(1), saturated.eq(0), failed.eq(0)]
        with m.If(maker.last & maker.o.valid & maker.o.ready):
            m.d.sync += self.done.valid.eq(1)
        with m.If(self.done.valid & self.done.ready):
            m.d.sync += [self.done.valid.eq(0), busy.eq(0)]
