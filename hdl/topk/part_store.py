"""Stores of the scores that a quick-select pass puts aside (paper section IV-B, fig. 9)."""

from __future__ import annotations

from amaranth.hdl import Cat, Module, Mux, Signal, signed
from amaranth.lib import data, wiring
from amaranth.lib.memory import Memory
from amaranth.lib.wiring import In, Out

from hdl.spec import select_policy
from hdl.spec.widths import bits_for_count
from hdl.topk.zero_eliminator import prefix_counts

__all__ = ["PartStore"]


class PartStore(wiring.Component):
    """One side of the partition: zero eliminator, line packer and circular line memory in one.

    The kept items of each line move through one butterfly network straight to their lanes after those that wait (a
    compaction may be combined with a rotation without conflicts, if the lowest bit of the lane is set right first), and
    full lines are written to memory. ``last`` has the rest written as well. A part begins at line ``base``; older lines
    stay readable until they are overwritten, so a part may be read while the next one is written after it.

    Members
    -------
    start : In(1)           begin a new part; not before the last line of the previous one is written
    en, last : In(1)        a line comes; it is the last of the pass
    mask : In(lanes)        items of it to store
    items : In(lanes)       the items, one cycle after ``mask``
    count : Out(n)          items stored of the line, one cycle after ``mask``
    base : Out(n)           first line of the current part
    read_en, read_addr : In
    read_data : Out(lanes)  line of the memory, one cycle after ``read_en``, held
    """

    def __init__(self, *, score_width: int, lanes: int, depth: int):
        self.lanes = lanes
        self.depth = depth
        self.levels = lanes.bit_length() - 1
        self.index_width = max(1, self.levels)  # bits of a lane
        self.stages = select_policy.store_latency(lanes)
        self.line = data.ArrayLayout(signed(score_width), lanes)
        address = max(1, (depth - 1).bit_length())
        super().__init__(
            {
                "start": In(1),
                "en": In(1),
                "last": In(1),
                "mask": In(lanes),
                "items": In(self.line),
                "count": Out(bits_for_count(lanes)),
                "base": Out(address),
                "read_en": In(1),
                "read_addr": In(address),
                "read_data": Out(self.line),
            }
        )

    def elaborate(self, platform):
        m = Module()
        lanes = range(self.lanes)
        before = prefix_counts([self.mask[lane] for lane in lanes])
        valid, last, offset = Signal(), Signal(), Signal(self.index_width)
        keep = Signal(self.lanes, reset_less=True)
        targets = [Signal(self.index_width, name=f"before{lane}", reset_less=True) for lane in lanes]
        total = Signal(self.levels + 1)
        m.d.sync += [valid.eq(self.en), last.eq(self.en & self.last), keep.eq(self.mask), self.count.eq(before[-1])]
        m.d.sync += [targets[lane].eq(before[lane]) for lane in lanes]
        m.d.comb += total.eq(offset + self.count)
        with m.If(self.start):
            m.d.sync += offset.eq(0)
        with m.Elif(valid):
            m.d.sync += offset.eq(total[: self.levels])

        items = [self.items[lane] for lane in lanes]
        keep = [keep[lane] for lane in lanes]
        targets = [(offset + target)[: self.levels] for target in targets]
        control = (valid & total[self.levels], last, offset)
        per_stage = -(-self.levels // self.stages)
        for stage in range(self.stages):
            for level in range(per_stage * stage, min(per_stage * (stage + 1), self.levels)):
                items, keep, targets = self._exchange(level, items, keep, targets)
            items, keep, targets, control = self._register(m, stage, valid, items, keep, targets, control)
            valid = control[3]
        self._write(m, items, keep, control)
        return m

    def _exchange(self, level: int, items, keep, targets):
        """Butterfly level: an item goes to the lane whose bit ``level`` is that of its target."""
        out = ([], [], [])
        for lane in range(self.lanes):
            other = lane ^ (1 << level)
            wanted = lane >> level & 1
            stays = keep[lane] & (targets[lane][level] == wanted)
            comes = keep[other] & (targets[other][level] == wanted)
            out[0].append(Mux(stays, items[lane], items[other]))
            out[1].append(stays | comes)
            out[2].append(Mux(stays, targets[lane], targets[other]))
        return out

    def _register(self, m: Module, stage: int, valid, items, keep, targets, control):
        held_items = Signal(self.line, name=f"items_{stage}", reset_less=True)
        held_keep = Signal(self.lanes, name=f"keep_{stage}")
        held_targets = [
            Signal(self.index_width, name=f"target{lane}_{stage}", reset_less=True) for lane in range(self.lanes)
        ]
        full, last, offset = control[:3]
        held = (
            Signal(name=f"full_{stage}"),
            Signal(name=f"last_{stage}"),
            Signal(self.index_width, name=f"offset_{stage}", reset_less=True),
            Signal(name=f"valid_{stage}"),
        )
        m.d.sync += [target.eq(value) for target, value in zip(held_targets, targets, strict=True)]
        m.d.sync += [held_items[lane].eq(items[lane]) for lane in range(self.lanes)]
        m.d.sync += held_keep.eq(Mux(valid, Cat(keep), 0))
        m.d.sync += [held[0].eq(full), held[1].eq(last), held[2].eq(offset), held[3].eq(valid)]
        lanes = range(self.lanes)
        return [held_items[lane] for lane in lanes], [held_keep[lane] for lane in lanes], held_targets, held

    def _write(self, m: Module, items, keep, control):
        """Fill the waiting line; write it when it is full, and what is left a cycle after the last."""
        full, last, offset, _ = control
        m.submodules.memory = memory = Memory(shape=self.line, depth=self.depth, init=[])
        read = memory.read_port(transparent_for=())
        write = memory.write_port()
        wait = Signal(self.line, reset_less=True)
        flush = Signal()
        address = Signal.like(self.base)
        m.d.comb += [read.en.eq(self.read_en), read.addr.eq(self.read_addr), self.read_data.eq(read.data)]
        m.d.comb += [write.en.eq(full | flush), write.addr.eq(address)]
        m.d.sync += flush.eq(last)
        for lane in range(self.lanes):
            m.d.comb += write.data[lane].eq(Mux(flush | (lane < offset), wait[lane], items[lane]))
            with m.If(keep[lane]):
                m.d.sync += wait[lane].eq(items[lane])
        with m.If(write.en):
            m.d.sync += address.eq(address + 1)
        with m.If(self.start):
            m.d.sync += self.base.eq(address)
