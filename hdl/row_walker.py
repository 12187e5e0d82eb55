"""The rows of K and V loads, class by class (row mod channels)."""

from __future__ import annotations

from amaranth.hdl import Cat, Const, Module, Mux, Signal
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out, connect, flipped

from hdl.config import Config
from hdl.fetch_layouts import (
    LSB_LOADS,
    channel_position,
    load_info,
    load_start,
    load_width,
    local_row,
    local_rows,
    local_width,
    num_loads,
    pick,
    units_per_word,
)
from hdl.id_list import ChannelList, class_entry
from hdl.layouts import bits_for_count
from hdl.stream_queue import StreamQueue

__all__ = ["ClassWalker", "RowWalker"]


def sharing_bits(config: Config) -> int:
    return (units_per_word(config) - 1).bit_length()


def sharing(config: Config, row_units):
    """Mask of the bits of a row's index that are all ones if the row ends with a word.

    Rows of ``row_units`` units fill whole words in groups of a power of two.
    """
    return Cat(row_units[: sharing_bits(config) - i].any() for i in range(sharing_bits(config)))


def list_read(config: Config) -> data.StructLayout:
    """Read entry ``index`` of a list of the class."""
    return data.StructLayout({"list": 1, "index": bits_for_count(local_rows(config))})


class RowWalker(wiring.Component):
    """Walk the rows of loads in one class, in order of the loads, then mark the end of each load.

    A row or an end mark a cycle; the next load follows without a gap. A listed load takes all rows of its list. Latency
    5 from the start of a load.

    Members
    -------
    start : In(stream.Signature(load_start, always_ready=True))    at most ``loads`` that are not walked
    table : In(ArrayLayout(load_info, loads))
    list_count : In(ArrayLayout(n, 2))    entries of the class's id lists
    read : Out(stream.Signature(list_read))    an entry of a list is wanted: ``index`` and ``position`` a cycle later
    index, position : In
    o : Out(stream.Signature(local_row))
    """

    def __init__(self, config: Config, *, channel: int, loads: int):
        self.config, self.channel, self.loads = config, channel, loads
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
        m.submodules.loads = loads = StreamQueue(load_width(config), depth=max(3, self.loads))
        m.submodules.rows = rows = StreamQueue(local_row(config), depth=4)
        connect(m, rows.o, flipped(self.o))
        active = Signal()
        index, total = (Signal(bits_for_count(local_rows(config)), name=n, reset_less=True) for n in ("at", "total"))
        held = Signal(
            data.StructLayout(
                {
                    "load": load_width(config),
                    "listed": 1,
                    "list": 1,
                    "sharing": sharing_bits(config),
                }
            ),
            reset_less=True,
        )
        end, step = index == total, Signal()
        # Room for this one and the one that is being read.
        wanted = active & (rows.level <= 2)
        listed = held.listed & ~end
        m.d.comb += [
            loads.i.valid.eq(self.start.valid),
            loads.i.payload.eq(self.start.payload.load),
            loads.o.ready.eq(~active | (step & end)),
            self.read.valid.eq(wanted & listed),
            self.read.payload.list.eq(held.list),
            self.read.payload.index.eq(index),
            step.eq(wanted & (~listed | self.read.ready)),
        ]
        with m.If(step):
            m.d.sync += index.eq(index + 1)
        info = pick(m, loads.o.payload, [self.table[i] for i in range(num_loads(config))], "info")
        log_channels = config.num_channels.bit_length() - 1
        dense = (info.count + Const(config.num_channels - 1 - self.channel)) >> log_channels
        with m.If(loads.o.ready):
            m.d.sync += [
                active.eq(loads.o.valid),
                index.eq(0),
                total.eq(Mux(info.listed, Mux(info.list, self.list_count[1], self.list_count[0]), dense)),
                held.load.eq(loads.o.payload),
                held.listed.eq(info.listed),
                held.list.eq(info.list),
                held.sharing.eq(sharing(config, info.row_units)),
            ]
        self.finish(m, step, end, index, held, rows.i)
        return m

    def finish(self, m, step, end, index, held, o):
        """The row is known a cycle after the step."""
        config = self.config
        valid, dense = Signal(), Signal.like(index, reset_less=True)
        now = Signal(held.shape(), name="now", reset_less=True)
        is_end = Signal(reset_less=True)
        m.d.sync += [valid.eq(step), is_end.eq(end), dense.eq(index), now.eq(held)]
        row = o.payload
        low = Cat(row.index, Const(0, sharing_bits(config)))[: sharing_bits(config)]
        m.d.comb += [
            o.valid.eq(valid),
            row.load.eq(now.load),
            row.index.eq(Mux(now.listed, self.index, dense)),
            row.position.eq(Mux(now.listed, self.position, channel_position(config, self.channel, dense))),
            row.partial.eq((now.sharing & ~low).any()),
            row.end.eq(is_end),
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
        m.submodules.bulk = bulk = RowWalker(config, channel=self.channel, loads=2 * config.loads)
        m.submodules.lsb = lsb = RowWalker(config, channel=self.channel, loads=LSB_LOADS)
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
