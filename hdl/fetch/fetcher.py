"""The Q-K-V fetcher: rows of planes from the memory channels to the buffers."""

from __future__ import annotations

from amaranth.hdl import Cat, Module, signed
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out, connect, flipped

from hdl.fetch.channel_fetcher import ChannelFetcher
from hdl.fetch.crossbar import SliceCrossbar
from hdl.fetch.fetch_layouts import LSB_LOADS, kind_of, local_row
from hdl.fetch.gather import Gather, sum_bits
from hdl.fetch.id_list import IdSpread
from hdl.fetch.load_table import LoadTable
from hdl.fetch.query_store import QueryStore
from hdl.fetch.ready_count import ReadyCount
from hdl.fetch.row_issuer import RowIssuer
from hdl.fetch.row_router import RowRouter
from hdl.fetch.row_source import RowSource
from hdl.fetch.row_walker import ClassWalker, RowWalker
from hdl.spec import payloads
from hdl.spec.config import Config
from hdl.spec.payloads import KEY, KEY_LSB, QUERY, VALUE
from hdl.spec.widths import bits_for_count
from hdl.stream.stream_queue import StreamQueue

__all__ = ["Fetcher"]


class Fetcher(wiring.Component):
    """Fetch K, V and Q rows from all channels at once (paper section IV-B; see docs/fetcher.md).

    Commands load rows of a plane to the positions of a region of a buffer; gather lines load chosen V rows; requests
    bring Q rows. Only rows asked for are read, and a word that two neighbouring rows of a load share is read once.
    Channels do not wait for each other. Loads of a kind are complete in the order of their commands.

    Members
    -------
    key, key_lsb, value : In(stream.Signature(fetch_command))
    gather_command : In(stream.Signature(fetch_command))    one per gathered row, in the order of their lines
    gather : In(stream.Signature(gather_line))
    query_request : In(stream.Signature(query_request))
    query : Out(stream.Signature(ArrayLayout(signed(operand_width), max_dim)))    in the order of the requests
    ids : In(stream.Signature(id_write))    in force for commands from the next cycle on
    memory : Out(MemoryPort).array(num_channels)    responses are always accepted
    key_write : Out(BufferWrite).array(key_banks)
    value_write : Out(BufferWrite).array(lanes)
    key_ready, value_ready : Out(seq_width)
        rows with sequence numbers before this one, compared modulo, can be read from the next cycle on
    key_lsb_done : Out(1)    pulse: the oldest LSB load not told yet is complete, and can be read from the next cycle on
    read_words : Out(ArrayLayout(n, 4))    words asked for in the cycle before, by kind; gather is VALUE
    channel_busy : Out(n)    channels with words requested or in flight, in the cycle before
    idle : Out(1)    no load, no gathered row and no Q row is in progress
    """

    COMMAND_LATENCY = LoadTable.LATENCY + RowWalker.LATENCY + RowRouter.LATENCY + RowSource.LATENCY + RowIssuer.LATENCY
    """From a command of a load to its first word request, in an idle Fetcher."""
    QUERY_LATENCY = QueryStore.REQUEST_LATENCY + StreamQueue.LATENCY + RowSource.LATENCY + RowIssuer.LATENCY
    """From a request of a Q row to its first word request, in an idle Fetcher."""

    def __init__(self, config: Config):
        self.config = config
        command = In(stream.Signature(payloads.fetch_command(config)))
        count = bits_for_count(config.num_channels)
        super().__init__(
            {
                **{name: command for name in ("key", "key_lsb", "value", "gather_command")},
                "gather": In(stream.Signature(payloads.gather_line(config))),
                "query_request": In(stream.Signature(payloads.query_request(config))),
                "query": Out(stream.Signature(data.ArrayLayout(signed(config.operand_width), config.max_dim))),
                "ids": In(stream.Signature(payloads.id_write(config))),
                "memory": Out(payloads.MemoryPort(config)).array(config.num_channels),
                "key_write": Out(payloads.BufferWrite(config)).array(config.key_banks),
                "value_write": Out(payloads.BufferWrite(config)).array(config.lanes),
                "key_ready": Out(config.seq_width),
                "value_ready": Out(config.seq_width),
                "key_lsb_done": Out(1),
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
        m.submodules.spread = spread = IdSpread(config)
        m.submodules.ready_count = ready_count = ReadyCount(config)
        m.submodules.crossbar = crossbar = SliceCrossbar(config)
        connect(m, flipped(self.key), table.key)
        connect(m, flipped(self.key_lsb), table.key_lsb)
        connect(m, flipped(self.value), table.value)
        connect(m, flipped(self.gather_command), table.gather)
        connect(m, flipped(self.gather), gather.line)
        connect(m, flipped(self.query_request), queries.request)
        connect(m, queries.o, flipped(self.query))
        connect(m, flipped(self.ids), spread.i)
        connect(m, table.gather_start, gather.start)
        m.d.sync += [
            # A gathered row's first line is read later than that.
            gather.ids.valid.eq(self.ids.valid & self.ids.ready),
            gather.ids.payload.eq(self.ids.payload),
            self.key_lsb_done.eq(ready_count.done[KEY_LSB]),
        ]
        m.d.comb += [
            gather.info.eq(table.info[VALUE * config.loads :]),
            table.list_busy.eq(spread.busy),
            table.done.eq(ready_count.done),
            self.idle.eq(~(table.busy | gather.busy | queries.busy)),
            self.key_ready.eq(ready_count.key_ready),
            self.value_ready.eq(ready_count.value_ready),
        ]
        for head, watched in zip(crossbar.heads, ready_count.heads, strict=True):
            connect(m, head, watched)
        loads = Cat(table.info, queries.info)
        bulk, lsb = self.add_walkers(m, table, spread, loads)
        self.add_channels(m, loads, bulk, lsb, queries, gather, crossbar)
        self.add_targets(m, crossbar, queries)
        return m

    def add_walkers(self, m, table, spread, loads):
        """Rows of K and V loads and of KEY_LSB loads, by channel."""
        config = self.config
        m.submodules.bulk = bulk = RowRouter(config, depth=self.row_depth, loads=2 * config.loads)
        m.submodules.lsb = lsb = RowRouter(config, depth=4, loads=LSB_LOADS)
        for router, start in ((bulk, table.start), (lsb, table.start_lsb)):
            m.d.comb += [router.start.valid.eq(start.valid), router.start.payload.eq(start.payload)]
        for k in range(config.num_channels):
            m.submodules[f"class_{k}"] = walker = ClassWalker(config, channel=k)
            connect(m, spread.o[k], walker.ids)
            connect(m, walker.bulk, bulk.i[k])
            connect(m, walker.lsb, lsb.i[k])
            m.d.comb += [
                walker.table.as_value().eq(loads),
                walker.start.valid.eq(table.start.valid),
                walker.start.payload.eq(table.start.payload),
                walker.start_lsb.valid.eq(table.start_lsb.valid),
                walker.start_lsb.payload.eq(table.start_lsb.payload),
            ]
        return bulk, lsb

    def add_channels(self, m, loads, bulk, lsb, queries, gather, crossbar):
        config = self.config
        asked, busy = [], []
        self._channels = []
        for c in range(config.num_channels):
            m.submodules[f"channel_{c}"] = channel = ChannelFetcher(config)
            self._channels.append(channel)
            m.submodules[f"gather_queue_{c}"] = queue = StreamQueue(local_row(config), depth=self.gather_depth)
            connect(m, gather.rows[c], queue.i)
            connect(m, queue.o, channel.gather)
            m.submodules[f"query_queue_{c}"] = waits = StreamQueue(local_row(config), depth=self.query_depth)
            m.d.comb += [waits.i.valid.eq(queries.rows[c].valid), waits.i.payload.eq(queries.rows[c].payload)]
            connect(m, waits.o, channel.query)
            connect(m, bulk.o[c], channel.bulk)
            connect(m, lsb.o[c], channel.lsb)
            connect(m, channel.memory, flipped(self.memory[c]))
            connect(m, channel.o, crossbar.channels[c])
            m.d.comb += channel.table.as_value().eq(loads)
            asked.append((channel.asked, kind_of(channel.load)))
            busy.append(channel.busy)
        for kind in (KEY, KEY_LSB, VALUE, QUERY):
            m.d.sync += self.read_words[kind].eq(sum_bits(ask & (of == kind) for ask, of in asked))
        m.d.sync += self.channel_busy.eq(sum_bits(busy))

    @property
    def row_depth(self) -> int:
        """Rows of K and V loads that wait per channel: a load's rows spread unevenly over the channels."""
        return max(16, self.config.outstanding // 2)

    @property
    def query_depth(self) -> int:
        """Room for all Q rows that have a place in QueryStore."""
        return max(3, self.config.query_queue)

    @property
    def gather_depth(self) -> int:
        """Rows that wait per channel: the ranks of a row spread unevenly over the channels."""
        return max(8, self.config.outstanding // 2)

    def add_targets(self, m, crossbar, queries):
        for slices, writes in ((crossbar.keys, self.key_write), (crossbar.values, self.value_write)):
            log_banks = len(writes).bit_length() - 1
            for target, write in zip(slices, writes, strict=True):
                tag = target.payload.tag
                m.d.comb += [
                    write.en.eq(target.valid),
                    write.addr.eq(tag.slot >> log_banks),
                    write.high.eq(kind_of(tag.load) != KEY_LSB),
                    write.low.eq(tag.low),
                    # A lane wider than any row is filled up with zeros.
                    write.data.as_value().eq(target.payload.words.as_value()),
                ]
        tag = crossbar.query.payload.tag
        m.d.comb += [
            queries.slice_valid.eq(crossbar.query.valid),
            queries.slice_load.eq(tag.load),
            queries.slice_place.eq(tag.mark),
            queries.slice_index.eq(tag.slot),
            queries.slice_last.eq(tag.row_last),
            queries.slice_words.as_value().eq(crossbar.query.payload.words.as_value()),
        ]
