"""Line packer: regroups the items of a row in full lines."""

from __future__ import annotations

from amaranth.hdl import Cat, Module, Mux, Shape, ShapeLike, Signal, Value
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

from hdl.spec.payloads import lane_group
from hdl.spec.widths import bits_for_count

__all__ = ["LinePacker"]

_LEVELS_PER_STAGE = 2


class LinePacker(wiring.Component):
    """Pack the items of each row in groups of exactly ``size`` items, in order.

    Only the last group of a row may hold fewer: 1…size items (0 only if the whole row is empty). A full group waits
    inside until the next item, or the row's end, says whether it is the last. One group in per cycle while groups hold
    at most ``size`` items; a larger one is cut into parts of ``size`` items, one a cycle.

    Groups are repeated with period ``size`` over all lanes, rotated to follow the items that wait, and merged: a stage
    for the cut, one for every two levels of the rotation, one for the line being filled and one for the output.

    Members
    -------
    i : In(stream.Signature(lane_group(shape, lanes_in)))     compact groups; ``count`` may be 0
    o : Out(stream.Signature(lane_group(shape, lanes_out)))   lanes from ``count`` on are undefined
    size : In(n)                                              power of two, 1…lanes_out; constant while rows are inside
    """

    def __init__(self, shape: ShapeLike, *, lanes_in: int, lanes_out: int):
        if not isinstance(lanes_in, int) or lanes_in < 1:
            raise ValueError(f"lanes_in must be a positive integer, not {lanes_in!r}")
        if not isinstance(lanes_out, int) or lanes_out < 1 or lanes_out & (lanes_out - 1):
            raise ValueError(f"lanes_out must be a power of two, not {lanes_out!r}")
        self.shape = shape
        self.width = Shape.cast(shape).width
        self.lanes_in = lanes_in
        self.lanes_out = lanes_out
        self.levels = lanes_out.bit_length() - 1
        self.latency = self.latency_of(lanes_out)
        super().__init__(
            {
                "i": In(stream.Signature(lane_group(shape, lanes_in))),
                "o": Out(stream.Signature(lane_group(shape, lanes_out))),
                "size": In(bits_for_count(lanes_out)),
            }
        )

    @staticmethod
    def latency_of(lanes_out: int) -> int:
        """Cycles from a row's last group in to its last group out, if nothing stalls and the group is not cut."""
        return 4 + -(-(lanes_out.bit_length() - 1) // _LEVELS_PER_STAGE)

    def elaborate(self, platform):
        m = Module()
        enable = Signal()
        m.d.comb += enable.eq(~self.o.valid | self.o.ready)
        part = self._cut(m, enable)
        for stage in range(-(-self.levels // _LEVELS_PER_STAGE)):
            part = self._rotate(m, enable, part, stage)
        self._merge(m, enable, part)
        return m

    def _group(self, name: str) -> data.View:
        """Register of a group of at most ``size`` items on its way to the line; ``offset`` is where it will start."""
        layout = data.StructLayout(
            {
                "items": data.ArrayLayout(self.width, self.lanes_out),
                "offset": max(1, self.levels),
                "count": bits_for_count(self.lanes_out),
                "last": 1,
            }
        )
        return Signal(layout, name=name, reset_less=True)

    def _cut(self, m: Module, enable: Value):
        """Take a group, hand it on in parts of ``size`` items, repeated with that period over all lanes."""
        items = [Signal(self.width, name=f"cut_item{lane}", reset_less=True) for lane in range(self.lanes_in)]
        count = Signal(bits_for_count(self.lanes_in), reset_less=True)
        last = Signal(reset_less=True)
        busy = Signal()
        offset = Signal(max(1, self.levels))
        part, valid = self._group("part"), Signal(name="part_valid")

        more = Signal()
        taken = Signal.like(part.count)
        m.d.comb += [
            more.eq(count > self.size),
            taken.eq(Mux(more, self.size, count)),
            self.i.ready.eq(enable & (~busy | ~more)),
        ]
        with m.If(enable):
            m.d.sync += [valid.eq(busy), part.count.eq(taken), part.offset.eq(offset), part.last.eq(last & ~more)]
            m.d.sync += [part.items[lane].eq(self._repeated(items, lane)) for lane in range(self.lanes_out)]
            with m.If(busy):
                m.d.sync += offset.eq(Mux(last & ~more, 0, (offset + taken) & (self.size - 1)))
                m.d.sync += count.eq(count - self.size)
                m.d.sync += [items[lane].eq(self._behind(items, lane)) for lane in range(self.lanes_in)]
        with m.If(self.i.ready):
            m.d.sync += [busy.eq(self.i.valid), count.eq(self.i.p.count), last.eq(self.i.p.last)]
            m.d.sync += [items[lane].eq(Value.cast(self.i.p.items[lane])) for lane in range(self.lanes_in)]
        return part, valid

    def _repeated(self, items: list[Signal], lane: int) -> Value:
        """Item ``lane mod size``."""
        value = items[lane & ((1 << self.levels) - 1)] if lane < self.lanes_in else items[0]
        for level in range(self.levels):
            source = lane & ((1 << level) - 1)
            if source != lane and source < self.lanes_in:
                value = Mux(self.size[level], items[source], value)
        return value

    def _behind(self, items: list[Signal], lane: int) -> Value:
        """Item ``lane + size``."""
        value = items[lane]
        for level in range(self.levels + 1):
            if lane + (1 << level) < self.lanes_in:
                value = Mux(self.size[level], items[lane + (1 << level)], value)
        return value

    def _rotate(self, m: Module, enable: Value, part, stage: int):
        """Two levels of the rotation by ``offset``, and a register."""
        group, valid = part
        out, out_valid = self._group(f"rotated_{stage}"), Signal(name=f"rotated_{stage}_valid")
        items = [group.items[lane] for lane in range(self.lanes_out)]
        for level in range(_LEVELS_PER_STAGE * stage, min(_LEVELS_PER_STAGE * (stage + 1), self.levels)):
            step = 1 << level
            items = [Mux(group.offset[level], items[lane - step], items[lane]) for lane in range(self.lanes_out)]
        with m.If(enable):
            m.d.sync += [out.eq(group), out.items.eq(Cat(items)), out_valid.eq(valid)]
        return out, out_valid

    def _merge(self, m: Module, enable: Value, part):
        """Fill the line; hand it on when an item is left over, or one cycle after the row's end."""
        group, valid = part
        line = [Signal(self.width, name=f"line_item{lane}", reset_less=True) for lane in range(self.lanes_out)]
        fill = Signal(bits_for_count(self.lanes_out))
        done = Signal()
        out = Signal(self.o.payload.shape(), reset_less=True)
        out_valid = Signal()

        total = Signal(range(2 * self.lanes_out + 1))
        over = Signal()
        m.d.comb += [total.eq(fill + group.count), over.eq(total > self.size)]
        m.d.comb += [self.o.payload.eq(out), self.o.valid.eq(out_valid)]
        fresh = Signal(self.lanes_out)
        m.d.comb += fresh.eq(Cat(lane >= fill for lane in range(self.lanes_out)))
        with m.If(enable):
            m.d.sync += [out_valid.eq(done | (valid & over)), out.last.eq(done)]
            m.d.sync += out.count.eq(Mux(done, fill, self.size))
            for lane in range(self.lanes_out):
                m.d.sync += Value.cast(out.items[lane]).eq(Mux(fresh[lane], group.items[lane], line[lane]))
                with m.If(valid & (done | over | fresh[lane])):
                    m.d.sync += line[lane].eq(group.items[lane])
            m.d.sync += done.eq(valid & group.last)
            with m.If(done):
                m.d.sync += fill.eq(Mux(valid, group.count, 0))
            with m.Elif(valid):
                m.d.sync += fill.eq(Mux(over, total - self.size, total))
