"""Slices of rows, cut out of the words of one channel."""

from __future__ import annotations

from amaranth.hdl import Cat, Module, Mux, Signal
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

from hdl.fetch.fetch_layouts import (
    add_modulo,
    granule,
    kind_of,
    load_info,
    num_loads,
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

__all__ = ["SliceAssembler"]


class SliceAssembler(wiring.Component):
    """Cut slices out of packed words (paper section IV-B); one slice a cycle if the words are there.

    Words lie in a ring of registers, two more than a slice can touch: the last word of a row stays until the next row
    has told whether it starts in it, and a word comes in while the others of a slice are there. Rows at positions below
    ``repeat`` are sent a second time, behind the last row. A row of a pair goes to two regions, one half of it to each.
    Nothing behind the ring can stall: a slice leaves it only if there is room. Latency 5 from the row (its words being
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
        self.ring_size = self.ring_words(config)
        self.cut_shape = data.StructLayout(
            {
                "tag": slice_tag(config),
                "row_slots": config.slot_width,  # to be added to the slot: those of the rows before this one
                "width": 5,
                "signed": 1,
                "shift": 4,
                "granules": bits_for_count(slice_elements(config) // granule(config)),
                "fresh": 1,  # the slice starts in the word behind the first one in the ring
                "need": bits_for_count(self.ring_size),  # words that must be in the ring
                "free": bits_for_count(self.ring_size),  # words that leave the ring
                "offset": (units_per_word(config) - 1).bit_length(),
            }
        )

    @staticmethod
    def ring_words(config: Config) -> int:
        return words_per_slice(config) + 2

    def elaborate(self, platform):
        m = Module()
        m.submodules.cuts = cuts = StreamQueue(self.cut_shape, depth=3)
        self.split(m, cuts.i)
        self.fetch_words(m, cuts.o)
        return m

    def split(self, m, o):
        """A row is held with its parameters, then split into slices, each with what it takes from the ring."""
        config = self.config
        log_units = units_per_word(config).bit_length() - 1
        row, valid = Signal(row_slot(config), reset_less=True), Signal()
        info = Signal(load_info(config), reset_less=True)
        index, second = Signal.like(info.last_slice), Signal()  # slice of D elements; the last D of a pair's row
        again, begun = Signal(), Signal()  # second time of a repeated slice; not the row's first slice
        done = Signal(reset_less=True)  # the row's last slice, for the last time, or an end mark
        offset = Signal(log_units, reset_less=True)
        tail = Signal(reset_less=True)  # index == last_slice
        last = tail & (second | ~info.pair)
        units = Mux(tail, info.tail_units, info.full_units)
        step = ~row.repeated | again
        words = Signal(range(self.ring_size))
        start = self.load_row(m, row, valid, info, o.ready & done, offset)
        fresh = ~row.reuse & ~begun
        behind = (offset + units) >> log_units
        m.d.comb += words.eq(((offset + units - 1)[:-1] >> log_units) + 1)
        next_index = Mux(step, Mux(tail, 0, index + 1), index)
        next_second = second | (step & tail)
        next_tail = next_index == info.last_slice
        next_last = next_tail & (next_second | ~info.pair)
        with m.If(start):
            m.d.sync += [index.eq(0), second.eq(0), again.eq(0), begun.eq(0), done.eq(self.row.payload.whole)]
            m.d.sync += tail.eq(self.row.payload.short)
        with m.Elif(o.ready):
            m.d.sync += [
                again.eq(row.repeated & ~again),
                begun.eq(1),
                index.eq(next_index),
                second.eq(next_second),
                tail.eq(next_tail),
                done.eq(next_last & (~row.repeated | ~again)),
            ]
            with m.If(step):
                m.d.sync += offset.eq((offset + units)[:log_units])
        is_query = kind_of(row.load) == QUERY
        position = row.position + Mux(again, info.count, 0)
        cut = o.payload
        m.d.comb += [
            o.valid.eq(valid),
            cut.fresh.eq(fresh & ~row.end),
            cut.need.eq(Mux(row.end, 0, fresh + words)),
            cut.free.eq(Mux(row.end, 0, fresh + Mux(step, Mux(last, words - 1, behind), 0))),
            cut.offset.eq(offset),
            cut.tag.load.eq(row.load),
            cut.tag.mark.eq(info.seq + Mux(row.end, info.count + info.repeat, row.position)),
            cut.tag.slot.eq(info.slot + index + Mux(second, info.pair_offset, 0)),
            cut.row_slots.eq(Mux(is_query, 0, position << info.log_slices)),
            cut.tag.units.eq(Mux(step & ~row.end, units, 0)),
            cut.tag.low.eq((kind_of(row.load) != KEY) | (info.shift == 0)),
            cut.width.eq(info.width),
            cut.signed.eq(kind_of(row.load) != KEY_LSB),
            cut.shift.eq(info.shift),
            cut.granules.eq(Mux(tail, info.tail_granules, slice_elements(config) // granule(config))),
            cut.tag.row_last.eq(done),
            cut.tag.end.eq(row.end),
        ]

    def load_row(self, m, row, valid, info, finished, offset):
        loads = num_loads(self.config)
        looked_up = pick(m, self.row.payload.load, [self.table[i] for i in range(loads)], "looked_up")
        m.d.comb += self.row.ready.eq(~valid | finished)
        with m.If(self.row.ready):
            m.d.sync += valid.eq(self.row.valid)
            m.d.sync += [row.eq(self.row.payload), info.eq(looked_up), offset.eq(self.row.payload.offset)]
        return self.row.ready

    def fetch_words(self, m, cuts):
        """Ring of words; a slice takes its words as soon as all are there, and two cycles later has them side by side.

        Words that a slice has left are read in the next cycle, before others can take their places.
        """
        config, size = self.config, self.ring_size
        ring = [Signal(config.channel_width, name=f"ring_{i}", reset_less=True) for i in range(size)]
        head, tail = Signal(range(size)), Signal(range(size), init=1)
        # At reset the ring holds a word that no row shares, as it does behind every row.
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
        valid, held = Signal(), Signal(self.cut_shape, name="taken", reset_less=True)
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
