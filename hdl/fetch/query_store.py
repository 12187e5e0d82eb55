"""Q rows: asked for in order, put together from slices, given in order."""

from __future__ import annotations

from amaranth.hdl import Array, Cat, Const, Module, Mux, Signal, signed
from amaranth.lib import data, stream, wiring
from amaranth.lib.memory import Memory
from amaranth.lib.wiring import In, Out

from hdl.fetch.fetch_layouts import (
    add_modulo,
    load_info,
    load_width,
    local_row,
    place_width,
    plane_fields,
    real_slices,
    slice_elements,
)
from hdl.spec import payloads
from hdl.spec.config import Config
from hdl.spec.payloads import QUERY
from hdl.spec.widths import bits_for_count

__all__ = ["QueryStore"]


class QueryStore(wiring.Component):
    """Hand out Q rows to the channels and bring them back in the order of the requests (paper section IV-B).

    A request gets one of ``query_queue`` places before any word of it is asked for, so slices never wait here. Requests
    for the same plane, one after the other, share an entry of the table of loads; another plane gets the next entry,
    as soon as no row of the entry's plane before is in flight, two cycles after the request before it. A cycle from a
    request to the channels, which take every row, and two from a row's last slice to the row; a row every
    second cycle.

    Members
    -------
    request : In(stream.Signature(query_request))
    info : Out(ArrayLayout(load_info, loads))    the planes of the rows in flight
    rows : Out(stream.Signature(local_row, always_ready=True)).array(num_channels)    to the channels
    slice_valid, slice_load, slice_place, slice_index, slice_last, slice_words : In    converted slices
    o : Out(stream.Signature(ArrayLayout(signed(operand_width), max_dim)))    zero beyond D
    busy : Out(1)
    """

    REQUEST_LATENCY = 1
    """From a request to its channel."""
    LATENCY = 2
    """From a row's last slice to the row."""

    def __init__(self, config: Config):
        self.config = config
        word = data.ArrayLayout(signed(config.operand_width), config.lane_width)
        super().__init__(
            {
                "request": In(stream.Signature(payloads.query_request(config))),
                "info": Out(data.ArrayLayout(load_info(config), config.loads)),
                "rows": Out(stream.Signature(local_row(config), always_ready=True)).array(config.num_channels),
                "slice_valid": In(1),
                "slice_load": In(load_width(config)),
                "slice_place": In(place_width(config)),
                "slice_index": In(bits_for_count(real_slices(config) - 1)),
                "slice_last": In(1),
                "slice_words": In(word),
                "o": Out(stream.Signature(data.ArrayLayout(signed(config.operand_width), config.max_dim))),
                "busy": Out(1),
            }
        )

    def elaborate(self, platform):
        m = Module()
        places = self.config.query_queue
        used = Signal(range(places + 1))
        complete = Signal(places)
        head = Signal(range(max(2, places)))
        read = Signal()
        room = Signal(init=1)  # a place is free
        taken = self.send(m, room)
        self.store(m, head)
        m.d.comb += [
            # Not in the cycle in which a row is taken: the enables of all its flip-flops would wait for Q×K.
            read.eq(complete.bit_select(head, 1) & ~self.o.valid),
            self.busy.eq((used != 0) | self.o.valid),
        ]
        m.d.sync += [used.eq(used + taken - read), room.eq(read | (room & ~(taken & (used == places - 1))))]
        with m.If(self.slice_valid & self.slice_last):
            m.d.sync += complete.bit_select(self.slice_place, 1).eq(1)
        with m.If(read):
            m.d.sync += [complete.bit_select(head, 1).eq(0), head.eq(add_modulo(head, 1, places))]
        with m.If(read):
            m.d.sync += self.o.valid.eq(1)
        with m.Elif(self.o.ready):
            m.d.sync += self.o.valid.eq(0)
        return m

    def send(self, m, room):
        """Requests take a place and pass through a register to the channel of their row."""
        config = self.config
        log_channels = config.num_channels.bit_length() - 1
        request = Signal(payloads.query_request(config), reset_less=True)
        same = Signal(reset_less=True)  # the plane is that of the request before
        place, next_place = (Signal(range(max(2, config.query_queue)), name=name) for name in ("place", "next_place"))
        valid, passed, entry_free = Signal(), Signal(), Signal()
        channel = Signal(config.channel_bits)
        taken = self.request.valid & self.request.ready
        entry = self.entries(m, passed, same, entry_free)
        m.d.comb += [
            passed.eq(valid & (same | entry_free)),
            self.request.ready.eq(room & (~valid | passed)),
            channel.eq(request.row[:log_channels] + request.plane.skew),
        ]
        for c, port in enumerate(self.rows):
            m.d.comb += [
                port.valid.eq(passed & ((channel == c) if log_channels else 1)),
                port.payload.load.eq(Cat(entry, Const(QUERY, 2))),
                port.payload.position.eq(place),
                port.payload.index.eq(request.row >> log_channels),
            ]
        for i in range(config.loads):
            with m.If(passed & (entry == i)):
                m.d.sync += [self.info[i][k].eq(v) for k, v in plane_fields(config, request.plane).items()]
        with m.If(passed | ~valid):
            m.d.sync += valid.eq(taken)
        with m.If(taken):
            m.d.sync += [
                request.eq(self.request.payload),
                same.eq(self.request.payload.plane.as_value() == request.plane.as_value()),
                place.eq(next_place),
                next_place.eq(add_modulo(next_place, 1, config.query_queue)),
            ]
        return taken

    def entries(self, m, passed, same, free):
        """Rows in flight by entry; returns the entry of the request that waits."""
        config = self.config
        current, entry = Signal(config.load_width, init=-1), Signal(config.load_width)
        done = self.slice_valid & self.slice_last
        counts = [Signal(bits_for_count(config.query_queue), name=f"rows_{i}") for i in range(config.loads)]
        unused = Signal(config.loads, init=-1)
        m.d.comb += [
            entry.eq(Mux(same, current, current + 1)),
        ]
        m.d.sync += free.eq(unused.bit_select((current + 1)[: config.load_width], 1) & ~passed)
        for i, count in enumerate(counts):
            begun, ended = passed & (entry == i), done & (self.slice_load[: config.load_width] == i)
            m.d.sync += [
                count.eq(count + begun - ended),
                unused[i].eq(~begun & (unused[i] | (ended & (count == 1)))),
            ]
        with m.If(passed):
            m.d.sync += current.eq(entry)
        return entry

    def store(self, m, head):
        """A memory per slice of a row; its output register is the payload of ``o``, and takes whatever is at ``head``
        while there is no row: whether it is complete need not be known for that."""
        config = self.config
        size = slice_elements(config)
        bits = size * config.operand_width
        last_slice = self.last_slice(m, head)
        row = []
        for index in range(real_slices(config)):
            memory = Memory(shape=bits, depth=max(2, config.query_queue), init=[])
            m.submodules[f"slice_{index}"] = memory
            write_port, read_port = memory.write_port(), memory.read_port()
            filled = Signal(name=f"filled_{index}", reset_less=True)
            m.d.comb += [
                write_port.en.eq(self.slice_valid & (self.slice_index == index)),
                write_port.addr.eq(self.slice_place),
                write_port.data.eq(self.slice_words.as_value()[:bits]),
                read_port.en.eq(~self.o.valid),
                read_port.addr.eq(head),
            ]
            with m.If(~self.o.valid):
                m.d.sync += filled.eq(last_slice >= index)
            row.append(Mux(filled, read_port.data, Const(0, bits)))
        m.d.comb += self.o.payload.as_value().eq(Cat(row))

    def last_slice(self, m, head):
        """Index of the last slice of the row at place ``head``."""
        indexes = []
        for i in range(self.config.query_queue):
            index = Signal.like(self.slice_index, name=f"last_{i}", reset_less=True)
            with m.If(self.slice_valid & self.slice_last & (self.slice_place == i)):
                m.d.sync += index.eq(self.slice_index)
            indexes.append(index)
        return Array(indexes)[head]
