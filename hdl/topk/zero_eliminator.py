"""Zero eliminator: pushes the kept items of a group together (paper section IV-B, fig. 10)."""

from __future__ import annotations

from amaranth.hdl import Const, Module, Mux, ShapeLike, Signal, Value
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out

from hdl.spec.payloads import lane_group, masked_group
from hdl.spec.widths import bits_for_count

__all__ = ["ZeroEliminator", "prefix_counts"]

_LEVELS_PER_STAGE = 2


def prefix_counts(bits: list[Value]) -> list[Value]:
    """Numbers of ones among the first 0, 1, …, len(bits) of ``bits`` (log-depth prefix sum)."""
    size = len(bits)
    sums: list[Value] = list(bits)
    step = 1
    while step < size:
        sums = [
            sums[i] if i < step else (sums[i] + sums[i - step])[: bits_for_count(min(i + 1, 2 * step))]
            for i in range(size)
        ]
        step *= 2
    return [Const(0, 1), *sums]


class ZeroEliminator(wiring.Component):
    """Compact the kept items of each group to the lowest lanes, in order.

    As in the paper: a prefix sum of the zeros says how far each kept item moves, then a shifter of log2(lanes) levels
    moves it, lowest bit of the distance first (so no two items ever meet). A register after the prefix sum and after
    every second level of the shifter. A group without kept items gives a group with ``count`` 0; there is one group out
    for each group in. ``latency`` cycles, initiation interval 1; all stages move together while the output is free or
    taken.

    Members
    -------
    i : In(stream.Signature(masked_group(shape, lanes)))    items, and which of them to keep
    o : Out(stream.Signature(lane_group(shape, lanes)))     the kept ones; lanes from ``count`` on are undefined
    """

    def __init__(self, shape: ShapeLike, *, lanes: int):
        if not isinstance(lanes, int) or lanes < 1:
            raise ValueError(f"lanes must be a positive integer, not {lanes!r}")
        self.shape = shape
        self.lanes = lanes
        self.levels = (lanes - 1).bit_length()
        self.latency = self.latency_of(lanes)
        super().__init__(
            {
                "i": In(stream.Signature(masked_group(shape, lanes))),
                "o": Out(stream.Signature(lane_group(shape, lanes))),
            }
        )

    @staticmethod
    def latency_of(lanes: int) -> int:
        """Cycles from a group in to its group out."""
        return 1 + -(-(lanes - 1).bit_length() // _LEVELS_PER_STAGE)

    def elaborate(self, platform):
        m = Module()
        enable = Signal()
        m.d.comb += [enable.eq(~self.o.valid | self.o.ready), self.i.ready.eq(enable)]

        items = [Value.cast(self.i.p.items[lane]) for lane in range(self.lanes)]
        keep = [self.i.p.keep[lane] for lane in range(self.lanes)]
        zeros = prefix_counts([~bit for bit in keep])[: self.lanes]
        state = (items, keep, zeros, prefix_counts(keep)[-1], self.i.p.last, self.i.valid)
        state = self._register(m, enable, 0, state)
        for stage in range(1, self.latency):
            for level in range(_LEVELS_PER_STAGE * (stage - 1), min(_LEVELS_PER_STAGE * stage, self.levels)):
                state = (*self._shift(level, *state[:3]), *state[3:])
            state = self._register(m, enable, stage, state)

        items, _, _, count, last, valid = state
        m.d.comb += [Value.cast(self.o.p.items[lane]).eq(items[lane]) for lane in range(self.lanes)]
        m.d.comb += [self.o.p.count.eq(count), self.o.p.last.eq(last), self.o.valid.eq(valid)]
        return m

    def _shift(self, level: int, items, keep, zeros):
        """Items whose distance has bit ``level`` move down by 2**level lanes."""
        step = 1 << level
        goes = [
            (bit & zero[level : level + 1]) if len(zero) > level else Const(0, 1)
            for bit, zero in zip(keep, zeros, strict=True)
        ]
        out_items, out_keep, out_zeros = [], [], []
        for lane in range(self.lanes):
            stays = keep[lane] & ~goes[lane]
            if lane + step < self.lanes:
                comes = goes[lane + step]
                out_items.append(Mux(comes, items[lane + step], items[lane]))
                out_zeros.append(Mux(comes, zeros[lane + step], zeros[lane]))
                out_keep.append(comes | stays)
            else:
                out_items.append(items[lane])
                out_zeros.append(zeros[lane])
                out_keep.append(stays)
        return out_items, out_keep, out_zeros

    @staticmethod
    def _register(m: Module, enable: Value, stage: int, state):
        """The whole state one register later; only ``valid`` is reset."""
        items, keep, zeros, count, last, valid = state

        def held(name: str, value: Value, reset_less: bool = True) -> Signal:
            register = Signal(len(value), name=f"{name}_{stage}", reset_less=reset_less)
            with m.If(enable):
                m.d.sync += register.eq(value)
            return register

        return (
            [held(f"item{lane}", item) for lane, item in enumerate(items)],
            [held(f"keep{lane}", bit) for lane, bit in enumerate(keep)],
            [held(f"zeros{lane}", zero) for lane, zero in enumerate(zeros)],
            held("count", count),
            held("last", last),
            held("valid", valid, reset_less=False),
        )
