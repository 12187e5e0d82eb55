"""The rows of K and V loads, class by class (row mod channels)."""

from __future__ import annotations

from amaranth.hdl import Cat, Const, Module, Mux, Signal
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out, connect, flipped

from hdl.fetch.fetch_layouts import (
    LSB_LOADS,
    channel_position,
    kind_of,
    load_info,
    load_start,
    load_width,
    local_row,
    local_rows,
    local_width,
    log_units,
    num_loads,
    offset_width,
    pick,
)
from hdl.fetch.id_list import ChannelList, class_entry
from hdl.spec.config import Config
from hdl.spec.payloads import KEY, KEY_LSB, VALUE
from hdl.spec.widths import bits_for_count
from hdl.stream.stream_queue import StreamQueue

__all__ = ["ClassWalker", "LoadLookUp", "RowJoiner", "RowWalker", "list_read", "walked_load", "walked_step"]


def sharing(config: Config, row_units):
    """Mask of the bits of a row's index that are all zero if the row begins with a word.

    Rows of ``row_units`` units fill whole words in groups of a power of two.
    """
    log = log_units(config)
    return Cat(row_units[: log - i].any() for i in range(log))


def list_read(config: Config) -> data.StructLayout:
    """Read entry ``index`` of a list of the class."""
    return data.StructLayout({"list": 1, "index": bits_for_count(local_rows(config))})


def walked_load(config: Config) -> data.StructLayout:
    """What must be known of a load to walk its rows of a class."""
    return data.StructLayout(
        {
            "load": load_width(config),
            "listed": 1,
            "list": 1,
            "sharing": offset_width(config),
            "total": bits_for_count(local_rows(config)),  # rows of the class
        }
    )


def walked_step(config: Config) -> data.StructLayout:
    """A row of a load in one class, or the load's end."""
    return data.StructLayout(
        {
            "of": walked_load(config),
            "index": bits_for_count(local_rows(config)),  # among the load's rows of the class
            "end": 1,
        }
    )


class LoadLookUp(wiring.Component):
    """What must be known of the next load; latency 1, a load every second cycle.

    Members
    -------
    table : In(ArrayLayout(load_info, loads))
    list_count : In(ArrayLayout(n, 2))    entries of the class's id lists
    i : In(stream.Signature(load))    names of loads
    o : Out(stream.Signature(walked_load))
    """

    LATENCY = 1

    def __init__(self, config: Config, *, channel: int, lsb: bool):
        self.config, self.channel, self.lsb = config, channel, lsb
        super().__init__(
            {
                "table": In(data.ArrayLayout(load_info(config), num_loads(config))),
                "list_count": In(data.ArrayLayout(bits_for_count(local_rows(config)), 2)),
                "i": In(stream.Signature(load_width(config))),
                "o": Out(stream.Signature(walked_load(config))),
            }
        )

    def elaborate(self, platform):
        m = Module()
        config = self.config
        load, valid = Signal(walked_load(config), reset_less=True), Signal()
        info = self.info(m, self.i.payload)
        log_channels = config.num_channels.bit_length() - 1
        dense = (info.count + Const(config.num_channels - 1 - self.channel)) >> log_channels
        m.d.comb += [self.i.ready.eq(~valid), self.o.valid.eq(valid), self.o.payload.eq(load)]
        with m.If(self.o.ready):
            m.d.sync += valid.eq(0)
        with m.If(~valid):
            m.d.sync += [
                valid.eq(self.i.valid),
                load.load.eq(self.i.payload),
                load.listed.eq(info.listed),
                load.list.eq(info.list),
                load.sharing.eq(sharing(config, info.row_units)),
                load.total.eq(Mux(info.listed, Mux(info.list, self.list_count[1], self.list_count[0]), dense)),
            ]
        return m

    def info(self, m, load):
        """From the entries of the loads that come here: of KEY_LSB, or else of KEY and VALUE."""
        loads, names = self.config.loads, self.config.load_width
        if self.lsb:
            entries = range(KEY_LSB * loads, KEY_LSB * loads + LSB_LOADS)
            return pick(m, load[:1], [self.table[i] for i in entries], "info")
        entries = [kind * loads + i for kind in (KEY, VALUE) for i in range(loads)]
        return pick(m, Cat(load[:names], kind_of(load) == VALUE), [self.table[i] for i in entries], "info")


class RowJoiner(wiring.Component):
    """Rows of the steps, each compared with the row before it: does it begin in the word in which that one ends?

    The list gives a listed row a cycle after its step. Latency 2, one row a cycle; nothing here stalls.

    Members
    -------
    i : In(stream.Signature(walked_step, always_ready=True))
    index, position : In    of a listed row, a cycle after its step
    o : Out(stream.Signature(local_row, always_ready=True))
    """

    LATENCY = 2

    def __init__(self, config: Config, *, channel: int):
        self.config, self.channel = config, channel
        super().__init__(
            {
                "i": In(stream.Signature(walked_step(config), always_ready=True)),
                "index": In(local_width(config)),
                "position": In(config.position_width),
                "o": Out(stream.Signature(local_row(config), always_ready=True)),
            }
        )

    def elaborate(self, platform):
        m = Module()
        config = self.config
        valid, now = Signal(), Signal(walked_step(config), name="now", reset_less=True)
        row, row_valid = Signal(local_row(config), reset_less=True), Signal()
        shared = Signal(offset_width(config), reset_less=True)
        listed = now.of.listed
        m.d.sync += [
            valid.eq(self.i.valid),
            now.eq(self.i.payload),
            row_valid.eq(valid),
            row.eq(0),
            row.load.eq(now.of.load),
            row.index.eq(Mux(listed, self.index, now.index)),
            row.position.eq(Mux(listed, self.position, channel_position(config, self.channel, now.index))),
            row.end.eq(now.end),
            shared.eq(now.of.sharing),
        ]
        neighbour, in_load = Signal.like(row.index, reset_less=True), Signal()  # of the row before this one
        with m.If(row_valid):
            m.d.sync += [neighbour.eq(row.index + 1), in_load.eq(~row.end)]
        low = row.index[: offset_width(config)]
        m.d.comb += [
            self.o.valid.eq(row_valid),
            self.o.payload.eq(row),
            self.o.payload.joined.eq(in_load & ~row.end & (row.index == neighbour) & (shared & low).any()),
        ]
        return m


class RowWalker(wiring.Component):
    """Walk the rows of K and V loads, or of KEY_LSB loads (``lsb``), in one class, then mark the end of each load.

    Loads are walked in their order, a row or an end mark a cycle; the next load follows without a gap. A listed load
    takes all rows of its list; one without rows takes two cycles. Latency 8 from the start of a load.

    Members
    -------
    start : In(stream.Signature(load_start, always_ready=True))    as many as can be in progress
    table : In(ArrayLayout(load_info, loads))
    list_count : In(ArrayLayout(n, 2))    entries of the class's id lists
    read : Out(stream.Signature(list_read))    an entry of a list is wanted: ``index`` and ``position`` a cycle later
    index, position : In
    o : Out(stream.Signature(local_row))
    """

    LATENCY = 8
    """From a load's start to its first row."""
    DEPTH = 9  # rows that wait; with four on the way, none is missing when they flow again

    def __init__(self, config: Config, *, channel: int, lsb: bool):
        self.config, self.channel, self.lsb = config, channel, lsb
        super().__init__(
            {
                "start": In(stream.Signature(load_start(config), always_ready=True)),
                "table": In(data.ArrayLayout(load_info(config), num_loads(config))),
                "list_count": In(data.ArrayLayout(bits_for_count(local_rows(config)), 2)),
                "read": Out(stream.Signature(list_read(config))),
                "index": In(local_width(config)),
                "position": In(config.position_width),
                "o": Out(stream.Signature(local_row(config))),
            }
        )

    def elaborate(self, platform):
        m = Module()
        config = self.config
        depth = max(3, LSB_LOADS if self.lsb else 2 * config.loads)
        m.submodules.loads = loads = StreamQueue(load_width(config), depth=depth)
        m.submodules.look_up = look_up = LoadLookUp(config, channel=self.channel, lsb=self.lsb)
        m.submodules.joiner = joiner = RowJoiner(config, channel=self.channel)
        m.submodules.rows = rows = StreamQueue(local_row(config), depth=self.DEPTH)
        connect(m, loads.o, look_up.i)
        connect(m, rows.o, flipped(self.o))
        m.d.comb += [
            loads.i.valid.eq(self.start.valid),
            loads.i.payload.eq(self.start.payload.load),
            look_up.table.eq(self.table),
            look_up.list_count.eq(self.list_count),
            joiner.index.eq(self.index),
            joiner.position.eq(self.position),
            rows.i.valid.eq(joiner.o.valid),
            rows.i.payload.eq(joiner.o.payload),
        ]
        room = Signal(init=1)  # for this one and those of the three cycles before
        m.d.sync += room.eq(rows.level <= self.DEPTH - 4)
        self.walk(m, look_up.o, room, joiner.i)
        return m

    def walk(self, m, loads, room, o):
        """Rows and end marks of load after load; a row of a list is read meanwhile."""
        active, reads = Signal(), Signal()  # reads: active, and the next one is a row of a list
        now = Signal(o.payload.shape(), name="held", reset_less=True)
        left = Signal.like(now.index, name="left", reset_less=True)
        new = loads.payload
        m.d.comb += [
            loads.ready.eq(~active | (o.valid & now.end)),
            self.read.valid.eq(reads & room),
            self.read.payload.list.eq(now.of.list),
            self.read.payload.index.eq(now.index),
            o.valid.eq(active & room & (~reads | self.read.ready)),
            o.payload.eq(now),
        ]
        with m.If(loads.ready):
            m.d.sync += [
                active.eq(loads.valid),
                now.of.eq(new),
                now.index.eq(0),
                now.end.eq(new.total == 0),
                left.eq(new.total),
                reads.eq(loads.valid & new.listed & (new.total != 0)),
            ]
        with m.Elif(o.valid):
            m.d.sync += [
                now.index.eq(now.index + 1),
                now.end.eq(left == 1),
                left.eq(left - 1),
                reads.eq(reads & (left != 1)),
            ]


class ClassWalker(wiring.Component):
    """The id lists of one class, and its rows of K and V loads and, apart from them, of KEY_LSB loads.

    Both read the lists; KEY_LSB goes first.

    Members
    -------
    ids : In(stream.Signature(class_entry, always_ready=True))
    table : In(ArrayLayout(load_info, loads))
    start, start_lsb : In(stream.Signature(load_start, always_ready=True))
    bulk, lsb : Out(stream.Signature(local_row))
    """

    def __init__(self, config: Config, *, channel: int):
        self.config, self.channel = config, channel
        start = In(stream.Signature(load_start(config), always_ready=True))
        row = Out(stream.Signature(local_row(config)))
        super().__init__(
            {
                "ids": In(stream.Signature(class_entry(config), always_ready=True)),
                "table": In(data.ArrayLayout(load_info(config), num_loads(config))),
                "start": start,
                "start_lsb": start,
                "bulk": row,
                "lsb": row,
            }
        )

    def elaborate(self, platform):
        m = Module()
        config = self.config
        m.submodules.list = ids = ChannelList(config, channel=self.channel)
        m.submodules.bulk = bulk = RowWalker(config, channel=self.channel, lsb=False)
        m.submodules.lsb = lsb = RowWalker(config, channel=self.channel, lsb=True)
        connect(m, flipped(self.ids), ids.i)
        for walker, start, o in ((bulk, self.start, self.bulk), (lsb, self.start_lsb, self.lsb)):
            connect(m, flipped(start), walker.start)
            connect(m, walker.o, flipped(o))
            m.d.comb += [
                walker.table.eq(self.table),
                walker.list_count.eq(ids.count),
                walker.index.eq(ids.index),
                walker.position.eq(ids.position),
            ]
        read = Mux(lsb.read.valid, lsb.read.payload.as_value(), bulk.read.payload.as_value())
        m.d.comb += [
            lsb.read.ready.eq(1),
            bulk.read.ready.eq(~lsb.read.valid),
            ids.read_en.eq(lsb.read.valid | bulk.read.valid),
            Cat(ids.read_list, ids.read_index).eq(read),
        ]
        return m
