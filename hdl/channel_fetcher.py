"""All fetching from one memory channel."""

from __future__ import annotations

from amaranth.hdl import Module, Mux
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out, connect, flipped

from hdl import layouts
from hdl.bitwidth_converter import BitwidthConverter
from hdl.config import Config
from hdl.fetch_layouts import (
    load_info,
    load_width,
    local_row,
    num_loads,
    query_local_row,
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
    """Fetch this channel's rows of all loads, and give their slices, unpacked (paper section IV-B).

    Rows of a load ascend. A response is always accepted: words in flight are limited to the room of their queue.
    One word request a cycle and one slice a cycle, if there are words and room for it.

    Members
    -------
    start : In(stream.Signature(load, always_ready=True))    loads whose rows the channel shall walk
    table : In(ArrayLayout(load_info, loads))    parameters of the loads in progress
    ids : In(stream.Signature(id_write, always_ready=True))
    query : In(stream.Signature(query_local_row))    Q rows of this channel
    gather : In(stream.Signature(local_row))    gathered rows of this channel
    memory : Out(MemoryPort)
    load : Out(n)    load of the word that memory.request asks for
    busy : Out(1)    words are requested or in flight
    inside : Out(n)    memory units of the rows in the channel, from the RowIssuer's input to ``o``
    o : Out(stream.Signature(word_slice))
    """

    def __init__(self, config: Config, *, channel: int):
        self.config, self.channel = config, channel
        row, queued = config.row_bits_max // unit_bits(config), max(3, config.slice_queue) + 4
        # Rows in the issuer, words in flight and in the ring, slices behind it.
        words = config.outstanding + words_per_slice(config) + 1
        room = 6 * row + words * units_per_word(config) + queued * slice_units(config)
        super().__init__(
            {
                "start": In(stream.Signature(load_width(config), always_ready=True)),
                "table": In(data.ArrayLayout(load_info(config), num_loads(config))),
                "ids": In(stream.Signature(layouts.id_write(config), always_ready=True)),
                "query": In(stream.Signature(query_local_row(config))),
                "gather": In(stream.Signature(local_row(config))),
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
        m.submodules.source = source = RowSource(config, channel=self.channel)
        m.submodules.issuer = issuer = RowIssuer(config)
        m.submodules.rows = rows = StreamQueue(row_slot(config), depth=max(4, config.outstanding))
        m.submodules.words = words = StreamQueue(config.channel_width, depth=max(3, config.outstanding))
        m.submodules.assembler = assembler = SliceAssembler(config)
        m.submodules.converter = converter = BitwidthConverter(config, tag=slice_tag(config))
        m.submodules.slices = slices = StreamQueue(self.o.payload.shape(), depth=max(3, config.slice_queue))
        for inner in (source, issuer, assembler):
            m.d.comb += inner.table.eq(self.table)
        connect(m, flipped(self.start), source.start)
        connect(m, flipped(self.ids), source.ids)
        connect(m, flipped(self.query), source.query)
        connect(m, flipped(self.gather), source.gather)
        connect(m, source.o, issuer.i)
        connect(m, issuer.request, flipped(self.memory.request))
        connect(m, issuer.row, rows.i)
        connect(m, rows.o, assembler.row)
        connect(m, flipped(self.memory.response), words.i)
        connect(m, words.o, assembler.word)
        connect(m, assembler.o, converter.i)
        connect(m, converter.o, slices.i)
        connect(m, slices.o, flipped(self.o))
        self.throttle(m, source, issuer)
        m.d.comb += [
            issuer.returned.eq(words.o.valid & words.o.ready),
            self.load.eq(issuer.load),
            self.busy.eq(issuer.busy),
        ]
        return m

    def throttle(self, m, source, issuer):
        """A row that comes now waits for all that is in the channel; so K and V loads shall not fill it to the brim.

        Only a channel that has a slice to send is held back: if memory is slow, nothing is.
        """
        config = self.config
        ahead = config.outstanding * units_per_word(config) * 3 // 4
        leaving = Mux(self.o.valid & self.o.ready, self.o.payload.tag.units, 0)
        m.d.sync += [
            self.inside.eq(self.inside + issuer.taken_units - leaving),
            source.throttle.eq((self.inside >= ahead) & self.o.valid),
        ]
