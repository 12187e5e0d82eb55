"""Word requests of the rows of one channel."""

from __future__ import annotations

from amaranth.hdl import Module, Mux, Signal
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out, connect, flipped

from hdl.fetch.fetch_layouts import kind_of, load_info, local_row, num_loads, pick, row_slot, units_per_word
from hdl.spec.config import Config
from hdl.spec.payloads import QUERY
from hdl.spec.widths import bits_for_count, lane_count
from hdl.stream.stream_queue import StreamQueue
from hdl.stream.stream_skid import StreamSkid

__all__ = ["RowIssuer"]


class RowIssuer(wiring.Component):
    """Compute the words of each row and request them, one a cycle; at most ``outstanding`` words are in flight.

    A row whose first word is the last word requested for the row before of the same load shares that word (packed
    neighbours). Words are never shared between loads, because memory may have changed meanwhile. An end mark passes
    while words of the row before it are requested: it costs no cycle if these are two or more. Latency 5.

    Members
    -------
    i : In(stream.Signature(local_row))
    table : In(ArrayLayout(load_info, loads))
    request : Out(stream.Signature(address_width))    word addresses
    asked : Out(1)       a word of ``load`` goes to ``request``, or waits for it in a register
    load : Out(n)
    row : Out(stream.Signature(row_slot))    the rows, for the assembler
    returned : In(1)     a word has left the response queue
    taken_units : Out(n)    memory units of the row taken from ``i`` in this cycle, else 0
    busy : Out(1)        words are requested or in flight
    """

    LATENCY = 5

    def __init__(self, config: Config):
        self.config = config
        row = local_row(config)
        super().__init__(
            {
                "i": In(stream.Signature(row)),
                "table": In(data.ArrayLayout(load_info(config), num_loads(config))),
                "request": Out(stream.Signature(config.address_width)),
                "asked": Out(1),
                "load": Out(row["load"].shape),
                "row": Out(stream.Signature(row_slot(config))),
                "returned": In(1),
                "taken_units": Out(load_info(config)["row_units"].shape),
                "busy": Out(1),
            }
        )

    def elaborate(self, platform):
        m = Module()
        config = self.config
        located = data.StructLayout(
            {
                "load": self.load.shape(),
                "position": self.row.payload.position.shape(),
                "reuse": 1,
                "repeated": 1,
                "short": 1,
                "whole": 1,
                "end": 1,
                "first": config.address_width,  # its first word
                "offset": self.row.payload.offset.shape(),
                "extra": bits_for_count(config.row_bits_max // config.channel_width + 1),  # words behind the first
            }
        )
        m.submodules.located = queue = StreamQueue(located, depth=3)
        self.locate(m, queue.i)
        self.issue(m, queue.o)
        return m

    def locate(self, m, o):
        """Pipeline from a row to its first word, the number of words behind it, and the offset."""
        config = self.config
        log_units = units_per_word(config).bit_length() - 1
        info = pick(m, self.i.payload.load, [self.table[i] for i in range(num_loads(config))], "info")
        valid = [Signal(name=f"valid_{i}") for i in range(2)]
        row = [Signal(local_row(config), name=f"row_{i}", reset_less=True) for i in range(2)]
        base = [Signal.like(info.base, name=f"base_{i}", reset_less=True) for i in range(2)]
        units = [Signal.like(info.row_units, name=f"units_{i}", reset_less=True) for i in range(2)]
        repeat, repeated = Signal(lane_count(config), reset_less=True), Signal(reset_less=True)
        short = [Signal(name=f"short_{i}", reset_less=True) for i in range(2)]
        pair, whole = Signal(reset_less=True), Signal(reset_less=True)
        again = row[0].position < repeat
        product = Signal((row[0].index * units[0]).shape(), reset_less=True)
        m.d.comb += self.i.ready.eq(o.ready)
        with m.If(o.ready & self.i.valid & ~self.i.payload.end):
            m.d.comb += self.taken_units.eq(info.row_units)
        with m.If(o.ready):
            m.d.sync += [
                *(new.eq(old) for new, old in zip(valid, [self.i.valid, *valid], strict=False)),
                *(new.eq(old) for new, old in zip(row, [self.i.payload, *row], strict=False)),
                *(new.eq(old) for new, old in zip(base, [info.base, *base], strict=False)),
                *(new.eq(old) for new, old in zip(units, [info.row_units, *units], strict=False)),
                repeat.eq(info.repeat),
                repeated.eq(again),
                *(new.eq(old) for new, old in zip(short, [info.last_slice == 0, *short], strict=False)),
                pair.eq(info.pair),
                whole.eq(row[0].end | (short[0] & ~pair & ~again)),
                product.eq(row[0].index * units[0]),
            ]
        words = product >> log_units
        extra = (product[:log_units] + units[1] - 1)[:-1] >> log_units
        m.d.comb += [
            o.valid.eq(valid[1]),
            o.payload.reuse.eq(self.reuse(m, o.ready & valid[1], row[1], words, extra)),
            *(o.payload[name].eq(row[1][name]) for name in ("load", "position", "end")),
            o.payload.repeated.eq(repeated),
            o.payload.short.eq(short[1]),
            o.payload.whole.eq(whole),
            o.payload.first.eq(base[1] + words),
            o.payload.offset.eq(product[:log_units]),
            o.payload.extra.eq(extra),
        ]

    def reuse(self, m, passes, row, words, extra):
        """Whether the row's first word is the last one of the row before; words are counted from the plane's base."""
        last = Signal(len(words) + 1, name="last", reset_less=True)
        load, sharable = Signal.like(row.load, name="last_load", reset_less=True), Signal()
        with m.If(passes & ~row.end):
            m.d.sync += [last.eq(words + extra), load.eq(row.load), sharable.eq(kind_of(row.load) != QUERY)]
        # The load's name may come again.
        with m.If(passes & row.end & (row.load == load)):
            m.d.sync += sharable.eq(0)
        return ~row.end & sharable & (words == last) & (row.load == load)

    def issue(self, m, i):
        config = self.config
        row = i.payload
        m.submodules.skid = skid = StreamSkid(config.address_width)
        connect(m, skid.o, flipped(self.request))
        address, load = Signal(config.address_width, reset_less=True), Signal.like(self.load, reset_less=True)
        left, none, one = Signal(len(row.extra) + 1), Signal(init=1), Signal()  # words to request; none left, one left
        allowed = self.credit(m)
        free = row.end | none | (one & allowed & skid.i.ready)
        begins = Signal()
        m.d.comb += [
            i.ready.eq(free & self.row.ready),
            # The row queue takes a row when its first request can go out; nothing else decides its valid.
            self.row.valid.eq(i.valid & free),
            *(self.row.payload[name].eq(row[name]) for name in self.row.payload.shape().members),
            begins.eq(i.valid & i.ready & ~row.end),
            skid.i.valid.eq(~none & allowed),
            skid.i.payload.eq(address),
            self.asked.eq(skid.i.valid & skid.i.ready),
            self.load.eq(load),
        ]
        with m.If(self.asked | begins):
            # The word that two rows share has been requested for the one before.
            m.d.sync += address.eq(Mux(begins, row.first, address) + (~begins | row.reuse))
        with m.If(self.asked):
            m.d.sync += [left.eq(left - 1), none.eq(one), one.eq(left == 2)]
        with m.If(begins):
            m.d.sync += [
                left.eq(row.extra + 1 - row.reuse),
                none.eq((row.extra == 0) & row.reuse),
                one.eq(row.extra == row.reuse),
                load.eq(row.load),
            ]
        m.d.comb += self.busy.eq(~none | self._in_flight)

    def credit(self, m):
        """Whether another word may be in flight."""
        limit = self.config.outstanding
        count, allowed = Signal(bits_for_count(limit), name="credit", init=limit), Signal(name="allowed", init=1)
        with m.If(self.returned != self.asked):
            m.d.sync += count.eq(count + Mux(self.returned, 1, -1))
        m.d.sync += allowed.eq(self.returned | (allowed & ~(self.asked & (count == 1))))
        self._in_flight = count != limit
        return allowed
