"""Rows to gather: keep masks to rows and buffer positions, spread over the channels."""

from __future__ import annotations

from amaranth.hdl import Cat, Const, Module, Mux, Signal
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out, connect, flipped

from hdl import layouts
from hdl.config import Config
from hdl.fetch_layouts import load_info, load_width, local_row, pick
from hdl.id_list import PositionList
from hdl.stream_queue import StreamQueue

__all__ = ["Gather", "sum_bits"]


class Gather(wiring.Component):
    """Give each kept key position its rank among the kept ones, and its V row to the row's channel.

    Takes a line a cycle, of row after row. Lines without a kept position go no further; the others wait in a queue, as
    a line takes as many cycles as there are rows of it in one channel. Behind a row's last line every channel gets an
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
                "ids": In(stream.Signature(layouts.id_write(config), always_ready=True)),
                "line": In(stream.Signature(layouts.gather_line(config))),
                "rows": Out(stream.Signature(local_row(config))).array(config.num_channels),
                "busy": Out(1),
            }
        )

    def elaborate(self, platform):
        m = Module()
        config = self.config
        log_channels, log_lanes = config.num_channels.bit_length() - 1, config.lanes.bit_length() - 1
        m.submodules.starts = starts = StreamQueue(load_width(config), depth=self.START_DEPTH)
        m.submodules.lines = lines = StreamQueue(layouts.gather_line(config), depth=self.LINE_DEPTH)
        m.submodules.list = ids = PositionList(config)
        connect(m, flipped(self.start), starts.i)
        connect(m, flipped(self.ids), ids.ids)
        wanted = self.line.payload.keep.any() | self.line.payload.last
        m.d.comb += [
            lines.i.payload.eq(self.line.payload),
            lines.i.valid.eq(self.line.valid & wanted),
            self.line.ready.eq(lines.i.ready),
        ]
        # Stage 1: the line's mask and row, and the ids of its positions.
        valid, load = Signal(), Signal(load_width(config), reset_less=True)
        mask, last = Signal(config.lanes, reset_less=True), Signal(reset_less=True)
        word = Signal(ids.word_width, reset_less=True)
        listed, skew = Signal(reset_less=True), Signal(config.channel_bits, reset_less=True)
        free = Signal()
        enable = ~valid | free
        line = lines.o.payload
        info = pick(m, starts.o.payload[: config.load_width], [self.info[i] for i in range(config.loads)], "info_now")
        m.d.comb += [
            lines.o.ready.eq(enable & starts.o.valid),
            starts.o.ready.eq(enable & lines.o.valid & line.last),
            ids.read_en.eq(enable),
            ids.read_list.eq(info.list),
            ids.read_word.eq(line.start >> log_lanes),
        ]
        with m.If(enable):
            m.d.sync += [
                valid.eq(lines.o.valid & starts.o.valid),
                load.eq(starts.o.payload),
                # The lines of a word do not overlap: S divides lanes, and start is a multiple of S.
                mask.eq(line.keep << line.start[:log_lanes]),
                word.eq(line.start >> log_lanes),
                last.eq(line.last),
                listed.eq(info.listed),
                skew.eq(info.skew),
            ]
        # Stage 2: rank, channel and place of each row.
        rank = Signal(config.count_width)
        with m.If(valid & free):
            m.d.sync += rank.eq(Mux(last, 0, rank + sum_bits(mask)))
        rows = []
        for i in range(config.lanes):
            row = Mux(listed, ids.rows[i], Cat(Const(i, log_lanes), word))
            position = rank + sum_bits(mask[:i]) if i else rank
            rows.append((row[:log_channels] + skew, row >> log_channels, position))
        spread_busy = self.spread(m, valid, load, mask, last, rows, free)
        m.d.comb += self.busy.eq((starts.level != 0) | valid | spread_busy)
        return m

    def spread(self, m, new_valid, new_load, new_mask, new_last, new_rows, free):
        """The lowest row of the line for each channel goes to its queue, until all have gone.

        A channel that has got its rows of the last line gets its end mark. The next row's first lines are taken
        meanwhile: their rows wait behind the channel's mark, their own marks until all marks are gone.
        """
        config = self.config
        log_channels = config.num_channels.bit_length() - 1
        shape = local_row(config)
        pending, ends = Signal(config.lanes), Signal(config.num_channels)
        load, end_load = Signal.like(new_load), Signal.like(new_load)
        same = Signal(reset_less=True)  # the end marks belong to the row of this line
        channel = [Signal(config.channel_bits, name=f"channel_{i}", reset_less=True) for i in range(config.lanes)]
        index = [Signal(shape["index"].shape, name=f"index_{i}", reset_less=True) for i in range(config.lanes)]
        position = [Signal(config.count_width, name=f"position_{i}", reset_less=True) for i in range(config.lanes)]
        gone, ends_next = Const(0, config.lanes), Signal.like(ends)
        m.d.comb += ends_next.eq(ends)
        for c, port in enumerate(self.rows):
            mine, end = Signal(config.lanes, name=f"mine_{c}"), Signal(name=f"end_{c}")
            m.d.comb += [
                mine.eq(Cat(pending[i] & ((channel[i] == c) if log_channels else 1) for i in range(config.lanes))),
                end.eq(ends[c] & ~(same & mine.any())),
                port.valid.eq(mine.any() | end),
                port.payload.end.eq(end),
                port.payload.partial.eq(end),  # not read of gathered rows
                port.payload.load.eq(Mux(end, end_load, load)),
            ]
            for i in reversed(range(config.lanes)):
                with m.If(mine[i] & ~end):
                    m.d.comb += [port.payload.index.eq(index[i]), port.payload.position.eq(position[i])]
            with m.If(port.ready & end):
                m.d.comb += ends_next[c].eq(0)
            gone = gone | Mux(port.ready & ~end, mine & (~mine + 1), 0)
        left = pending & ~gone
        m.d.comb += free.eq(~left.any() & ~(new_last & ends_next.any()))
        m.d.sync += [pending.eq(left), ends.eq(ends_next)]
        with m.If(free & new_valid):
            m.d.sync += [pending.eq(new_mask), load.eq(new_load), same.eq(new_last)]
            for lane, (new_channel, new_index, new_position) in enumerate(new_rows):
                m.d.sync += [
                    channel[lane].eq(new_channel),
                    index[lane].eq(new_index),
                    position[lane].eq(new_position),
                ]
            with m.If(new_last):
                m.d.sync += [ends.eq(-1), end_load.eq(new_load)]
        return pending.any() | ends.any()


def sum_bits(bits):
    """Number of ones, by a balanced tree."""
    values = list(bits)
    while len(values) > 1:
        values = [values[i] + values[i + 1] if i + 1 < len(values) else values[i] for i in range(0, len(values), 2)]
    return values[0]
