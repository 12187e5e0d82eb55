"""Top-k engine: the k largest scores of a row, in the order of the input (paper section IV-B)."""

from __future__ import annotations

from amaranth.hdl import Cat, Const, Module, Mux, Signal, Value, signed
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

from hdl.spec.payloads import lane_group, masked_group, select_line
from hdl.stream.stream_queue import StreamQueue
from hdl.topk.keep_mask import KeepMask
from hdl.topk.line_packer import LinePacker
from hdl.topk.quick_select import QuickSelect
from hdl.topk.zero_eliminator import ZeroEliminator

__all__ = ["TopK", "topk_item"]


def topk_item(config) -> data.StructLayout:
    """A survivor."""
    return data.StructLayout(
        {
            "score": signed(config.score_width),
            "position": config.position_width,  # in the row, from 0
        }
    )


class TopK(wiring.Component):
    """Exactly min(k, n) survivors of a row: the largest scores, of equal ones the earliest, in the order of the input.

    As in the paper: quick-select finds the k-th largest and how many ties of it belong to the top k; then the buffered
    row passes two comparators a lane, a keep mask and a zero eliminator, and is packed in full lines. A row is filtered
    while quick-select works on the next one. Bit-exact with :func:`golden.datapath.topk.survivors`.

    Members
    -------
    i : In(stream.Signature(select_line(config)))                    scores of a row, every line but the last full
    o : Out(stream.Signature(lane_group(topk_item(config), P)))      survivors; every group but a row's last is full
    """

    def __init__(self, config):
        self.config = config
        self.lanes = config.topk_parallelism
        self.item = topk_item(config)
        super().__init__(
            {
                "i": In(stream.Signature(select_line(config))),
                "o": Out(stream.Signature(lane_group(self.item, self.lanes))),
            }
        )

    def elaborate(self, platform):
        m = Module()
        lines = -(-self.config.max_tokens // self.lanes)
        m.submodules.select = select = QuickSelect(self.config)
        m.submodules.row = row = StreamQueue(select_line(self.config), depth=lines + 16)
        m.submodules.eliminate = eliminate = ZeroEliminator(self.item, lanes=self.lanes)
        m.submodules.packer = packer = LinePacker(self.item, lanes_in=self.lanes, lanes_out=self.lanes)
        m.submodules.out = out = StreamQueue(lane_group(self.item, self.lanes), depth=4)
        m.d.comb += [
            row.i.payload.eq(self.i.payload),
            select.i.payload.eq(self.i.payload),
            self.i.ready.eq(row.i.ready & select.i.ready),
            row.i.valid.eq(self.i.valid & select.i.ready),
            select.i.valid.eq(self.i.valid & row.i.ready),
            packer.size.eq(self.lanes),
        ]
        self._filter(m, row.o, select.o, eliminate.i)
        wiring.connect(m, eliminate.o, packer.i)
        wiring.connect(m, packer.o, out.i)
        wiring.connect(m, out.o, wiring.flipped(self.o))
        return m

    def _filter(self, m: Module, row, selection, target):
        """Compare the lines of a row with its threshold, then mask them; a register after either."""
        enable, taken = Signal(), Signal()
        m.d.comb += [
            enable.eq(~target.valid | target.ready),
            taken.eq(row.valid & selection.valid),
            row.ready.eq(enable & selection.valid),
            selection.ready.eq(enable & row.valid & row.p.last),
        ]
        compared, valid = Signal(masked_group(self.item, self.lanes), reset_less=True), Signal()
        greater, equal = (Signal(self.lanes, name=name, reset_less=True) for name in ("greater", "equal"))
        ties = Signal(self.config.count_width, reset_less=True)
        first, ties_left = Signal(init=1), Signal.like(ties)
        index = Signal(self.config.position_width)
        with m.If(enable & taken):
            m.d.sync += [ties.eq(selection.p.ties), compared.last.eq(row.p.last)]
            m.d.sync += index.eq(Mux(row.p.last, 0, index + 1))
            for lane in range(self.lanes):
                score, inside = row.p.scores[lane], lane < row.p.count
                m.d.sync += compared.items[lane].score.eq(score)
                m.d.sync += compared.items[lane].position.eq(self._position(index, lane))
                m.d.sync += greater[lane].eq(inside & (score > selection.p.threshold))
                m.d.sync += equal[lane].eq(inside & (score == selection.p.threshold))

        m.submodules.keep = keep = KeepMask(lanes=self.lanes, count_width=self.config.count_width)
        masked, masked_valid = Signal.like(compared, name="masked", reset_less=True), Signal()
        m.d.comb += [keep.greater.eq(greater), keep.equal.eq(equal), keep.ties.eq(Mux(first, ties, ties_left))]
        m.d.comb += [target.payload.eq(masked), target.valid.eq(masked_valid)]
        with m.If(enable):
            m.d.sync += [valid.eq(taken), masked_valid.eq(valid), masked.eq(compared), masked.keep.eq(keep.keep)]
            with m.If(valid):
                m.d.sync += [ties_left.eq(keep.ties - keep.used), first.eq(compared.last)]

    def _position(self, index: Value, lane: int) -> Value:
        """P is a power of two: the line's index and the lane side by side."""
        return Cat(Const(lane, self.lanes.bit_length() - 1), index)[: self.config.position_width]
