"""Which row a channel fetches next: Q rows, LSB rows, gathered rows, and the K and V loads in order of arrival."""

from __future__ import annotations

from amaranth.hdl import Cat, Const, Module, Mux, Signal
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

from hdl import layouts
from hdl.config import Config
from hdl.fetch_layouts import (
    channel_position,
    load_info,
    load_width,
    local_row,
    local_rows,
    local_width,
    num_loads,
    pick,
    query_local_row,
    units_per_word,
)
from hdl.id_list import ChannelList
from hdl.layouts import bits_for_count
from hdl.stream_queue import StreamQueue

__all__ = ["RowSource", "RowWalker"]


def sharing_bits(config: Config) -> int:
    return (units_per_word(config) - 1).bit_length()


def sharing(config: Config, row_units):
    """Mask of the bits of a row's index that are all ones if the row ends with a word.

    Rows of ``row_units`` units fill whole words in groups of a power of two.
    """
    return Cat(row_units[: sharing_bits(config) - i].any() for i in range(sharing_bits(config)))


def walk_step(config: Config) -> data.StructLayout:
    """A step of a walker: entry ``index`` of the channel's list, or row ``index`` of the channel."""
    return data.StructLayout(
        {
            "load": load_width(config),
            "index": bits_for_count(local_rows(config)),
            "listed": 1,
            "list": 1,
            "count": config.count_width,
            "sharing": sharing_bits(config),
            "end": 1,
        }
    )


class RowWalker(wiring.Component):
    """Walk the rows of queued loads that lie in one channel, then mark the end of each load.

    Two cycles between loads. The queue holds 4 loads (K and V, both halves): more are never in progress.

    Members
    -------
    start : In(stream.Signature(load, always_ready=True))
    table : In(ArrayLayout(load_info, loads))
    list_count : In(ArrayLayout(n, 2))    entries of the channel's id lists
    o : Out(stream.Signature(walk_step))
    """

    def __init__(self, config: Config, *, channel: int):
        self.config, self.channel = config, channel
        super().__init__(
            {
                "start": In(stream.Signature(load_width(config), always_ready=True)),
                "table": In(data.ArrayLayout(load_info(config), num_loads(config))),
                "list_count": In(data.ArrayLayout(bits_for_count(local_rows(config)), 2)),
                "o": Out(stream.Signature(walk_step(config))),
            }
        )

    def elaborate(self, platform):
        m = Module()
        config = self.config
        m.submodules.queue = queue = StreamQueue(load_width(config), depth=4)
        info = pick(m, queue.o.payload, [self.table[i] for i in range(num_loads(config))], "info")
        log_channels = config.num_channels.bit_length() - 1
        dense = (info.count + Const(config.num_channels - 1 - self.channel)) >> log_channels
        listed = Mux(info.list, self.list_count[1], self.list_count[0])
        total = Signal.like(self.o.payload.index, reset_less=True)
        step = self.o.payload
        m.d.comb += [
            queue.i.valid.eq(self.start.valid),
            queue.i.payload.eq(self.start.payload),
            queue.o.ready.eq(~self.o.valid),
            step.end.eq(step.index == total),
        ]
        held = Signal(walk_step(config), reset_less=True)
        m.d.comb += [step[name].eq(held[name]) for name in ("load", "index", "listed", "list", "count", "sharing")]
        with m.If(self.o.valid & self.o.ready):
            m.d.sync += [held.index.eq(held.index + 1), self.o.valid.eq(~step.end)]
        with m.If(queue.o.valid & queue.o.ready):
            m.d.sync += [
                self.o.valid.eq(1),
                total.eq(Mux(info.listed, listed, dense)),
                held.load.eq(queue.o.payload),
                held.index.eq(0),
                held.listed.eq(info.listed),
                held.list.eq(info.list),
                held.count.eq(info.count),
                held.sharing.eq(sharing(config, info.row_units)),
            ]
        return m


class RowSource(wiring.Component):
    """Rows of one channel, in the order in which their words are requested.

    Priority, a row at a time: Q rows (small, and a query waits for each), KEY_LSB (a recompute waits), gathered V rows
    (a query waits), then K and V loads in order of arrival. None of them can wait for another one: buffers take every
    slice, and Q rows are asked for only when there is room for them. A row of a K or V load that ends within a word
    draws the load's next row behind it, so that the word is not read again behind rows of another kind; they wait for
    one such row at the most. Latency 1, one row a cycle.

    Members
    -------
    start : In(stream.Signature(load, always_ready=True))    loads to walk
    table : In(ArrayLayout(load_info, loads))
    ids : In(stream.Signature(id_write, always_ready=True))
    query : In(stream.Signature(query_local_row))
    gather : In(stream.Signature(local_row))
    throttle : In(1)    take no row of a K or V load, but one that a row taken before draws behind it
    o : Out(stream.Signature(local_row))
    """

    def __init__(self, config: Config, *, channel: int):
        self.config, self.channel = config, channel
        super().__init__(
            {
                "start": In(stream.Signature(load_width(config), always_ready=True)),
                "table": In(data.ArrayLayout(load_info(config), num_loads(config))),
                "ids": In(stream.Signature(layouts.id_write(config), always_ready=True)),
                "query": In(stream.Signature(query_local_row(config))),
                "gather": In(stream.Signature(local_row(config))),
                "throttle": In(1),
                "o": Out(stream.Signature(local_row(config))),
            }
        )

    def elaborate(self, platform):
        m = Module()
        config = self.config
        m.submodules.list = ids = ChannelList(config, channel=self.channel)
        m.submodules.bulk = bulk = RowWalker(config, channel=self.channel)
        m.submodules.lsb = lsb = RowWalker(config, channel=self.channel)
        is_lsb = self.start.payload[1:] == layouts.KEY_LSB
        m.d.comb += [ids.ids.valid.eq(self.ids.valid), ids.ids.payload.eq(self.ids.payload)]
        for walker, mine in ((bulk, ~is_lsb), (lsb, is_lsb)):
            m.d.comb += [
                walker.table.eq(self.table),
                walker.list_count.eq(ids.count),
                walker.start.valid.eq(self.start.valid & mine),
                walker.start.payload.eq(self.start.payload),
            ]
        self.select(m, ids, lsb.o, bulk.o)
        return m

    def select(self, m, ids, lsb, bulk):
        """Choose the source of the next row; the row of a listed load is known in the cycle after."""
        config = self.config
        valid, listed, is_bulk = Signal(), Signal(reset_less=True), Signal(reset_less=True)
        count = Signal(config.count_width, reset_less=True)
        mask = Signal(sharing_bits(config), reset_less=True)
        drawn = Signal()  # a row before has drawn this one behind it
        row = Signal(local_row(config), reset_less=True)
        skip = listed & ~row.end & (ids.position >= count)
        enable = ~valid | skip | self.o.ready
        draw = Signal()
        index = self.o.payload.index
        m.d.comb += [
            self.o.valid.eq(valid & ~skip),
            self.o.payload.eq(row),
            draw.eq(
                self.o.valid
                & is_bulk
                & ~row.end
                & ~drawn
                & (mask & ~Cat(index, Const(0, len(mask)))[: len(mask)]).any()
            ),
        ]
        with m.If(listed & ~row.end):
            m.d.comb += [index.eq(ids.index), self.o.payload.position.eq(ids.position)]
        # Not before KEY_LSB: which entry of the list is read next must not depend on the one read now.
        follow = draw & bulk.valid & ~lsb.valid
        urgent = Cat(source.valid for source in (self.query, lsb, self.gather)).any()
        take = Signal()
        m.d.comb += [
            take.eq(bulk.valid & (follow | (~urgent & ~self.throttle))),
            self.query.ready.eq(enable & ~follow),
            lsb.ready.eq(enable & ~self.query.valid),
            self.gather.ready.eq(enable & ~follow & ~self.query.valid & ~lsb.valid),
            bulk.ready.eq(enable & (follow | (~urgent & ~self.throttle))),
        ]
        step = data.View(
            walk_step(config), Mux(lsb.valid & ~self.query.valid, lsb.payload.as_value(), bulk.payload.as_value())
        )
        m.d.comb += [ids.read_en.eq(enable), ids.read_list.eq(step.list), ids.read_index.eq(step.index)]
        with m.If(enable):
            m.d.sync += [
                valid.eq(urgent | take),
                is_bulk.eq(take),
                drawn.eq(follow),
                listed.eq(step.listed & (take | (lsb.valid & ~self.query.valid))),
                count.eq(step.count),
                mask.eq(step.sharing),
                row.load.eq(step.load),
                row.index.eq(step.index[: local_width(config)]),
                row.position.eq(channel_position(config, self.channel, step.index)),
                row.end.eq(step.end),
            ]
            with m.If(self.query.valid & ~follow):
                query = self.query.payload
                m.d.sync += [row.load.eq(query.load), row.index.eq(query.index), row.position.eq(0), row.end.eq(0)]
            with m.Elif(self.gather.valid & ~lsb.valid & ~follow):
                m.d.sync += row.eq(self.gather.payload)
