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
                "ids": In(stream.Signature(payloads.id_write(config), always_ready=True)),
                "line": In(stream.Signature(payloads.gather_line(config))),
                "rows": Out(stream.Signature(local_row(config))).array(config.num_channels),
                "busy": Out(1),
            }
        )

    def elaborate(self, platform):
        m = Module()
        config = self.config
        log_channels, log_lanes = config.num_channels.bit_length() - 1, config.lanes.bit_length() - 1
        m.submodules.starts = starts = StreamQueue(load_width(config), depth=self.START_DEPTH)
        m.submodules.lines = lines = StreamQueue(payloads.gather_line(config), depth=self.LINE_DEPTH)
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
        m.submodules.skid = skid = StreamSkid(self.ranked_line())
        enable = skid.i.ready
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
        with m.If(valid & enable):
            m.d.sync += rank.eq(Mux(last, 0, rank + sum_bits(mask)))
        ranked = skid.i.payload
        m.d.comb += [skid.i.valid.eq(valid), ranked.load.eq(load), ranked.mask.eq(mask), ranked.last.eq(last)]
        for i, item in enumerate(ranked.rows):
            row = Mux(listed, ids.rows[i], Cat(Const(i, log_lanes), word))
            m.d.comb += [
                item.channel.eq(row[:log_channels] + skew),
                item.index.eq(row >> log_channels),
                item.position.eq(rank + sum_bits(mask[:i]) if i else rank),
            ]
        spread_busy = self.spread(m, skid.o)
        m.d.comb += self.busy.eq((starts.level != 0) | skid.o.valid | spread_busy)
        return m

    def ranked_line(self):
        """A line with the channel and the place of each of its rows."""
        config = self.config
        row = {
            "channel": config.channel_bits,
            "index": local_row(config)["index"].shape,
            "position": config.count_width,
        }
        return data.StructLayout(
            {
                "load": load_width(config),
                "mask": config.lanes,
                "last": 1,
                "rows": data.ArrayLayout(data.StructLayout(row), config.lanes),
            }
        )

    def spread(self, m, new):
        """The lowest row of the line for each channel goes to its queue, until all have gone.

        A channel that has got its rows of the last line gets its end mark. The next row's first lines are taken
        meanwhile: their rows wait behind the channel's mark, their own marks until all marks are gone.
        """
        config = self.config
        log_channels = config.num_channels.bit_length() - 1
        pending, ends = Signal(config.lanes), Signal(config.num_channels)
        left, ends_next = Signal(config.num_channels), Signal(config.num_channels)  # left: a row remains
        load, end_load = (Signal(load_width(config), name=name, reset_less=True) for name in ("load", "end_load"))
        same = Signal(reset_less=True)  # the end marks belong to the row of this line
        rows = Signal(new.payload.rows.shape(), reset_less=True)
        gone = Const(0, config.lanes)
        for c, port in enumerate(self.rows):
            mine, end = Signal(config.lanes, name=f"mine_{c}"), Signal(name=f"end_{c}")
            m.d.comb += [
                mine.eq(Cat(pending[i] & ((rows[i].channel == c) if log_channels else 1) for i in range(config.lanes))),
                end.eq(ends[c] & ~(same & mine.any())),
                port.valid.eq(mine.any() | end),
                port.payload.end.eq(end),
                port.payload.load.eq(Mux(end, end_load, load)),
                port.payload.joined.eq(end),  # not read of gathered rows
            ]
            for i in reversed(range(config.lanes)):
                with m.If(mine[i] & ~end):
                    m.d.comb += [port.payload.index.eq(rows[i].index), port.payload.position.eq(rows[i].position)]
            lowest = Cat(mine[i] & ~mine[:i].any() for i in range(config.lanes))
            gone = gone | (lowest & (port.ready & ~end).replicate(config.lanes))
            # As above, written out: the next line waits for it.
            any_goes = port.ready & (same | ~ends[c])
            m.d.comb += [
                left[c].eq((mine & ~lowest).any() | (mine.any() & ~any_goes)),
                ends_next[c].eq(ends[c] & ~(port.ready & ~(same & mine.any()))),
            ]
        line = new.payload
        m.d.comb += new.ready.eq(~left.any() & ~(line.last & ends_next.any()))
        m.d.sync += [pending.eq(pending & ~gone), ends.eq(ends_next)]
        with m.If(new.ready & new.valid):
            m.d.sync += [pending.eq(line.mask), load.eq(line.load), same.eq(line.last), rows.eq(line.rows)]
            with m.If(line.last):
                m.d.sync += [ends.eq(-1), end_load.eq(line.load)]
        return pending.any() | ends.any()


def sum_bits(bits):
    """Number of ones, by a balanced tree."""
    values = list(bits)
    while len(values) > 1:
        values = [values[i] + values[i + 1] if i + 1 < len(values) else values[i] for i in range(0, len(values), 2)]
    return values[0]
