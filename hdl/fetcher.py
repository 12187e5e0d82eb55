"""The Q-K-V fetcher: rows of planes from the memory channels to the buffers."""

from __future__ import annotations

from amaranth.hdl import Cat, Module, Signal, signed
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out, connect, flipped

from hdl import layouts
from hdl.channel_fetcher import ChannelFetcher
from hdl.config import Config
from hdl.crossbar import SliceCrossbar
from hdl.fetch_layouts import local_row
from hdl.gather import Gather, sum_bits
from hdl.layouts import KEY, KEY_LSB, QUERY, VALUE, bits_for_count
from hdl.load_table import LoadTable
from hdl.query_store import QueryStore
from hdl.ready_count import ReadyCount
from hdl.stream_queue import StreamQueue

__all__ = ["Fetcher"]


class Fetcher(wiring.Component):
    """Fetch K, V and Q rows from all channels at once (paper section IV-B; see docs/fetcher.md).

    Commands load rows of a plane to the positions of a buffer half; gather lines load chosen V rows; requests bring Q
    rows. Only rows asked for are read, and a word that two neighbouring rows of a load share is read once. Channels
    do not wait for each other. A command for a half that is still being loaded waits until that load is complete.

    Members
    -------
    key, key_lsb, value : In(stream.Signature(fetch_command))
    gather_command : In(stream.Signature(fetch_command))    one per gathered row, before its lines
    gather : In(stream.Signature(gather_line))
    query_request : In(stream.Signature(query_request))
    query : Out(stream.Signature(ArrayLayout(signed(operand_width), max_dim)))    in the order of the requests
    ids : In(stream.Signature(id_write))    always ready; in force for commands from the next cycle on
    memory : Out(MemoryPort).array(num_channels)    responses are always accepted
    key_write, value_write : Out(BufferWrite).array(lanes)
    key_ready, key_lsb_ready, value_ready : Out(ArrayLayout(count_width, 2))
        positions 0…n-1 of the half can be read; 0 from the cycle behind the command's, all ones when complete
    read_words : Out(ArrayLayout(n, 4))    word requests accepted in the cycle before, by kind; gather is VALUE
    channel_busy : Out(n)    channels with words requested or in flight, in the cycle before
    idle : Out(1)    no load, no gathered row and no Q row is in progress
    """

    def __init__(self, config: Config):
        self.config = config
        command = In(stream.Signature(layouts.fetch_command(config)))
        ready = Out(data.ArrayLayout(config.count_width, 2))
        count = bits_for_count(config.num_channels)
        super().__init__(
            {
                **{name: command for name in ("key", "key_lsb", "value", "gather_command")},
                "gather": In(stream.Signature(layouts.gather_line(config))),
                "query_request": In(stream.Signature(layouts.query_request(config))),
                "query": Out(stream.Signature(data.ArrayLayout(signed(config.operand_width), config.max_dim))),
                "ids": In(stream.Signature(layouts.id_write(config))),
                "memory": Out(layouts.MemoryPort(config)).array(config.num_channels),
                "key_write": Out(layouts.BufferWrite(config)).array(config.lanes),
                "value_write": Out(layouts.BufferWrite(config)).array(config.lanes),
                **{name: ready for name in ("key_ready", "key_lsb_ready", "value_ready")},
                "read_words": Out(data.ArrayLayout(count, 4)),
                "channel_busy": Out(count),
                "idle": Out(1),
            }
        )

    def elaborate(self, platform):
        m = Module()
        config = self.config
        m.submodules.table = table = LoadTable(config)
        m.submodules.queries = queries = QueryStore(config)
        m.submodules.gather = gather = Gather(config)
        m.submodules.ready_count = ready_count = ReadyCount(config)
        m.submodules.crossbar = crossbar = SliceCrossbar(config)
        connect(m, flipped(self.key), table.key)
        connect(m, flipped(self.key_lsb), table.key_lsb)
        connect(m, flipped(self.value), table.value)
        connect(m, flipped(self.gather_command), table.gather)
        connect(m, flipped(self.gather), gather.line)
        connect(m, flipped(self.query_request), queries.request)
        connect(m, queries.o, flipped(self.query))
        connect(m, table.clear, ready_count.clear)
        connect(m, table.gather_start, gather.start)
        m.d.comb += [
            self.ids.ready.eq(1),
            gather.info.eq(table.info),
            table.busy.eq(ready_count.busy),
            table.gather_busy.eq(gather.busy),
            self.idle.eq(~(ready_count.busy.any() | gather.busy | queries.busy)),
            Cat(self.key_ready, self.key_lsb_ready, self.value_ready).eq(ready_count.ready),
        ]
        self.add_channels(m, table, queries, gather, ready_count, crossbar)
        self.add_targets(m, crossbar, queries)
        return m

    def add_channels(self, m, table, queries, gather, ready_count, crossbar):
        config = self.config
        ids_valid = Signal()
        ids = Signal(layouts.id_write(config), reset_less=True)
        m.d.sync += [ids_valid.eq(self.ids.valid), ids.eq(self.ids.payload)]
        m.d.comb += [gather.ids.valid.eq(ids_valid), gather.ids.payload.eq(ids)]
        loads = Cat(table.info, queries.info)
        accepted, busy = [], []
        self._channels = []
        for c in range(config.num_channels):
            m.submodules[f"channel_{c}"] = channel = ChannelFetcher(config, channel=c)
            self._channels.append(channel)
            m.submodules[f"gather_queue_{c}"] = queue = StreamQueue(local_row(config), depth=self.gather_depth)
            connect(m, gather.rows[c], queue.i)
            connect(m, queue.o, channel.gather)
            connect(m, queries.rows[c], channel.query)
            connect(m, channel.memory, flipped(self.memory[c]))
            connect(m, channel.o, crossbar.channels[c])
            request = self.memory[c].request
            m.d.comb += [
                channel.table.as_value().eq(loads),
                channel.start.valid.eq(table.start.valid),
                channel.start.payload.eq(table.start.payload),
                channel.ids.valid.eq(ids_valid),
                channel.ids.payload.eq(ids),
                ready_count.heads[c].valid.eq(channel.o.valid),
                ready_count.heads[c].payload.tag.eq(channel.o.payload.tag),
                ready_count.heads[c].payload.accepted.eq(channel.o.ready),
            ]
            accepted.append((request.valid & request.ready, channel.load[1:]))
            busy.append(channel.busy)
        for kind in (KEY, KEY_LSB, VALUE):
            m.d.sync += self.read_words[kind].eq(sum_bits(take & (load == kind) for take, load in accepted))
        m.d.sync += self.read_words[QUERY].eq(sum_bits(take & (load >= QUERY) for take, load in accepted))
        m.d.sync += self.channel_busy.eq(sum_bits(busy))

    @property
    def gather_depth(self) -> int:
        """Rows that wait per channel: the ranks of a row spread unevenly over the channels."""
        return max(8, self.config.outstanding // 2)

    def add_targets(self, m, crossbar, queries):
        log_lanes = self.config.lanes.bit_length() - 1
        for slices, writes in ((crossbar.keys, self.key_write), (crossbar.values, self.value_write)):
            for target, write in zip(slices, writes, strict=True):
                tag = target.payload.tag
                m.d.comb += [
                    write.en.eq(target.valid),
                    write.half.eq(tag.load[0]),
                    write.addr.eq(tag.slot >> log_lanes),
                    write.high.eq(tag.load[1:3] != KEY_LSB),
                    write.low.eq(tag.low),
                    # A lane wider than any row is filled up with zeros.
                    write.data.as_value().eq(target.payload.words.as_value()),
                ]
        tag = crossbar.query.payload.tag
        m.d.comb += [
            queries.slice_valid.eq(crossbar.query.valid),
            queries.slice_load.eq(tag.load),
            queries.slice_index.eq(tag.slot),
            queries.slice_last.eq(tag.row_last),
            queries.slice_words.as_value().eq(crossbar.query.payload.words.as_value()),
        ]
