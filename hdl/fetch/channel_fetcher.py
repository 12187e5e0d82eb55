"""All fetching from one memory channel."""

from __future__ import annotations

from amaranth.hdl import Module, Mux, Signal
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out, connect, flipped

from hdl.fetch.bitwidth_converter import BitwidthConverter
from hdl.fetch.crossbar import SliceCrossbar
from hdl.fetch.fetch_layouts import (
    load_info,
    load_width,
    local_row,
    num_loads,
    row_slot,
    slice_tag,
    slice_units,
    unit_bits,
    units_per_word,
    word_slice,
)
from hdl.fetch.row_issuer import RowIssuer
from hdl.fetch.row_source import RowSource
from hdl.fetch.slice_assembler import SliceAssembler, ring_words
from hdl.spec import payloads
from hdl.spec.config import Config
from hdl.spec.widths import bits_for_count
from hdl.stream.stream_queue import StreamQueue

__all__ = ["ChannelFetcher"]


class ChannelFetcher(wiring.Component):
    """Fetch the rows of one channel, and give their slices, unpacked (paper section IV-B).

    Rows of a load ascend. A response is always accepted: words in flight are limited to the room of their queue.
    One word request a cycle and one slice a cycle, if there are words and room for it.

    Members
    -------
    table : In(ArrayLayout(load_info, loads))    parameters of the loads in progress
    query, lsb, gather, bulk : In(stream.Signature(local_row))    Q rows, KEY_LSB, gathered rows, K and V loads
    memory : Out(MemoryPort)
    asked : Out(1)   a word of ``load`` is asked for
    load : Out(n)
    busy : Out(1)    words are requested or in flight
    inside : Out(n)    memory units of the rows in the channel, from the RowIssuer's input to ``o``, a cycle before
    o : Out(stream.Signature(word_slice))
    """

    FLIGHT = StreamQueue.LATENCY + 1
    """From a word's response, if the slices do not wait, until another word may be requested in its place."""
    LATENCY = StreamQueue.LATENCY + SliceAssembler.WORD_LATENCY + BitwidthConverter.LATENCY + StreamQueue.LATENCY
    """From the last word of a slice to the slice."""

    def __init__(self, config: Config):
        self.config = config
        # Slices after the ring. The crossbar has queues of its own, unless there is but one channel.
        self.num_slices = 3 + max(3, config.slice_queue if SliceCrossbar.num_groups(config) == 1 else 0)
        row = config.row_bits_max // unit_bits(config)
        # Rows in the issuer, words in flight and in the ring, slices after it.
        words = config.outstanding + ring_words(config)
        room = 7 * row + words * units_per_word(config) + (self.num_slices + 1) * slice_units(config)
        super().__init__(
            {
                "table": In(data.ArrayLayout(load_info(config), num_loads(config))),
                **{name: In(stream.Signature(local_row(config))) for name in ("query", "lsb", "gather", "bulk")},
                "memory": Out(payloads.MemoryPort(config)),
                "asked": Out(1),
                "load": Out(load_width(config)),
                "busy": Out(1),
                "inside": Out(bits_for_count(room)),
                "o": Out(stream.Signature(word_slice(config, slice_tag(config)))),
            }
        )

    def elaborate(self, platform):
        m = Module()
        config = self.config
        m.submodules.source = source = RowSource(config)
        m.submodules.issuer = issuer = RowIssuer(config)
        m.submodules.rows = rows = StreamQueue(row_slot(config), depth=max(4, config.outstanding))
        m.submodules.words = words = StreamQueue(config.channel_width, depth=max(3, config.outstanding))
        m.submodules.assembler = assembler = SliceAssembler(config)
        m.submodules.converter = converter = BitwidthConverter(config, tag=slice_tag(config))
        m.submodules.slices = slices = StreamQueue(self.o.payload.shape(), depth=self.num_slices)
        for inner in (issuer, assembler):
            m.d.comb += inner.table.eq(self.table)
        for name in ("query", "lsb", "gather", "bulk"):
            connect(m, flipped(getattr(self, name)), getattr(source, name))
        connect(m, source.o, issuer.i)
        connect(m, issuer.request, flipped(self.memory.request))
        connect(m, issuer.row, rows.i)
        connect(m, rows.o, assembler.row)
        connect(m, flipped(self.memory.response), words.i)
        connect(m, words.o, assembler.word)
        connect(m, slices.o, flipped(self.o))
        self.throttle(m, source, issuer, words)
        self.limit(m, assembler)
        m.d.comb += [
            # A slice leaves the ring only if there is room for it in the queue: neither of these waits.
            converter.i.valid.eq(assembler.o.valid),
            converter.i.payload.eq(assembler.o.payload),
            converter.o.ready.eq(1),
            slices.i.valid.eq(converter.o.valid),
            slices.i.payload.eq(converter.o.payload),
            issuer.returned.eq(words.o.valid & words.o.ready),
            self.asked.eq(issuer.asked),
            self.load.eq(issuer.load),
            self.busy.eq(issuer.busy),
        ]
        return m

    def limit(self, m, assembler):
        """Slices between the ring and the crossbar, and whether there is room for another."""
        count, room = Signal(range(self.num_slices + 1)), Signal(init=1)
        left = self.o.valid & self.o.ready
        m.d.comb += assembler.room.eq(room)
        with m.If(assembler.fired != left):
            m.d.sync += count.eq(count + Mux(left, -1, 1))
        m.d.sync += room.eq(left | (room & ~(assembler.fired & (count == self.num_slices - 1))))

    def throttle(self, m, source, issuer, words):
        """A row that comes now waits for all that is in the channel; so K and V loads shall not fill it to the brim.

        Only a channel whose words come faster than its slices leave is held back: if memory is slow, nothing is.
        """
        config = self.config
        ahead = config.outstanding * units_per_word(config) * 3 // 4
        coming = Signal.like(issuer.taken_units)
        leaving = Signal.like(self.o.payload.tag.units)
        m.d.sync += [
            coming.eq(issuer.taken_units),
            leaving.eq(Mux(self.o.valid & self.o.ready, self.o.payload.tag.units, 0)),
            self.inside.eq(self.inside + coming - leaving),
            source.throttle.eq((self.inside >= ahead) & (words.level >= max(4, config.outstanding // 8))),
        ]
