"""The next two rows of a stream of per-row facts, side by side."""

from __future__ import annotations

from amaranth.hdl import Cat, Module, ShapeLike, Signal
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out

__all__ = ["RowWindow"]


class RowWindow(wiring.Component):
    """Shows facts of row A, the oldest, and of row B after it, until ``advance`` makes B the new A.

    A line may belong to two rows (docs/architecture.md), so whoever works on lines needs the facts of both. One row a
    cycle goes in and out; ``i.ready`` is a register. Latency 1.

    Members
    -------
    i : In(stream.Signature(shape))    facts, in row order
    a : Out(shape)                     row A, if ``a_valid``
    b : Out(shape)                     row B, if ``b_valid``
    a_valid, b_valid : Out(1)          the row is known; ``b_valid`` implies ``a_valid``
    advance : In(1)                    row A is done; only while ``a_valid``
    """

    DEPTH = 3  # two rows, and one that comes in while the full window moves on

    def __init__(self, shape: ShapeLike):
        self.shape = shape
        super().__init__(
            {
                "i": In(stream.Signature(shape)),
                "a": Out(shape),
                "b": Out(shape),
                "a_valid": Out(1),
                "b_valid": Out(1),
                "advance": In(1),
            }
        )

    def elaborate(self, platform):
        m = Module()
        rows = [Signal(self.shape, name=f"row{index}", reset_less=True) for index in range(self.DEPTH)]
        valid = Signal(self.DEPTH)
        after = Signal(self.DEPTH)  # valid rows once row A has left
        m.d.comb += [
            after.eq(valid >> self.advance),
            self.a.eq(rows[0]),
            self.b.eq(rows[1]),
            Cat(self.a_valid, self.b_valid).eq(valid[:2]),
            self.i.ready.eq(~valid[-1]),
        ]
        with m.If(self.i.valid & self.i.ready):
            m.d.sync += valid.eq((after << 1) | 1)
        with m.Else():
            m.d.sync += valid.eq(after)
        for index, row in enumerate(rows):
            with m.If(~after[index]):
                m.d.sync += row.eq(self.i.payload)
            with m.Elif(self.advance):
                m.d.sync += row.eq(rows[min(index + 1, self.DEPTH - 1)])
        return m
