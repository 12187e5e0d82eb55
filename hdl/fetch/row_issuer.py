"""Word requests of the rows of one channel."""

from __future__ import annotations

from amaranth.hdl import Module, Mux, Signal
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out, connect, flipped

from hdl.fetch.fetch_layouts import kind_of, load_info, local_row, log_units, num_loads, pick, row_slot
from hdl.spec.config import Config
from hdl.spec.payloads import QUERY
from hdl.spec.widths import bits_for_count
from hdl.stream.stream_queue import StreamQueue
from hdl.stream.stream_skid import StreamSkid

__all__ = ["RowIssuer", "RowLocator", "WordCredit", "located_row"]


def located_row(config: Config) -> data.StructLayout:
    """A row and its words."""
    return data.StructLayout(
        {
            **row_slot(config).members,
            "first": config.address_width,  # its first word
            "extra": bits_for_count(config.row_bits_max // config.channel_width + 1),  # words after the first
        }
    )


class RowLocator(wiring.Component):
    """Compute a row's first word, the number of words after it, and the offset; one multiplier.

    Latency 2, one row a cycle; it stalls as a whole, bubbles too.

    Members
    -------
    enable : In(1)    everything moves on: ``i`` is taken, ``o`` must have been
    table : In(ArrayLayout(load_info, loads))
    i : In(stream.Signature(local_row, always_ready=True))
    taken_units : Out(n)    memory units of the row taken from ``i`` in this cycle, else 0
    o : Out(stream.Signature(located_row, always_ready=True))
    """

    LATENCY = 2

    def __init__(self, config: Config):
        self.config = config
        info = load_info(config)
        super().__init__(
            {
                "enable": In(1),
                "table": In(data.ArrayLayout(info, num_loads(config))),
                "i": In(stream.Signature(local_row(config), always_ready=True)),
                "taken_units": Out(info["row_units"].shape),
                "o": Out(stream.Signature(located_row(config), always_ready=True)),
            }
        )

    def elaborate(self, platform):
        m = Module()
        config, enable = self.config, self.enable
        info = pick(m, self.i.payload.load, [self.table[i] for i in range(num_loads(config))], "info")
        with m.If(enable & self.i.valid & ~self.i.payload.end):
            m.d.comb += self.taken_units.eq(info.row_units)
        # Stage 1: the row with what is needed of its load.
        kept = {name: info[name].shape() for name in ("base", "row_units", "repeat", "pair")}
        first = Signal(data.StructLayout({**kept, "row": local_row(config), "short": 1}), reset_less=True)
        first_valid, valid = Signal(), Signal()
        with m.If(enable):
            m.d.sync += [first_valid.eq(self.i.valid), first.row.eq(self.i.payload)]
            m.d.sync += [first[name].eq(info[name]) for name in kept]
            m.d.sync += first.short.eq(info.last_slice == 0)
        # Stage 2: the units before it in its channel.
        again = first.row.position < first.repeat
        product = Signal((first.row.index * first.row_units).shape(), reset_less=True)
        names = ("row", "base", "row_units", "short")
        flags = {"repeated": 1, "whole": 1}
        kept = {name: first[name].shape() for name in names}
        second = Signal(data.StructLayout({**kept, **flags}), reset_less=True)
        with m.If(enable):
            m.d.sync += [valid.eq(first_valid), product.eq(first.row.index * first.row_units)]
            m.d.sync += [second[name].eq(first[name]) for name in names]
            m.d.sync += [
                second.repeated.eq(again),
                second.whole.eq(first.row.end | (first.short & ~first.pair & ~again)),
            ]
        self.give(m, valid, second, product)
        return m

    def give(self, m, valid, located, product):
        row, o = located.row, self.o.payload
        log = log_units(self.config)
        words = product >> log
        extra = (product[:log] + located.row_units - 1)[:-1] >> log
        m.d.comb += [
            self.o.valid.eq(valid),
            o.reuse.eq(self.reuse(m, self.enable & valid, row, words, extra)),
            *(o[name].eq(row[name]) for name in ("load", "position", "end")),
            *(o[name].eq(located[name]) for name in ("repeated", "short", "whole")),
            o.first.eq(located.base + words),
            o.offset.eq(product[:log]),
            o.extra.eq(extra),
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


class WordCredit(wiring.Component):
    """Limit the words in flight to ``outstanding``.

    Members
    -------
    asked : In(1)       a word is asked for; only if ``allowed``
    returned : In(1)    a word has come back and makes room
    allowed : Out(1)    another word may be asked for; from the cycle after a word has returned on
    some : Out(1)       a word is in flight
    """

    def __init__(self, config: Config):
        self.limit = config.outstanding
        super().__init__({"asked": In(1), "returned": In(1), "allowed": Out(1, init=1), "some": Out(1)})

    def elaborate(self, platform):
        m = Module()
        count = Signal(bits_for_count(self.limit), name="level", init=self.limit)
        m.d.comb += self.some.eq(count != self.limit)
        with m.If(self.returned != self.asked):
            m.d.sync += count.eq(count + Mux(self.returned, 1, -1))
        m.d.sync += self.allowed.eq(self.returned | (self.allowed & ~(self.asked & (count == 1))))
        return m


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
        m.submodules.locator = locator = RowLocator(config)
        m.submodules.located = queue = StreamQueue(located_row(config), depth=3)
        m.d.comb += [
            locator.table.eq(self.table),
            locator.enable.eq(queue.i.ready),
            locator.i.valid.eq(self.i.valid),
            locator.i.payload.eq(self.i.payload),
            self.i.ready.eq(queue.i.ready),
            self.taken_units.eq(locator.taken_units),
            queue.i.valid.eq(locator.o.valid),
            queue.i.payload.eq(locator.o.payload),
        ]
        self.issue(m, queue.o)
        return m

    def issue(self, m, i):
        config = self.config
        row = i.payload
        m.submodules.skid = skid = StreamSkid(config.address_width)
        connect(m, skid.o, flipped(self.request))
        address, load = Signal(config.address_width, reset_less=True), Signal.like(self.load, reset_less=True)
        left, none, one = Signal(len(row.extra) + 1), Signal(init=1), Signal()  # words to request; none left, one left
        m.submodules.credit = credit = WordCredit(config)
        allowed = credit.allowed
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
        m.d.comb += [credit.asked.eq(self.asked), credit.returned.eq(self.returned)]
        m.d.comb += self.busy.eq(~none | credit.some)
