"""Q rows: asked for in order, put together from slices, given in order."""

from __future__ import annotations

from amaranth.hdl import Array, Cat, Const, Module, Mux, Signal, signed
from amaranth.lib import data, stream, wiring
from amaranth.lib.memory import Memory
from amaranth.lib.wiring import In, Out

from hdl import layouts
from hdl.config import Config
from hdl.fetch_layouts import (
    NUM_BUFFER_LOADS,
    add_modulo,
    load_info,
    plane_fields,
    query_local_row,
    real_slices,
    slice_elements,
)
from hdl.layouts import bits_for_count

__all__ = ["QueryStore"]


class QueryStore(wiring.Component):
    """Hand out Q rows to the channels and bring them back in the order of the requests (paper section IV-B).

    A request gets one of ``query_queue`` places before any word of it is asked for, so slices never wait here. Two
    cycles from a request to the channels, and from a row's last slice to the row; one row a cycle.

    Members
    -------
    request : In(stream.Signature(query_request))
    info : Out(ArrayLayout(load_info, query_queue))    parameters of the rows in flight
    rows : Out(stream.Signature(query_local_row)).array(num_channels)    to the channels
    slice_valid, slice_load, slice_index, slice_last, slice_words : In    converted slices
    o : Out(stream.Signature(ArrayLayout(signed(operand_width), max_dim)))    zero beyond D
    busy : Out(1)
    """

    def __init__(self, config: Config):
        self.config = config
        word = data.ArrayLayout(signed(config.operand_width), config.lane_width)
        row = query_local_row(config)
        super().__init__(
            {
                "request": In(stream.Signature(layouts.query_request(config))),
                "info": Out(data.ArrayLayout(load_info(config), config.query_queue)),
                "rows": Out(stream.Signature(row)).array(config.num_channels),
                "slice_valid": In(1),
                "slice_load": In(row["load"].shape),
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
        taken = self.send(m, used)
        place = Signal(range(max(2, places)))
        m.d.comb += place.eq(self.slice_load - NUM_BUFFER_LOADS)
        self.store(m, place, head, read)
        m.d.comb += [
            read.eq(complete.bit_select(head, 1) & (~self.o.valid | self.o.ready)),
            self.busy.eq((used != 0) | self.o.valid),
        ]
        m.d.sync += used.eq(used + taken - read)
        with m.If(self.slice_valid & self.slice_last):
            m.d.sync += complete.bit_select(place, 1).eq(1)
        with m.If(read):
            m.d.sync += [complete.bit_select(head, 1).eq(0), head.eq(add_modulo(head, 1, places))]
        with m.If(~self.o.valid | self.o.ready):
            m.d.sync += self.o.valid.eq(read)
        return m

    def send(self, m, used):
        """Requests take a place and pass through two registers to the channel of their row."""
        config = self.config
        log_channels = config.num_channels.bit_length() - 1
        request = Signal(layouts.query_request(config), reset_less=True)
        place = [Signal(range(max(2, config.query_queue)), name=f"place_{i}") for i in range(2)]
        valid = [Signal(name=f"valid_{i}") for i in range(2)]
        row = Signal(query_local_row(config), reset_less=True)
        channel = Signal(max(1, log_channels), reset_less=True)  # a single channel: always 0
        moved = Signal()
        ready = Array(port.ready for port in self.rows)[channel] if log_channels else self.rows[0].ready
        taken = self.request.valid & self.request.ready
        m.d.comb += [
            moved.eq(~valid[1] | ready),
            self.request.ready.eq((used != config.query_queue) & (~valid[0] | moved)),
        ]
        for c, port in enumerate(self.rows):
            m.d.comb += [port.valid.eq(valid[1] & (channel == c)), port.payload.eq(row)]
        with m.If(moved):
            m.d.sync += [
                valid[1].eq(valid[0]),
                place[1].eq(place[0]),
                row.load.eq(NUM_BUFFER_LOADS + place[0]),
                row.index.eq(request.row >> log_channels),
                channel.eq(request.row[:log_channels]),
            ]
            for i in range(config.query_queue):
                with m.If(valid[0] & (place[0] == i)):
                    m.d.sync += [self.info[i][k].eq(v) for k, v in plane_fields(config, request.plane).items()]
                    m.d.sync += [self.info[i][k].eq(0) for k in ("shift", "count", "repeat", "listed", "list")]
        with m.If(moved | ~valid[0]):
            m.d.sync += valid[0].eq(taken)
        with m.If(taken):
            m.d.sync += request.eq(self.request.payload)
        next_place = Signal(range(max(2, config.query_queue)))
        with m.If(taken):
            m.d.sync += [next_place.eq(add_modulo(next_place, 1, config.query_queue)), place[0].eq(next_place)]
        return taken

    def store(self, m, place, head, read):
        """A memory per slice of a row; its output register is the payload of ``o``."""
        config = self.config
        size = slice_elements(config)
        bits = size * config.operand_width
        row = []
        for index in range(real_slices(config)):
            memory = Memory(shape=bits, depth=max(2, config.query_queue), init=[])
            m.submodules[f"slice_{index}"] = memory
            write_port, read_port = memory.write_port(), memory.read_port()
            filled = Signal(name=f"filled_{index}", reset_less=True)
            last_slice = Array(self.info[i].last_slice for i in range(config.query_queue))[head]
            m.d.comb += [
                write_port.en.eq(self.slice_valid & (self.slice_index == index)),
                write_port.addr.eq(place),
                write_port.data.eq(self.slice_words.as_value()[:bits]),
                read_port.en.eq(read),
                read_port.addr.eq(head),
            ]
            with m.If(read):
                m.d.sync += filled.eq(last_slice >= index)
            row.append(Mux(filled, read_port.data, Const(0, bits)))
        m.d.comb += self.o.payload.as_value().eq(Cat(row))
