"""Rows to gather: keep masks to rows and buffer positions, spread over the channels."""

from __future__ import annotations

from amaranth.hdl import Cat, Const, Module, Mux, Signal
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out, connect, flipped

from hdl.fetch.fetch_layouts import load_info, load_width, local_row, pick
from hdl.fetch.id_list import PositionList
from hdl.spec import payloads
from hdl.spec.config import Config
from hdl.stream.stream_queue import StreamQueue
from hdl.stream.stream_skid import StreamSkid

__all__ = ["ChannelPick", "Gather", "LineRanker", "LineSpread", "ranked_line", "sum_bits"]


def ranked_rows(config: Config) -> data.ArrayLayout:
    """The channel and the place of each row of a line."""
    row = {
        "channel": config.channel_bits,
        "index": local_row(config)["index"].shape,
        "position": config.count_width,
    }
    return data.ArrayLayout(data.StructLayout(row), config.lanes)


def ranked_line(config: Config) -> data.StructLayout:
    """A line of kept positions, ranked."""
    return data.StructLayout({"load": load_width(config), "mask": config.lanes, "last": 1, "rows": ranked_rows(config)})


class LineRanker(wiring.Component):
    """Rank the kept positions of the lines of each row, and look their rows up. Latency 1, one line a cycle.

    Lines and starts come from queues; a line waits for the start of its row.

    Members
    -------
    start : In(stream.Signature(load))    a row begins
    line : In(stream.Signature(gather_line))
    info : In(ArrayLayout(load_info, loads))    of the VALUE loads
    ids : In(stream.Signature(id_write, always_ready=True))
    o : Out(stream.Signature(ranked_line))
    """

    LATENCY = 1

    def __init__(self, config: Config):
        self.config = config
        super().__init__(
            {
                "start": In(stream.Signature(load_width(config))),
                "line": In(stream.Signature(payloads.gather_line(config))),
                "info": In(data.ArrayLayout(load_info(config), config.loads)),
                "ids": In(stream.Signature(payloads.id_write(config), always_ready=True)),
                "o": Out(stream.Signature(ranked_line(config))),
            }
        )

    def elaborate(self, platform):
        m = Module()
        config, log_lanes = self.config, self.config.lanes.bit_length() - 1
        m.submodules.list = ids = PositionList(config)
        m.submodules.skid = skid = StreamSkid(ranked_line(config))
        connect(m, flipped(self.ids), ids.ids)
        connect(m, skid.o, flipped(self.o))
        enable, line, load = skid.i.ready, self.line.payload, self.start.payload
        info = pick(m, load[: config.load_width], [self.info[i] for i in range(config.loads)], "info_now")
        taken = {"load": load_width(config), "mask": config.lanes, "last": 1, "listed": 1}
        taken |= {"word": ids.word_width, "skew": config.channel_bits}
        now, valid = Signal(data.StructLayout(taken), reset_less=True), Signal()
        m.d.comb += [
            self.line.ready.eq(enable & self.start.valid),
            self.start.ready.eq(enable & self.line.valid & line.last),
            ids.read_en.eq(enable),
            ids.read_list.eq(info.list),
            ids.read_word.eq(line.start >> log_lanes),
        ]
        with m.If(enable):
            m.d.sync += [
                valid.eq(self.line.valid & self.start.valid),
                now.load.eq(load),
                # The lines of a word do not overlap: S divides lanes, and start is a multiple of S.
                now.mask.eq(line.keep << line.start[:log_lanes]),
                now.word.eq(line.start >> log_lanes),
                now.last.eq(line.last),
                now.listed.eq(info.listed),
                now.skew.eq(info.skew),
            ]
        m.d.comb += skid.i.valid.eq(valid)
        self.rank(m, now, valid & enable, ids.rows, skid.i.payload)
        return m

    def rank(self, m, line, passes, ids, o):
        """Rank, channel and place of each row."""
        config, mask = self.config, line.mask
        log_channels, log_lanes = config.num_channels.bit_length() - 1, config.lanes.bit_length() - 1
        rank = Signal(config.count_width)
        with m.If(passes):
            m.d.sync += rank.eq(Mux(line.last, 0, rank + sum_bits(mask)))
        m.d.comb += [o.load.eq(line.load), o.mask.eq(mask), o.last.eq(line.last)]
        for i, item in enumerate(o.rows):
            row = Mux(line.listed, ids[i], Cat(Const(i, log_lanes), line.word))
            m.d.comb += [
                item.channel.eq(row[:log_channels] + line.skew),
                item.index.eq(row >> log_channels),
                item.position.eq(rank + sum_bits(mask[:i]) if i else rank),
            ]


class ChannelPick(wiring.Component):
    """What one channel gets in a cycle: the lowest of its pending rows, or its end mark. Combinational.

    Members
    -------
    pending : In(lanes)    rows of the line that have not gone
    rows : In(ranked_rows)
    load : In(n)        of the line
    end : In(1)         an end mark waits
    end_load : In(n)    of the end mark
    same : In(1)        the end mark belongs to the row of this line: it comes after the line's rows
    o : Out(stream.Signature(local_row))
    gone : Out(lanes)    the row that leaves in this cycle, one-hot
    left : Out(1)       a row of the line remains after this cycle
    end_left : Out(1)    the end mark remains after this cycle
    """

    def __init__(self, config: Config, *, channel: int):
        self.config, self.channel = config, channel
        super().__init__(
            {
                "pending": In(config.lanes),
                "rows": In(ranked_rows(config)),
                "load": In(load_width(config)),
                "end": In(1),
                "end_load": In(load_width(config)),
                "same": In(1),
                "o": Out(stream.Signature(local_row(config))),
                "gone": Out(config.lanes),
                "left": Out(1),
                "end_left": Out(1),
            }
        )

    def elaborate(self, platform):
        m = Module()
        lanes, several = range(self.config.lanes), self.config.num_channels > 1
        o, rows = self.o, self.rows
        mine, end = Signal(self.config.lanes), Signal()
        m.d.comb += [
            mine.eq(Cat(self.pending[i] & ((rows[i].channel == self.channel) if several else 1) for i in lanes)),
            end.eq(self.end & ~(self.same & mine.any())),
            o.valid.eq(mine.any() | end),
            o.payload.end.eq(end),
            o.payload.load.eq(Mux(end, self.end_load, self.load)),
            o.payload.joined.eq(end),  # not read of gathered rows
        ]
        for i in reversed(lanes):
            with m.If(mine[i] & ~end):
                m.d.comb += [o.payload.index.eq(rows[i].index), o.payload.position.eq(rows[i].position)]
        lowest = Cat(mine[i] & ~mine[:i].any() for i in lanes)
        # ``o.ready & ~end``, written out: the next line waits for it.
        any_goes = o.ready & (self.same | ~self.end)
        m.d.comb += [
            self.gone.eq(lowest & (o.ready & ~end).replicate(len(mine))),
            self.left.eq((mine & ~lowest).any() | (mine.any() & ~any_goes)),
            self.end_left.eq(self.end & ~(o.ready & ~(self.same & mine.any()))),
        ]
        return m


class LineSpread(wiring.Component):
    """The lowest row of a line for each channel goes to its queue, until all have gone.

    A channel that has got its rows of the last line gets its end mark. The next row's first lines are taken meanwhile:
    their rows come after the channel's mark, their own marks after all marks are gone. Latency 1; a line takes as many
    cycles as there are rows of it in one channel.

    Members
    -------
    i : In(stream.Signature(ranked_line))
    rows : Out(stream.Signature(local_row)).array(num_channels)
    busy : Out(1)    rows or end marks wait
    """

    LATENCY = 1

    def __init__(self, config: Config):
        self.config = config
        super().__init__(
            {
                "i": In(stream.Signature(ranked_line(config))),
                "rows": Out(stream.Signature(local_row(config))).array(config.num_channels),
                "busy": Out(1),
            }
        )

    def elaborate(self, platform):
        m = Module()
        config, line = self.config, self.i.payload
        pending, ends = Signal(config.lanes), Signal(config.num_channels)
        load, end_load = (Signal(load_width(config), name=name, reset_less=True) for name in ("load", "end_load"))
        same = Signal(reset_less=True)  # the end marks belong to the row of this line
        rows = Signal(ranked_rows(config), reset_less=True)
        picks = [ChannelPick(config, channel=c) for c in range(config.num_channels)]
        gone = Const(0, config.lanes)
        for c, channel in enumerate(picks):
            m.submodules[f"pick_{c}"] = channel
            connect(m, channel.o, flipped(self.rows[c]))
            gone = gone | channel.gone
            m.d.comb += [
                channel.pending.eq(pending),
                channel.rows.eq(rows),
                channel.load.eq(load),
                channel.end.eq(ends[c]),
                channel.end_load.eq(end_load),
                channel.same.eq(same),
            ]
        ends_left = Cat(channel.end_left for channel in picks)
        left = Cat(channel.left for channel in picks)
        m.d.comb += self.i.ready.eq(~left.any() & ~(line.last & ends_left.any()))
        m.d.comb += self.busy.eq(pending.any() | ends.any())
        m.d.sync += [pending.eq(pending & ~gone), ends.eq(ends_left)]
        with m.If(self.i.ready & self.i.valid):
            m.d.sync += [pending.eq(line.mask), load.eq(line.load), same.eq(line.last), rows.eq(line.rows)]
            with m.If(line.last):
                m.d.sync += [ends.eq(-1), end_load.eq(line.load)]
        return m


class Gather(wiring.Component):
    """Give each kept key position its rank among the kept ones, and its V row to the row's channel.

    Takes a line a cycle, of row after row. Lines without a kept position go no further; the others wait in a queue, as
    a line takes as many cycles as there are rows of it in one channel. After a row's last line every channel gets an
    end mark, while the next row's lines go on. Latency 4.

    Members
    -------
    start : In(stream.Signature(load))    a row begins; up to START_DEPTH may wait
    info : In(ArrayLayout(load_info, loads))    of the VALUE loads
    ids : In(stream.Signature(id_write, always_ready=True))
    line : In(stream.Signature(gather_line))    may come before the row's start
    rows : Out(stream.Signature(local_row)).array(num_channels)
    busy : Out(1)    a row that was started is not finished
    """

    LATENCY = 4
    START_DEPTH = 4
    LINE_DEPTH = 4

    def __init__(self, config: Config):
        self.config = config
        super().__init__(
            {
                "start": In(stream.Signature(load_width(config))),
                "info": In(data.ArrayLayout(load_info(config), config.loads)),
                "ids": In(stream.Signature(payloads.id_write(config), always_ready=True)),
                "line": In(stream.Signature(payloads.gather_line(config))),
                "rows": Out(stream.Signature(local_row(config))).array(config.num_channels),
                "busy": Out(1),
            }
        )

    def elaborate(self, platform):
        m = Module()
        config = self.config
        m.submodules.starts = starts = StreamQueue(load_width(config), depth=self.START_DEPTH)
        m.submodules.lines = lines = StreamQueue(payloads.gather_line(config), depth=self.LINE_DEPTH)
        m.submodules.ranker = ranker = LineRanker(config)
        m.submodules.spread = spread = LineSpread(config)
        connect(m, flipped(self.start), starts.i)
        connect(m, starts.o, ranker.start)
        connect(m, lines.o, ranker.line)
        connect(m, flipped(self.ids), ranker.ids)
        connect(m, ranker.o, spread.i)
        for rows, port in zip(spread.rows, self.rows, strict=True):
            connect(m, rows, flipped(port))
        wanted = self.line.payload.keep.any() | self.line.payload.last
        m.d.comb += [
            lines.i.payload.eq(self.line.payload),
            lines.i.valid.eq(self.line.valid & wanted),
            self.line.ready.eq(lines.i.ready),
            ranker.info.eq(self.info),
            self.busy.eq((starts.level != 0) | ranker.o.valid | spread.busy),
        ]
        return m


def sum_bits(bits):
    """Number of ones, by a balanced tree."""
    values = list(bits)
    while len(values) > 1:
        values = [values[i] + values[i + 1] if i + 1 < len(values) else values[i] for i in range(0, len(values), 2)]
    return values[0]
