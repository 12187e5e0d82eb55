"""Queue of a stream: cuts ready chains, and holds what waits for a slower neighbour."""

from __future__ import annotations

from amaranth.hdl import Module, Mux, Shape, ShapeLike, Signal, Value
from amaranth.lib import stream, wiring
from amaranth.lib.memory import Memory
from amaranth.lib.wiring import In, Out

from hdl.spec.widths import bits_for_count

__all__ = ["StreamQueue"]


class StreamQueue(wiring.Component):
    """First-in first-out queue; at least 3 items deep, one item a cycle.

    Every output is a flip-flop: no path leads through, and none begins in a memory. Up to SHALLOW items are held in
    LUT RAM (latency 2), more in block RAM (latency 3).

    Members
    -------
    i : In(stream.Signature(shape))
    o : Out(stream.Signature(shape))
    level : Out(n)    items inside, 0…depth
    """

    SHALLOW = 64
    LATENCY = 2
    """Of a queue that is not deep; a deep one has 1 more."""

    def __init__(self, shape: ShapeLike, *, depth: int):
        if depth < 3:
            raise ValueError(f"depth must be at least 3, not {depth!r}")
        self.depth = depth
        self.shape = shape
        super().__init__(
            {
                "i": In(stream.Signature(shape)),
                "o": Out(stream.Signature(shape)),
                "level": Out(bits_for_count(depth)),
            }
        )

    @property
    def deep(self) -> bool:
        """Whether the items lie in block RAM."""
        return self.depth > self.SHALLOW

    def elaborate(self, platform):
        m = Module()
        places = self.depth - (2 if self.deep else 1)  # the others are the output, and the word that a block RAM read
        width = Shape.cast(self.shape).width
        attrs = {} if self.deep else {"ram_style": "distributed"}
        m.submodules.memory = memory = Memory(shape=width, depth=places, init=[], attrs=attrs)
        write = memory.write_port()
        push, pop = self.i.valid & self.i.ready, self.o.valid & self.o.ready
        room, filled = Signal(init=1), Signal()  # filled: of the memory
        count = Signal(range(places + 1))  # items in the memory
        take = Signal()  # an item leaves it
        m.d.comb += [
            self.i.ready.eq(room),
            write.data.eq(Value.cast(self.i.payload)),
            write.en.eq(push),
        ]
        self._step(m, write.addr, push, places)
        # push needs room and take an item: the comparisons begin at flip-flops, not at the neighbours' signals.
        m.d.sync += [
            room.eq(take | (room & ~(push & (count == places - 1)))),
            filled.eq(push | (filled & ~(take & (count == 1)))),
        ]
        with m.If(push ^ take):
            m.d.sync += count.eq(count + Mux(push, 1, -1))
        with m.If(push ^ pop):
            m.d.sync += self.level.eq(self.level + Mux(push, 1, -1))
        if self.deep:
            self._read_block(m, memory, take, filled, places)
        else:
            self._read_lut(m, memory, take, filled, places)
        return m

    @staticmethod
    def _step(m, pointer, enable, places):
        """Address ``pointer`` + 1, round about, when ``enable``."""
        place = Signal(range(places), name="place")
        m.d.comb += pointer.eq(place)
        with m.If(enable):
            m.d.sync += place.eq(0)
            with m.If(place != places - 1):
                m.d.sync += place.eq(place + 1)

    def _read_lut(self, m, memory, take, filled, places):
        read = memory.read_port(domain="comb")
        self._step(m, read.addr, take, places)
        self._output(m, take, filled, read.data)

    def _read_block(self, m, memory, take, filled, places):
        """The word that the memory gives is an item of its own, so that the output need not wait for the memory."""
        read = memory.read_port()
        self._step(m, read.addr, take, places)
        given, give = Signal(), Signal()
        m.d.comb += [take.eq(filled & (~given | give)), read.en.eq(take)]
        with m.If(take):
            m.d.sync += given.eq(1)
        with m.Elif(give):
            m.d.sync += given.eq(0)
        self._output(m, give, given, read.data)

    def _output(self, m, take, given, data):
        payload = Signal(Shape.cast(self.shape).width, reset_less=True)
        valid = Signal()
        m.d.comb += [
            Value.cast(self.o.payload).eq(payload),
            self.o.valid.eq(valid),
            take.eq(given & (~valid | self.o.ready)),
        ]
        with m.If(~valid | self.o.ready):
            m.d.sync += valid.eq(given)
        with m.If(take):
            m.d.sync += payload.eq(data)
