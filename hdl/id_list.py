"""Lists of the surviving rows, kept by channel and by position."""

from __future__ import annotations

from amaranth.hdl import Array, Cat, Module, Mux, Signal
from amaranth.lib import data, stream, wiring
from amaranth.lib.memory import Memory
from amaranth.lib.wiring import In, Out

from hdl import layouts
from hdl.config import Config
from hdl.fetch_layouts import local_rows, local_width
from hdl.layouts import bits_for_count

__all__ = ["ChannelList", "PositionList"]


class ChannelList(wiring.Component):
    """The rows of both id lists that lie in one channel, in ascending order, with their positions.

    Sorting the ids by channel when they are written lets every channel walk its own rows without conflicts: it takes
    the place of the paper's crossbar of addresses (section IV-B). A read takes one enabled cycle.

    Members
    -------
    ids : In(stream.Signature(id_write, always_ready=True))    all ids; those of other channels are passed over
    count : Out(ArrayLayout(n, 2))    rows in each list
    read_en, read_list, read_index : In    read entry ``index`` of a list
    index : Out(n)       row // num_channels of the entry read
    position : Out(position_width)    its key position
    """

    LATENCY = 1

    def __init__(self, config: Config, *, channel: int):
        if not 0 <= channel < config.num_channels:
            raise ValueError(f"channel must be from 0 to {config.num_channels - 1}, not {channel!r}")
        self.config, self.channel = config, channel
        rows = local_rows(config)
        super().__init__(
            {
                "ids": In(stream.Signature(layouts.id_write(config), always_ready=True)),
                "count": Out(data.ArrayLayout(bits_for_count(rows), 2)),
                "read_en": In(1),
                "read_list": In(1),
                "read_index": In(bits_for_count(rows)),
                "index": Out(local_width(config)),
                "position": Out(config.position_width),
            }
        )

    def elaborate(self, platform):
        m = Module()
        config = self.config
        log_channels = config.num_channels.bit_length() - 1
        address_bits = bits_for_count(local_rows(config) - 1)
        width = local_width(config) + config.position_width
        m.submodules.memory = memory = Memory(shape=width, depth=2 << address_bits, init=[])
        write, read = memory.write_port(), memory.read_port()
        new = self.ids.payload
        local = Signal(local_width(config))
        mine = self.ids.valid & (new.id[:log_channels] == self.channel)
        count = Mux(new.position == 0, 0, Array(self.count)[new.list])
        m.d.comb += [
            local.eq(new.id >> log_channels),
            write.en.eq(mine),
            write.addr.eq(Cat(count[:address_bits], new.list)),
            write.data.eq(Cat(local, new.position)),
            read.en.eq(self.read_en),
            read.addr.eq(Cat(self.read_index[:address_bits], self.read_list)),
            Cat(self.index, self.position).eq(read.data),
        ]
        for i in range(2):
            with m.If(self.ids.valid & (new.list == i) & (mine | (new.position == 0))):
                m.d.sync += self.count[i].eq(count + mine)
        return m


class PositionList(wiring.Component):
    """Both id lists by key position, ``lanes`` consecutive positions a word. A read takes one enabled cycle.

    Members
    -------
    ids : In(stream.Signature(id_write, always_ready=True))
    read_en, read_list, read_word : In    read positions word*lanes … word*lanes + lanes-1
    rows : Out(ArrayLayout(position_width, lanes))    their rows
    """

    LATENCY = 1

    def __init__(self, config: Config):
        self.config = config
        self.word_width = bits_for_count(-(-config.max_tokens // config.lanes) - 1)
        super().__init__(
            {
                "ids": In(stream.Signature(layouts.id_write(config), always_ready=True)),
                "read_en": In(1),
                "read_list": In(1),
                "read_word": In(self.word_width),
                "rows": Out(data.ArrayLayout(config.position_width, config.lanes)),
            }
        )

    def elaborate(self, platform):
        m = Module()
        log_lanes = self.config.lanes.bit_length() - 1
        new = self.ids.payload
        word = Signal(self.word_width)
        m.d.comb += word.eq(new.position >> log_lanes)
        for lane in range(self.config.lanes):
            memory = Memory(shape=self.config.position_width, depth=2 << self.word_width, init=[])
            m.submodules[f"memory_{lane}"] = memory
            write, read = memory.write_port(), memory.read_port()
            m.d.comb += [
                write.en.eq(self.ids.valid & (new.position[:log_lanes] == lane)),
                write.addr.eq(Cat(word, new.list)),
                write.data.eq(new.id),
                read.en.eq(self.read_en),
                read.addr.eq(Cat(self.read_word, self.read_list)),
                self.rows[lane].eq(read.data),
            ]
        return m
