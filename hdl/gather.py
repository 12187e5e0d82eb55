"""Rows to gather: keep masks to rows and buffer positions, spread over the channels."""

from __future__ import annotations

from amaranth.hdl import Cat, Const, Module, Mux, Signal
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

from hdl import layouts
from hdl.config import Config
from hdl.fetch_layouts import NUM_BUFFER_LOADS, load_info, load_width, local_row, pick
from hdl.id_list import PositionList

__all__ = ["Gather", "sum_bits"]


class Gather(wiring.Component):
    """Give each kept key position its rank among the kept ones, and its V row to the row's channel.

    One line a cycle while no two of its rows lie in one channel and no channel's queue is full; each channel takes
    one row a cycle. Behind a row's last line every channel gets an end mark. Latency 2.

    Members
    -------
    start : In(stream.Signature(load, always_ready=True))    a row begins
    info : In(ArrayLayout(load_info, 6))
    ids : In(stream.Signature(id_write, always_ready=True))
    line : In(stream.Signature(gather_line))
    rows : Out(stream.Signature(local_row)).array(num_channels)
    busy : Out(1)    a row is not finished; no start may come
    """

    LATENCY = 2

    def __init__(self, config: Config):
        self.config = config
        super().__init__(
            {
                "start": In(stream.Signature(load_width(config), always_ready=True)),
                "info": In(data.ArrayLayout(load_info(config), NUM_BUFFER_LOADS)),
                "ids": In(stream.Signature(layouts.id_write(config), always_ready=True)),
                "line": In(stream.Signature(layouts.gather_line(config))),
                "rows": Out(stream.Signature(local_row(config))).array(config.num_channels),
                "busy": Out(1),
            }
        )

    def elaborate(self, platform):
        m = Module()
        config = self.config
        m.submodules.list = ids = PositionList(config)
        m.d.comb += [ids.ids.valid.eq(self.ids.valid), ids.ids.payload.eq(self.ids.payload)]
        load = Signal(load_width(config), reset_less=True)
        listed, which = Signal(reset_less=True), Signal(reset_less=True)
        opened, mask_valid = Signal(), Signal()  # lines are taken; a line waits for its ids
        mask, last = Signal(config.lanes, reset_less=True), Signal(reset_less=True)
        word = Signal(ids.word_width, reset_less=True)
        rank = Signal(config.count_width)
        spread_free = Signal()
        log_lanes = config.lanes.bit_length() - 1
        line = self.line.payload
        enable = ~mask_valid | spread_free
        accept = self.line.valid & self.line.ready
        starting = pick(m, self.start.payload, [self.info[i] for i in range(NUM_BUFFER_LOADS)], "starting")
        m.d.comb += [
            self.line.ready.eq(opened & enable),
            ids.read_en.eq(enable),
            ids.read_list.eq(which),
            ids.read_word.eq(line.start >> log_lanes),
        ]
        with m.If(enable):
            m.d.sync += [
                mask_valid.eq(accept),
                # The lines of a word do not overlap: S divides lanes, and start is a multiple of S.
                mask.eq(line.keep << line.start[:log_lanes]),
                word.eq(line.start >> log_lanes),
                last.eq(line.last),
            ]
        with m.If(accept & line.last):
            m.d.sync += opened.eq(0)
        with m.If(self.start.valid):
            m.d.sync += [
                opened.eq(1),
                rank.eq(0),
                load.eq(self.start.payload),
                listed.eq(starting.listed),
                which.eq(starting.list),
            ]
        kept = [Const(0, 1)]
        for i in range(config.lanes):
            kept.append(sum_bits(mask[: i + 1]))
        with m.If(mask_valid & spread_free):
            m.d.sync += rank.eq(rank + kept[-1])
        spread_valid = Signal()
        rows = [Mux(listed, ids.rows[i], Cat(Const(i, log_lanes), word)) for i in range(config.lanes)]
        m.d.comb += self.busy.eq(opened | mask_valid | spread_valid)
        ranks = [rank + count for count in kept[:-1]]
        self.spread(m, load, mask_valid, mask, last, rows, ranks, spread_valid, spread_free)
        return m

    def spread(self, m, load, mask_valid, mask, last, rows, ranks, valid, free):
        """The lowest row of the line for each channel goes to its queue, until all have gone; then the end marks."""
        config = self.config
        log_channels = config.num_channels.bit_length() - 1
        pending, ends = Signal(config.lanes), Signal(config.num_channels)
        row = [Signal(config.position_width, name=f"row_{i}", reset_less=True) for i in range(config.lanes)]
        position = [Signal(config.count_width, name=f"position_{i}", reset_less=True) for i in range(config.lanes)]
        pending_next, ends_next = Signal.like(pending), Signal.like(ends)
        gone = Const(0, config.lanes)
        m.d.comb += [
            pending_next.eq(pending),
            ends_next.eq(ends),
            valid.eq(pending.any() | ends.any()),
            free.eq(~pending_next.any() & ~ends_next.any()),
        ]
        for c, port in enumerate(self.rows):
            mine = Signal(config.lanes, name=f"mine_{c}")
            m.d.comb += [
                mine.eq(Cat(pending[i] & (row[i][:log_channels] == c) for i in range(config.lanes))),
                port.payload.load.eq(load),
                port.payload.end.eq(~pending.any()),
                port.valid.eq(Mux(pending.any(), mine.any(), ends[c])),
            ]
            for i in reversed(range(config.lanes)):
                with m.If(mine[i]):
                    m.d.comb += [
                        port.payload.index.eq(row[i] >> log_channels),
                        port.payload.position.eq(position[i]),
                    ]
            sent = Mux(port.ready, mine & (~mine + 1), 0)
            gone = gone | sent
            with m.If(port.ready & ~pending.any()):
                m.d.comb += ends_next[c].eq(0)
        m.d.comb += pending_next.eq(pending & ~gone)
        m.d.sync += [pending.eq(pending_next), ends.eq(ends_next)]
        with m.If(free):
            m.d.sync += [pending.eq(Mux(mask_valid, mask, 0)), ends.eq((mask_valid & last).replicate(len(ends)))]
            m.d.sync += [old.eq(new) for old, new in zip([*row, *position], [*rows, *ranks], strict=True)]


def sum_bits(bits):
    """Number of ones, by a balanced tree."""
    values = list(bits)
    while len(values) > 1:
        values = [values[i] + values[i + 1] if i + 1 < len(values) else values[i] for i in range(0, len(values), 2)]
    return values[0]
