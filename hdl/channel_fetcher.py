"""All fetching from one memory channel."""

from __future__ import annotations

from amaranth.hdl import Module, Mux
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out, connect, flipped

from hdl import layouts
from hdl.bitwidth_converter import BitwidthConverter
from hdl.config import Config
from hdl.crossbar import SliceCrossbar
from hdl.fetch_layouts import (
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
    words_per_slice,
)
from hdl.layouts import bits_for_count
from hdl.row_issuer import RowIssuer
from hdl.row_source import RowSource
from hdl.slice_assembler import SliceAssembler
from hdl.stream_queue import StreamQueue

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
    load : Out(n)    load of the word that memory.request asks for
    busy : Out(1)    words are requested or in flight
    inside : Out(n)    memory units of the rows in the channel, from the RowIssuer's input to ``o``
    o : Out(stream.Signature(word_slice))
    """

    def __init__(self, config: Config):
        self.config = config
        # The crossbar has queues of its own, unless there is but one channel.
        self.slice_depth = max(3, config.slice_queue if SliceCrossbar.num_groups(config) == 1 else 0)
        row, queued = config.row_bits_max // unit_bits(config), self.slice_depth + 4
        # Rows in the issuer, words in flight and in the ring, slices behind it.
        words = config.outstanding + words_per_slice(config) + 1
        room = 6 * row + words * units_per_word(config) + queued * slice_units(config)
        super().__init__(
            {
                "table": In(data.ArrayLayout(load_info(config), num_loads(config))),
                **{name: In(stream.Signature(local_row(config))) for name in ("query", "lsb", "gather", "bulk")},
                "memory": Out(layouts.MemoryPort(config)),
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
        m.submodules.slices = slices = StreamQueue(self.o.payload.shape(), depth=self.slice_depth)
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
        connect(m, assembler.o, converter.i)
        connect(m, converter.o, slices.i)
        connect(m, slices.o, flipped(self.o))
        self.throttle(m, source, issuer, words)
        m.d.comb += [
            issuer.returned.eq(words.o.valid & words.o.ready),
            self.load.eq(issuer.load),
            self.busy.eq(issuer.busy),
        ]
        return m

    def throttle(self, m, source, issuer, words):
        """A row that comes now waits for all that is in the channel; so K and V loads shall not fill it to the brim.

        Only a channel whose words come faster than its slices leave is held back: if memory is slow, nothing is.
        """
        config = self.config
        ahead = config.outstanding * units_per_word(config) * 3 // 4
        leaving = Mux(self.o.valid & self.o.ready, self.o.payload.tag.units, 0)
        m.d.sync += [
            self.inside.eq(self.inside + issuer.taken_units - leaving),
            source.throttle.eq((self.inside >= ahead) & (words.level >= max(4, config.outstanding // 8))),
        ]
