"""Survivors of gathered rows, pushed together: their V rows come to the V buffer in the same order."""

from __future__ import annotations

from amaranth.hdl import Module, Mux, Signal, Value
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out

from hdl.pruning.line_filter import kept_line
from hdl.spec import numerics, payloads
from hdl.spec.config import Config
from hdl.spec.widths import bits_for_count
from hdl.stream.stream_skid import StreamSkid
from hdl.topk.line_packer import LinePacker
from hdl.topk.zero_eliminator import ZeroEliminator

__all__ = ["ValueCompactor"]


class ValueCompactor(wiring.Component):
    """Lines of the kept exponentials of rows, S in each line (fewer in the last), ``start`` counting from 0.

    S is that of the row; a row with another S than the rows inside waits until they have left.
    One line a cycle; latency :attr:`latency`.

    Members
    -------
    i : In(stream.Signature(kept_line(config)))      lines with ``b_count`` 0; at least one survivor in a row
    o : Out(stream.Signature(value_line(config)))
    empty : Out(1)                                   no row is inside
    """

    MAX_ROWS = 15

    def __init__(self, config: Config):
        self.config = config
        super().__init__(
            {
                "i": In(stream.Signature(kept_line(config))),
                "o": Out(stream.Signature(payloads.value_line(config))),
                "empty": Out(1),
            }
        )

    @staticmethod
    def latency_of(config: Config) -> int:
        """Cycles from a row's last line to its last line of survivors."""
        return ZeroEliminator.latency_of(config.lanes) + LinePacker.latency_of(config.lanes)

    @property
    def latency(self) -> int:
        return self.latency_of(self.config)

    def elaborate(self, platform):
        m = Module()
        lanes = self.config.lanes
        line, o = self.i.payload, self.o.payload
        m.submodules.eliminator = eliminator = ZeroEliminator(numerics.EXP_WIDTH, lanes=lanes)
        m.submodules.packer = packer = LinePacker(numerics.EXP_WIDTH, lanes_in=lanes, lanes_out=lanes)
        m.submodules.skid = skid = StreamSkid(eliminator.i.payload.shape())
        wiring.connect(m, skid.o, eliminator.i)
        wiring.connect(m, eliminator.o, packer.i)
        group = packer.o.payload

        admit, size = self.admit(m)
        m.d.comb += [
            skid.i.payload.items.eq(line.exps),
            skid.i.payload.keep.eq(line.keep),
            skid.i.payload.last.eq(line.a_last),
            skid.i.valid.eq(self.i.valid & admit),
            self.i.ready.eq(skid.i.ready & admit),
        ]
        start = Signal.like(o.start)
        m.d.comb += [
            o.start.eq(start),
            o.a_count.eq(group.count),
            o.a_last.eq(group.last),
            self.o.valid.eq(packer.o.valid),
            packer.o.ready.eq(self.o.ready),
        ]
        for lane in range(lanes):
            m.d.comb += o.exps[lane].eq(Mux(lane < group.count, group.items[lane], 0))
        with m.If(self.o.valid & self.o.ready):
            m.d.sync += start.eq(Mux(group.last, 0, start + packer.size))
        m.d.comb += packer.size.eq(size)
        return m

    def admit(self, m: Module) -> tuple[Value, Value]:
        """Count the rows inside and keep their S; returns whether the line that is offered may come in, and S."""
        line = self.i.payload
        rows = Signal(range(self.MAX_ROWS + 1))
        empty, full = Signal(init=1), Signal()
        inside = Signal()  # the last line that came in was not its row's last
        size = Signal(bits_for_count(self.config.lanes), name="size", init=self.config.lanes)
        admit, enter, leave = Signal(), Signal(), Signal()
        m.d.comb += [
            self.empty.eq(empty),
            admit.eq(inside | empty | ~(line.a.resized | full)),
            enter.eq(self.i.valid & self.i.ready),
            leave.eq(self.o.valid & self.o.ready & self.o.payload.a_last),
        ]
        begin = enter & ~inside
        m.d.sync += [
            empty.eq(~begin & (empty | (leave & (rows == 1)))),
            full.eq(~leave & (full | (begin & (rows == self.MAX_ROWS - 1)))),
        ]
        with m.If(begin ^ leave):
            m.d.sync += rows.eq(rows + Mux(begin, 1, -1))
        with m.If(enter):
            m.d.sync += [inside.eq(~line.a_last), size.eq(1)]
            for log in range(self.config.lanes.bit_length() - 1):
                with m.If(line.a.log_slices == log):
                    m.d.sync += size.eq(self.config.lanes >> log)
        return admit, size
