"""Word requests of the rows of one channel."""

from __future__ import annotations

from amaranth.hdl import Module, Signal
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

from hdl.config import Config
from hdl.fetch_layouts import (
    kind_of,
    load_info,
    local_row,
    num_loads,
    pick,
    row_slot,
    units_per_word,
)
from hdl.layouts import QUERY, bits_for_count

__all__ = ["RowIssuer"]


class RowIssuer(wiring.Component):
    """Compute the words of each row and request them, one a cycle; at most ``outstanding`` words are in flight.

    A row whose first word is the last word requested for the row before of the same load shares that word (packed
    neighbours). Words are never shared between loads, because memory may have changed meanwhile. An end mark passes
    while words of the row before it are requested: it costs no cycle if these are two or more. Latency 4.

    Members
    -------
    i : In(stream.Signature(local_row))
    table : In(ArrayLayout(load_info, loads))
    request : Out(stream.Signature(address_width))    word addresses
    load : Out(n)        load of the word requested
    row : Out(stream.Signature(row_slot))    the rows, for the assembler
    returned : In(1)     a word has left the response queue
    taken_units : Out(n)    memory units of the row taken from ``i`` in this cycle, else 0
    busy : Out(1)        words are requested or in flight
    """

    LATENCY = 4

    def __init__(self, config: Config):
        self.config = config
        row = local_row(config)
        super().__init__(
            {
                "i": In(stream.Signature(row)),
                "table": In(data.ArrayLayout(load_info(config), num_loads(config))),
                "request": Out(stream.Signature(config.address_width)),
                "load": Out(row["load"].shape),
                "row": Out(stream.Signature(row_slot(config))),
                "returned": In(1),
                "taken_units": Out(load_info(config)["row_units"].shape),
                "busy": Out(1),
            }
        )

    def elaborate(self, platform):
        m = Module()
        enable = Signal()
        m.d.comb += self.i.ready.eq(enable)
        stage = self.locate(m, enable)
        self.issue(m, enable, **stage)
        return m

    def locate(self, m, enable):
        """Pipeline from a row to its first word, the number of words behind it, and the offset."""
        config = self.config
        log_units = units_per_word(config).bit_length() - 1
        info = pick(m, self.i.payload.load, [self.table[i] for i in range(num_loads(config))], "info")
        valid = [Signal(name=f"valid_{i}") for i in range(3)]
        row = [Signal(local_row(config), name=f"row_{i}", reset_less=True) for i in range(3)]
        base = [Signal.like(info.base, name=f"base_{i}", reset_less=True) for i in range(2)]
        units = [Signal.like(info.row_units, name=f"units_{i}", reset_less=True) for i in range(2)]
        product = Signal((row[0].index * units[0]).shape(), reset_less=True)
        first = Signal(config.address_width, reset_less=True)
        offset = Signal(log_units, reset_less=True)
        extra = Signal(bits_for_count(config.row_bits_max // config.channel_width + 1), reset_less=True)
        with m.If(enable & self.i.valid & ~self.i.payload.end):
            m.d.comb += self.taken_units.eq(info.row_units)
        with m.If(enable):
            m.d.sync += [
                *(new.eq(old) for new, old in zip(valid, [self.i.valid, *valid], strict=False)),
                *(new.eq(old) for new, old in zip(row, [self.i.payload, *row], strict=False)),
                base[0].eq(info.base),
                base[1].eq(base[0]),
                units[0].eq(info.row_units),
                units[1].eq(units[0]),
                product.eq(row[0].index * units[0]),
                first.eq(base[1] + (product >> log_units)),
                offset.eq(product[:log_units]),
                extra.eq((product[:log_units] + units[1] - 1)[:-1] >> log_units),
            ]
        return {"valid": valid[2], "row": row[2], "first": first, "offset": offset, "extra": extra}

    def issue(self, m, enable, valid, row, first, offset, extra):
        config = self.config
        address = Signal(config.address_width, reset_less=True)
        last = Signal(config.address_width, reset_less=True)
        last_load = Signal.like(self.load, reset_less=True)
        sharable = Signal()
        left = Signal(len(extra) + 1)
        credit = Signal(bits_for_count(config.outstanding), init=config.outstanding)
        accepted = self.request.valid & self.request.ready
        reuse = sharable & (first == last) & (row.load == last_load)
        free = row.end | (left == 0) | ((left == 1) & accepted)
        take = valid & free & self.row.ready
        tag = self.row.payload
        m.d.comb += [
            enable.eq(~valid | take),
            # The row queue takes a row when its first request can go out; nothing else decides its valid.
            self.row.valid.eq(valid & free),
            tag.load.eq(row.load),
            tag.position.eq(row.position),
            tag.offset.eq(offset),
            tag.reuse.eq(reuse),
            tag.end.eq(row.end),
            self.request.valid.eq((left != 0) & (credit != 0)),
            self.request.payload.eq(address),
            self.load.eq(last_load),
            self.busy.eq((left != 0) | (credit != config.outstanding)),
        ]
        m.d.sync += credit.eq(credit + self.returned - accepted)
        with m.If(accepted):
            m.d.sync += [left.eq(left - 1), address.eq(address + 1)]
        with m.If(take & ~row.end):
            m.d.sync += [
                left.eq(extra + 1 - reuse),
                address.eq(first + reuse),
                last.eq(first + extra),
                last_load.eq(row.load),
                sharable.eq(kind_of(row.load) != QUERY),
            ]
        # The load's name may come again.
        with m.If(take & row.end & (row.load == last_load)):
            m.d.sync += sharable.eq(0)
