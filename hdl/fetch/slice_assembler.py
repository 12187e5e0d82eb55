"""Slices of rows, cut out of the words of one channel."""

from __future__ import annotations

from amaranth.hdl import Cat, Module, Mux, Signal
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out, connect, flipped

from hdl.fetch.fetch_layouts import (
    add_modulo,
    granule,
    kind_of,
    load_info,
    log_units,
    num_loads,
    offset_width,
    packed_slice,
    pick,
    row_slot,
    slice_elements,
    slice_tag,
    unit_bits,
    units_per_word,
    words_per_slice,
)
from hdl.spec.config import Config
from hdl.spec.payloads import KEY, KEY_LSB, QUERY
from hdl.spec.widths import bits_for_count
from hdl.stream.stream_queue import StreamQueue

__all__ = ["RowCutter", "SliceAssembler", "SliceSteps", "slice_cut"]


def ring_words(config: Config) -> int:
    """Words in the ring of a SliceAssembler."""
    return words_per_slice(config) + 2


def slice_cut(config: Config) -> data.StructLayout:
    """A slice that is to be cut out of the ring of words."""
    return data.StructLayout(
        {
            "tag": slice_tag(config),
            "row_slots": config.slot_width,  # to be added to the slot: those of the rows before this one
            "width": 5,
            "signed": 1,
            "shift": 4,
            "granules": bits_for_count(slice_elements(config) // granule(config)),
            "fresh": 1,  # the slice starts in the word after the first one in the ring
            "need": bits_for_count(ring_words(config)),  # words that must be in the ring
            "free": bits_for_count(ring_words(config)),  # words that leave the ring
            "offset": offset_width(config),
        }
    )


class SliceSteps(wiring.Component):
    """Which slice of a row comes next, and where in its words it begins.

    The slices of a row come in order, those of a pair's row after each other; each slice of a repeated row comes twice.
    Latency 1 from ``start`` or ``next``.

    Members
    -------
    start : In(1)    a row begins
    short, whole : In(1)    of that row, as in row_slot
    first : In(n)    its offset
    next : In(1)     the slice is taken; not looked at in the cycle of a ``start``
    info : In(load_info)    parameters of the row's load, from the cycle after ``start`` on
    repeated : In(1)    the row is sent twice, likewise
    index : Out(n)      of the slice, among those of D elements
    second : Out(1)     it belongs to the last D elements of a pair's row
    again : Out(1)      it is sent for the second time
    begun : Out(1)      it is not the row's first one
    tail : Out(1)       it is the last one of its D elements
    last : Out(1)       it is the last one of the row
    done : Out(1)       it is the last one of the row, for the last time, or an end mark
    step : Out(1)       it is not sent again
    units : Out(n)      memory units that it takes
    offset : Out(n)     unit of its first word at which it starts
    """

    def __init__(self, config: Config):
        info, offset = load_info(config), offset_width(config)
        self.log_units = log_units(config)
        super().__init__(
            {
                "start": In(1),
                "short": In(1),
                "whole": In(1),
                "first": In(offset),
                "next": In(1),
                "info": In(info),
                "repeated": In(1),
                "index": Out(info["last_slice"].shape),
                **{name: Out(1) for name in ("second", "again", "begun", "tail", "last", "done", "step")},
                "units": Out(info["full_units"].shape),
                "offset": Out(offset),
            }
        )

    def elaborate(self, platform):
        m = Module()
        info = self.info
        tail, done = Signal(reset_less=True), Signal(reset_less=True)
        offset = Signal.like(self.offset, reset_less=True)
        next_index = Mux(self.step, Mux(tail, 0, self.index + 1), self.index)
        next_second = self.second | (self.step & tail)
        next_tail = next_index == info.last_slice
        next_last = next_tail & (next_second | ~info.pair)
        m.d.comb += [
            self.tail.eq(tail),
            self.last.eq(tail & (self.second | ~info.pair)),
            self.done.eq(done),
            self.step.eq(~self.repeated | self.again),
            self.units.eq(Mux(tail, info.tail_units, info.full_units)),
            self.offset.eq(offset),
        ]
        with m.If(self.start):
            m.d.sync += [self.index.eq(0), self.second.eq(0), self.again.eq(0), self.begun.eq(0)]
            m.d.sync += [done.eq(self.whole), tail.eq(self.short), offset.eq(self.first)]
        with m.Elif(self.next):
            m.d.sync += [
                self.again.eq(self.repeated & ~self.again),
                self.begun.eq(1),
                self.index.eq(next_index),
                self.second.eq(next_second),
                tail.eq(next_tail),
                done.eq(next_last & (~self.repeated | ~self.again)),
            ]
            with m.If(self.step):
                m.d.sync += offset.eq((offset + self.units)[: self.log_units])
        return m


class RowCutter(wiring.Component):
    """Split rows into slices, each with what it takes from the ring of words and where it goes.

    A row is held with its parameters until its last slice is taken. Latency 1, one slice a cycle.

    Members
    -------
    table : In(ArrayLayout(load_info, loads))
    row : In(stream.Signature(row_slot))
    o : Out(stream.Signature(slice_cut))
    """

    LATENCY = 1

    def __init__(self, config: Config):
        self.config = config
        super().__init__(
            {
                "table": In(data.ArrayLayout(load_info(config), num_loads(config))),
                "row": In(stream.Signature(row_slot(config))),
                "o": Out(stream.Signature(slice_cut(config))),
            }
        )

    def elaborate(self, platform):
        m = Module()
        config = self.config
        row, valid = Signal(row_slot(config), reset_less=True), Signal()
        info = Signal(load_info(config), reset_less=True)
        m.submodules.steps = steps = SliceSteps(config)
        new = self.row.payload
        looked_up = pick(m, new.load, [self.table[i] for i in range(num_loads(config))], "looked_up")
        m.d.comb += [
            self.row.ready.eq(~valid | (self.o.ready & steps.done)),
            self.o.valid.eq(valid),
            steps.start.eq(self.row.ready),
            steps.short.eq(new.short),
            steps.whole.eq(new.whole),
            steps.first.eq(new.offset),
            steps.next.eq(self.o.ready),
            steps.info.eq(info),
            steps.repeated.eq(row.repeated),
        ]
        with m.If(self.row.ready):
            m.d.sync += [valid.eq(self.row.valid), row.eq(new), info.eq(looked_up)]
        self.take_words(m, row, steps)
        self.place(m, row, info, steps)
        return m

    def take_words(self, m, row, steps):
        """What the slice needs of the ring, and what it leaves there."""
        cut, log = self.o.payload, log_units(self.config)
        fresh = ~row.reuse & ~steps.begun
        words = Signal(range(ring_words(self.config)))
        left = (steps.offset + steps.units) >> log  # words that the slice fills to their ends
        m.d.comb += [
            words.eq(((steps.offset + steps.units - 1)[:-1] >> log) + 1),
            cut.fresh.eq(fresh & ~row.end),
            cut.need.eq(Mux(row.end, 0, fresh + words)),
            cut.free.eq(Mux(row.end, 0, fresh + Mux(steps.step, Mux(steps.last, words - 1, left), 0))),
            cut.offset.eq(steps.offset),
            cut.tag.units.eq(Mux(steps.step & ~row.end, steps.units, 0)),
        ]

    def place(self, m, row, info, steps):
        """Where the slice goes, and how it is unpacked."""
        cut, kind = self.o.payload, kind_of(row.load)
        position = row.position + Mux(steps.again, info.count, 0)
        granules = slice_elements(self.config) // granule(self.config)
        m.d.comb += [
            cut.tag.load.eq(row.load),
            cut.tag.mark.eq(info.seq + Mux(row.end, info.count + info.repeat, row.position)),
            cut.tag.slot.eq(info.slot + steps.index + Mux(steps.second, info.pair_offset, 0)),
            cut.row_slots.eq(Mux(kind == QUERY, 0, position << info.log_slices)),
            cut.tag.low.eq((kind != KEY) | (info.shift == 0)),
            cut.tag.row_last.eq(steps.done),
            cut.tag.end.eq(row.end),
            cut.width.eq(info.width),
            cut.signed.eq(kind != KEY_LSB),
            cut.shift.eq(info.shift),
            cut.granules.eq(Mux(steps.tail, info.tail_granules, granules)),
        ]


class SliceAssembler(wiring.Component):
    """Cut slices out of packed words (paper section IV-B); one slice a cycle if the words are there.

    Words lie in a ring of registers, two more than a slice can touch: the last word of a row stays until the next row
    has told whether it starts in it, and a word comes in while the others of a slice are there. Rows at positions below
    ``repeat`` are sent a second time, after the last row. A row of a pair goes to two regions, one half of it to each.
    Nothing after the ring can stall: a slice leaves it only if there is room. Latency 5 from the row (its words being
    there), 2 from ``fired``.

    Members
    -------
    table : In(ArrayLayout(load_info, loads))
    row : In(stream.Signature(row_slot))
    word : In(stream.Signature(channel_width))    words of the rows
    room : In(1)      a slice may leave the ring
    fired : Out(1)    a slice leaves the ring
    o : Out(stream.Signature(packed_slice, always_ready=True))
    """

    LATENCY = 5
    """From a row to its first slice, if the words are there."""
    WORD_LATENCY = 3
    """From the last word of a slice to the slice."""

    def __init__(self, config: Config):
        self.config = config
        super().__init__(
            {
                "table": In(data.ArrayLayout(load_info(config), num_loads(config))),
                "row": In(stream.Signature(row_slot(config))),
                "word": In(stream.Signature(config.channel_width)),
                "room": In(1),
                "fired": Out(1),
                "o": Out(stream.Signature(packed_slice(config, slice_tag(config)), always_ready=True)),
            }
        )

    def elaborate(self, platform):
        m = Module()
        m.submodules.cutter = cutter = RowCutter(self.config)
        m.submodules.cuts = cuts = StreamQueue(slice_cut(self.config), depth=3)
        m.d.comb += cutter.table.eq(self.table)
        connect(m, flipped(self.row), cutter.row)
        connect(m, cutter.o, cuts.i)
        self.fetch_words(m, cuts.o)
        return m

    def fetch_words(self, m, cuts):
        """Ring of words; a slice takes its words as soon as all are there, and two cycles later has them side by side.

        Words that a slice has left are read in the next cycle, before others can take their places.
        """
        config, size = self.config, ring_words(self.config)
        ring = [Signal(config.channel_width, name=f"ring_{i}", reset_less=True) for i in range(size)]
        head, tail = Signal(range(size)), Signal(range(size), init=1)
        # At reset the ring holds a word that no row shares, as it does after every row.
        level = Signal(range(size + 1), init=1)
        cut = cuts.payload
        push = self.word.valid & self.word.ready
        m.d.comb += [
            self.fired.eq(cuts.valid & self.room & (level >= cut.need)),
            cuts.ready.eq(self.fired),
            self.word.ready.eq(level != size),
        ]
        less = (level - cut.free).as_unsigned()
        m.d.sync += level.eq(Mux(self.fired, Mux(push, less + 1, less), Mux(push, level + 1, level)))
        with m.If(push):
            m.d.sync += tail.eq(add_modulo(tail, 1, size))
            with m.Switch(tail):
                for i in range(size):
                    with m.Case(i):
                        m.d.sync += ring[i].eq(self.word.payload)
        with m.If(self.fired):
            m.d.sync += head.eq(add_modulo(head, cut.free, size))
        self.select(m, cut, ring, add_modulo(head, cut.fresh, size))

    def select(self, m, cut, ring, first):
        config, size = self.config, len(ring)
        names = ("tag", "signed", "shift", "granules")
        valid, held = Signal(), Signal(slice_cut(config), name="taken", reset_less=True)
        base = Signal(range(size), reset_less=True)
        words = Signal(config.channel_width * words_per_slice(config))
        m.d.sync += [valid.eq(self.fired), held.eq(cut), base.eq(first), self.o.valid.eq(valid)]
        m.d.sync += held.tag.slot.eq(cut.tag.slot + cut.row_slots)
        m.d.sync += [self.o.payload[name].eq(held[name]) for name in names]
        m.d.sync += self.o.payload.width.eq(Cat(held.width == width for width in config.plane_widths))
        with m.Switch(base):
            for i in range(size):
                with m.Case(i):
                    m.d.comb += words.eq(Cat(ring[(i + k) % size] for k in range(words_per_slice(config))))
        with m.Switch(held.offset):
            for i in range(units_per_word(config)):
                with m.Case(i):
                    m.d.sync += self.o.payload.raw.eq(words >> (i * unit_bits(config)))
