"""Lists of the surviving rows, kept by class (row mod channels) and by position."""

from __future__ import annotations

from amaranth.hdl import Array, Cat, Const, Module, Mux, Signal
from amaranth.lib import data, stream, wiring
from amaranth.lib.memory import Memory
from amaranth.lib.wiring import In, Out

from hdl.fetch.fetch_layouts import local_rows, local_width
from hdl.spec import payloads
from hdl.spec.config import Config
from hdl.spec.widths import bits_for_count
from hdl.stream.stream_skid import StreamSkid

__all__ = ["ChannelList", "ClassPick", "IdSpread", "PositionList", "class_entry"]


def class_entry(config: Config) -> data.StructLayout:
    """What the list of one class is told of an id list."""
    return data.StructLayout(
        {
            "list": 1,
            "first": 1,  # clears the list first
            "write": 1,  # a row is added
            "index": local_width(config),  # row // num_channels
            "position": config.position_width,  # its key position
        }
    )


class ClassPick(wiring.Component):
    """The lowest of the pending ids of one class (row mod channels), combinationally.

    Members
    -------
    pending : In(lanes)
    ids : In(ArrayLayout(position_width, lanes))    ascending
    mine : Out(1)      there is one
    chosen : Out(lanes)    one-hot, 0 if there is none
    lane : Out(n)      of the chosen one
    index : Out(n)     its row // num_channels
    """

    def __init__(self, config: Config, *, channel: int):
        self.config, self.channel = config, channel
        super().__init__(
            {
                "pending": In(config.lanes),
                "ids": In(data.ArrayLayout(config.position_width, config.lanes)),
                "mine": Out(1),
                "chosen": Out(config.lanes),
                "lane": Out(max(1, config.lanes.bit_length() - 1)),
                "index": Out(local_width(config)),
            }
        )

    def elaborate(self, platform):
        m = Module()
        lanes, log_channels = range(self.config.lanes), self.config.num_channels.bit_length() - 1
        mine = Signal(self.config.lanes)
        m.d.comb += [
            mine.eq(Cat(self.pending[i] & (self.ids[i][:log_channels] == self.channel) for i in lanes)),
            self.mine.eq(mine.any()),
            self.chosen.eq(mine & (~mine + 1)),
        ]
        for i in reversed(lanes):
            with m.If(mine[i]):
                m.d.comb += [self.index.eq(self.ids[i] >> log_channels), self.lane.eq(i)]
        return m


class IdSpread(wiring.Component):
    """Hand the ids of a beat to their classes, in ascending order, one id per class and cycle until all are gone.

    A beat takes as many cycles as the class with most of its ids has ids; the first entries come a cycle after it. When
    the list's ``busy`` is low all its ids taken so far are there and can be read.

    Members
    -------
    i : In(stream.Signature(id_write))
    o : Out(stream.Signature(class_entry, always_ready=True)).array(num_channels)    by class
    busy : Out(2)    by list
    """

    LATENCY = 1

    def __init__(self, config: Config):
        self.config = config
        super().__init__(
            {
                "i": In(stream.Signature(payloads.id_write(config))),
                "o": Out(stream.Signature(class_entry(config), always_ready=True)).array(config.num_channels),
                "busy": Out(2),
            }
        )

    def elaborate(self, platform):
        m = Module()
        config = self.config
        log_lanes = config.lanes.bit_length() - 1
        pending, first = Signal(config.lanes), Signal()
        which = Signal(reset_less=True)
        word = Signal(config.position_width, reset_less=True)
        ids = Signal(data.ArrayLayout(config.position_width, config.lanes), reset_less=True)
        gone = Const(0, config.lanes)
        for k, o in enumerate(self.o):
            m.submodules[f"pick_{k}"] = pick = ClassPick(config, channel=k)
            gone = gone | pick.chosen
            m.d.comb += [
                pick.pending.eq(pending),
                pick.ids.eq(ids),
                o.valid.eq(first | pick.mine),
                o.payload.list.eq(which),
                o.payload.first.eq(first),
                o.payload.write.eq(pick.mine),
                o.payload.index.eq(pick.index),
                o.payload.position.eq(Cat(pick.lane[:log_lanes], word)),
            ]
        left = pending & ~gone
        skid = self.take(m)
        new = skid.o.payload
        waiting = skid.held_valid.replicate(2) & Cat(skid.held.list == i for i in range(2))
        spread = (first | pending.any()).replicate(2) & Cat(which == i for i in range(2))
        m.d.comb += [skid.o.ready.eq(~left.any()), self.busy.eq(waiting | spread)]
        m.d.sync += [pending.eq(left), first.eq(0)]
        with m.If(skid.o.ready):
            m.d.sync += [
                pending.eq(new.mask & skid.o.valid.replicate(config.lanes)),
                first.eq(new.first & skid.o.valid),
            ]
            m.d.sync += [which.eq(new.list), word.eq(new.word), ids.eq(new.ids)]
        return m

    def take(self, m):
        """What is needed of a beat, without a path from the ids to the ready of their source."""
        given = self.i.payload
        names = ("list", "first", "word", "mask", "ids")
        m.submodules.skid = skid = StreamSkid(data.StructLayout({name: given[name].shape() for name in names}))
        m.d.comb += [skid.i.valid.eq(self.i.valid), self.i.ready.eq(skid.i.ready)]
        m.d.comb += [skid.i.payload[name].eq(given[name]) for name in names]
        return skid


class ChannelList(wiring.Component):
    """The rows of both id lists in one class, in ascending order, with their positions.

    Sorting the ids by class when they are written lets the rows of every class be walked without conflicts: it takes
    the place of the paper's crossbar of addresses (section IV-B). A read takes one enabled cycle.

    Members
    -------
    i : In(stream.Signature(class_entry, always_ready=True))
    count : Out(ArrayLayout(n, 2))    rows in each list
    read_en, read_list, read_index : In    read entry ``index`` of a list
    index : Out(n)       row // num_channels of the entry read
    position : Out(position_width)    its key position
    """

    LATENCY = 1

    def __init__(self, config: Config, *, channel: int):
        if not 0 <= channel < config.num_channels:
            raise ValueError(f"channel must be from 0 to {config.num_channels - 1}, not {channel!r}")
        self.config = config
        rows = local_rows(config)
        super().__init__(
            {
                "i": In(stream.Signature(class_entry(config), always_ready=True)),
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
        address_bits = bits_for_count(local_rows(config) - 1)
        width = local_width(config) + config.position_width
        m.submodules.memory = memory = Memory(shape=width, depth=2 << address_bits, init=[])
        write, read = memory.write_port(), memory.read_port()
        new = self.i.payload
        count = Mux(new.first, 0, Array(self.count)[new.list])
        m.d.comb += [
            write.en.eq(self.i.valid & new.write),
            write.addr.eq(Cat(count[:address_bits], new.list)),
            write.data.eq(Cat(new.index, new.position)),
            read.en.eq(self.read_en),
            read.addr.eq(Cat(self.read_index[:address_bits], self.read_list)),
            Cat(self.index, self.position).eq(read.data),
        ]
        for i in range(2):
            with m.If(self.i.valid & (new.list == i)):
                m.d.sync += self.count[i].eq(count + new.write)
        return m


class PositionList(wiring.Component):
    """Both id lists by key position, ``lanes`` consecutive positions a word.

    Takes a beat a cycle, which can be read from the next cycle on. A read takes one enabled cycle.

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
                "ids": In(stream.Signature(payloads.id_write(config), always_ready=True)),
                "read_en": In(1),
                "read_list": In(1),
                "read_word": In(self.word_width),
                "rows": Out(data.ArrayLayout(config.position_width, config.lanes)),
            }
        )

    def elaborate(self, platform):
        m = Module()
        new = self.ids.payload
        for lane in range(self.config.lanes):
            memory = Memory(shape=self.config.position_width, depth=2 << self.word_width, init=[])
            m.submodules[f"memory_{lane}"] = memory
            write, read = memory.write_port(), memory.read_port()
            m.d.comb += [
                write.en.eq(self.ids.valid & new.mask[lane]),
                write.addr.eq(Cat(new.word[: self.word_width], new.list)),
                write.data.eq(new.ids[lane]),
                read.en.eq(self.read_en),
                read.addr.eq(Cat(self.read_word, self.read_list)),
                self.rows[lane].eq(read.data),
            ]
        return m
