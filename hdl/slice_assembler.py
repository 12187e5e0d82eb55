"""Slices of rows, cut out of the words of one channel."""

from __future__ import annotations

from amaranth.hdl import Cat, Module, Mux, Signal
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

from hdl.config import Config
from hdl.fetch_layouts import (
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
from hdl.layouts import KEY, KEY_LSB, QUERY, bits_for_count

__all__ = ["SliceAssembler"]


class SliceAssembler(wiring.Component):
    """Cut slices out of packed words (paper section IV-B); one slice a cycle if the words are there.

    Words lie in a ring of registers, one more than a slice can touch: the last word of a row stays until the next row
    has told whether it starts in it. Rows at positions below ``repeat`` are sent a second time, behind the last row.
    A row of a pair goes to two regions, one half of it to each. Latency 4 from the row (its words being there).

    Members
    -------
    table : In(ArrayLayout(load_info, loads))
    row : In(stream.Signature(row_slot))
    word : In(stream.Signature(channel_width))    words of the rows
    o : Out(stream.Signature(packed_slice))
    """

    LATENCY = 4

    def __init__(self, config: Config):
        self.config = config
        super().__init__(
            {
                "table": In(data.ArrayLayout(load_info(config), num_loads(config))),
                "row": In(stream.Signature(row_slot(config))),
                "word": In(stream.Signature(config.channel_width)),
                "o": Out(stream.Signature(packed_slice(config, slice_tag(config)))),
            }
        )
        self.ring_size = words_per_slice(config) + 1
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

    def elaborate(self, platform):
        m = Module()
        cut, cut_valid = Signal(self.cut_shape, reset_less=True), Signal()
        fire = Signal()
        self.split(m, cut, cut_valid, fire)
        words, offset = self.fetch_words(m, cut, cut_valid, fire)
        with m.Switch(offset):
            for i in range(units_per_word(self.config)):
                with m.Case(i):
                    m.d.comb += self.o.payload.raw.eq(words >> (i * unit_bits(self.config)))
        return m

    def split(self, m, cut, cut_valid, fire):
        """A row is held with its parameters, then split into slices, each with what it takes from the ring."""
        config = self.config
        log_units = units_per_word(config).bit_length() - 1
        row, valid = Signal(row_slot(config), reset_less=True), Signal()
        info = Signal(load_info(config), reset_less=True)
        index, second = Signal.like(info.last_slice), Signal()  # slice of D elements; the last D of a pair's row
        again, begun = Signal(), Signal()  # second time of a repeated slice; not the row's first slice
        offset = Signal(log_units, reset_less=True)
        repeated = row.position < info.repeat
        tail = index == info.last_slice
        last = tail & (second | ~info.pair)
        units = Mux(tail, info.tail_units, info.full_units)
        step = ~repeated | again
        done = row.end | (last & step)
        enable = ~cut_valid | fire
        words = Signal(range(self.ring_size))
        start = self.load_row(m, row, valid, info, enable & done, offset)
        fresh = ~row.reuse & ~begun
        behind = (offset + units) >> log_units
        m.d.comb += words.eq(((offset + units - 1)[:-1] >> log_units) + 1)
        with m.If(start):
            m.d.sync += [index.eq(0), second.eq(0), again.eq(0), begun.eq(0)]
        with m.Elif(enable & valid):
            m.d.sync += [again.eq(repeated & ~again), begun.eq(1)]
            with m.If(step):
                m.d.sync += [
                    offset.eq((offset + units)[:log_units]),
                    index.eq(Mux(tail, 0, index + 1)),
                    second.eq(second | tail),
                ]
        with m.If(enable):
            is_query = kind_of(row.load) == QUERY
            position = row.position + Mux(again, info.count, 0)
            m.d.sync += [
                cut_valid.eq(valid),
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

    def fetch_words(self, m, cut, cut_valid, fire):
        """Ring of words; a slice takes its words as soon as all are there."""
        config, size = self.config, self.ring_size
        ring = [Signal(config.channel_width, name=f"ring_{i}", reset_less=True) for i in range(size)]
        head, tail = Signal(range(size)), Signal(range(size), init=1)
        # At reset the ring holds a word that no row shares, as it does behind every row.
        level = Signal(range(size + 1), init=1)
        enable = ~self.o.valid | self.o.ready
        push = self.word.valid & self.word.ready
        offset = Signal.like(cut.offset, reset_less=True)
        words = [Signal(config.channel_width, name=f"words_{i}", reset_less=True) for i in range(size - 1)]
        m.d.comb += [
            fire.eq(cut_valid & enable & (level >= cut.need)),
            self.word.ready.eq((level != size) | (fire & cut.free.any())),
        ]
        m.d.sync += level.eq(level + push - Mux(fire, cut.free, 0))
        with m.If(push):
            m.d.sync += tail.eq(add_modulo(tail, 1, size))
            with m.Switch(tail):
                for i in range(size):
                    with m.Case(i):
                        m.d.sync += ring[i].eq(self.word.payload)
        with m.If(enable):
            m.d.sync += self.o.valid.eq(fire)
        with m.If(fire):
            m.d.sync += [head.eq(add_modulo(head, cut.free, size)), offset.eq(cut.offset)]
            m.d.sync += [self.o.payload[name].eq(cut[name]) for name in ("tag", "width", "signed", "shift", "granules")]
            m.d.sync += self.o.payload.tag.slot.eq(cut.tag.slot + cut.row_slots)
            with m.Switch(add_modulo(head, cut.fresh, size)):
                for i in range(size):
                    with m.Case(i):
                        m.d.sync += [word.eq(ring[(i + k) % size]) for k, word in enumerate(words)]
        return Cat(words), offset
