"""Prob×V: weigh the V rows of a query by their exponentials, add up, normalize."""

from __future__ import annotations

from amaranth.hdl import Array, Cat, Module, Mux, Signal, Value, signed
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

from hdl import numerics as N
from hdl.config import Config
from hdl.lane_reducer import LaneReducer
from hdl.layouts import BufferRead, output_beat, placed_row, row_tag, value_line
from hdl.normalizer import Normalizer
from hdl.stream_queue import StreamQueue

__all__ = ["ProbTimesV"]


def _joined_line(config: Config) -> data.StructLayout:
    """A line with the facts of its row A."""
    return data.StructLayout(
        {
            "line": value_line(config),
            "row": placed_row(config),
            "end": config.seq_width,  # sequence number behind that of the last valid position
            "first": config.slot_width,  # slot of lane 0 in beat 0
        }
    )


def _beat(config: Config) -> data.StructLayout:
    """What a beat carries beside its data."""
    return data.StructLayout(
        {
            "row": placed_row(config),  # of row A
            "group": range(max(2, config.max_beats)),  # beat of the line
            "fresh": 1,  # nothing is accumulated for row A yet
            "last": 1,  # row A is complete with this beat
            "mask_a": config.lanes,  # banks with a key of row A
            "mask_b": config.lanes,
        }
    )


class ProbTimesV(wiring.Component):
    """Σ e·V of every row, times 1/Σe: ``lanes * lane_width`` products a cycle, one beat a cycle back to back.

    Rows leave in row order. Bit-exact with :func:`golden.integer.accumulate`, ``normalize`` and ``abs_sum``. A line is
    one beat, or slices / lanes beats where a V row is wider than the array. The end of row A and the start of row B in
    one line are added up by two trees, so packed lines cost no extra cycle. One enable moves the pipeline from the
    buffer's address to the accumulators; it stops only for a finished row that the Normalizer cannot take, which needs
    ceil(D / norm_lanes) cycles a row. Lines that wait for V rows leave bubbles, so that finished rows always drain.

    A read is on the bus at the earliest 3 cycles after its line was taken; :attr:`latency` cycles after the read of a
    row's last beat its first output is offered. Paper section IV-E.

    Members
    -------
    line : In(stream.Signature(value_line))   weights UQ1.16; lanes beyond the counts are ignored
    row : In(stream.Signature(placed_row))    one per row, at the latest with the row's first line; up to 8 wait inside
    read : Out(BufferRead)                    V buffer, operand_width bit signed words
    ready : In(seq_width)                     V rows with sequence numbers before it may be read (modulo comparison)
    o : Out(stream.Signature(output_beat))    Q(operand_width).8
    done : Out(1)                             pulse: all V rows of row ``done_tag`` were read and accumulated (dropped
                                              rows as well); its output may still be inside
    done_tag : Out(row_tag)
    busy : Out(1)                             a line, a row or an output is inside
    stall_line : Out(1)                       the cycle before, no beat began because no line was there,
    stall_value : Out(1)                      … because V rows of the line are not in the buffer yet,
    stall_out : Out(1)                        … because a finished row waits for the Normalizer; at most one is set
    """

    def __init__(self, config: Config):
        self.config = config
        super().__init__(
            {
                "line": In(stream.Signature(value_line(config))),
                "row": In(stream.Signature(placed_row(config))),
                "read": Out(BufferRead(config)),
                "ready": In(config.seq_width),
                "o": Out(stream.Signature(output_beat(config))),
                "done": Out(1),
                "done_tag": Out(row_tag(config)),
                "busy": Out(1),
                "stall_line": Out(1),
                "stall_value": Out(1),
                "stall_out": Out(1),
            }
        )
        self._reducer = LaneReducer(config)
        self._normalizer = Normalizer(config)

    @property
    def latency(self) -> int:
        """Cycles from the read of a row's last beat to the row's first output (2 of them: operands, products)."""
        return 3 + self._reducer.latency + self._normalizer.latency

    def elaborate(self, platform):
        m = Module()
        m.submodules.reducer = reducer = self._reducer
        m.submodules.normalizer = normalizer = self._normalizer
        depth = 3 + reducer.latency
        self._en, self._waiting = Signal(name="en"), Signal(name="waiting")
        self._fresh = Signal(name="fresh", init=1)
        self._valid = [Signal(name=f"valid_{k}") for k in range(depth + 1)]
        self._beats = [Signal(_beat(self.config), name=f"beat_{k}", reset_less=True) for k in range(depth + 1)]
        wiring.connect(m, normalizer.o, wiring.flipped(self.o))
        with m.If(self._en):
            for k in range(1, depth + 1):
                m.d.sync += self._valid[k].eq(self._valid[k - 1])
                with m.If(self._valid[k - 1]):
                    m.d.sync += self._beats[k].eq(self._beats[k - 1])

        valid, joined, taken = self._join(m)
        self._issue(m, valid, joined, taken)
        self._multiply(m, self._align(m, joined))
        self._accumulate(m)
        m.d.comb += self.busy.eq(self._waiting | Cat(self._valid).any() | normalizer.busy)
        return m

    def _join(self, m: Module) -> tuple[Signal, Signal, Signal]:
        """Put lines and rows together: (valid, line with its row, taken)."""
        m.submodules.line_queue = lines = StreamQueue(value_line(self.config), depth=4)
        m.submodules.row_queue = rows = StreamQueue(placed_row(self.config), depth=8)
        wiring.connect(m, wiring.flipped(self.line), lines.i)
        wiring.connect(m, wiring.flipped(self.row), rows.i)
        valid = Signal(name="joined_valid")
        joined = Signal(_joined_line(self.config), reset_less=True)
        taken = Signal()
        free = ~valid | taken
        line, row = lines.o.payload, rows.o.payload
        m.d.comb += [
            lines.o.ready.eq(free & rows.o.valid),
            rows.o.ready.eq(free & lines.o.valid & line.a_last),
            self._waiting.eq(valid | ~self._fresh | (lines.level != 0) | (rows.level != 0)),
        ]
        with m.If(free):
            m.d.sync += [
                valid.eq(lines.o.valid & rows.o.valid),
                joined.line.eq(line),
                joined.row.eq(row),
                joined.end.eq(row.seq + (line.start + line.a_count + line.b_count)),
                joined.first.eq(row.slot + (line.start << row.log_slices)),
            ]
        return valid, joined, taken

    def _issue(self, m: Module, valid: Signal, joined: Signal, taken: Signal) -> None:
        """Read the windows of a line, a beat each, as soon as its last V row is there."""
        line, row, beat = joined.line, joined.row, self._beats[0]
        lane_bits = self.config.lanes.bit_length() - 1
        group, last_group = Signal.like(beat.group, name="group"), Signal.like(beat.group, name="last_group")
        present = Signal()
        m.d.comb += [
            present.eq((self.ready - joined.end)[: self.config.seq_width].as_signed() >= 0),
            self._valid[0].eq(valid & present),
            taken.eq(self._valid[0] & self._en & (group == last_group)),
            self.read.en.eq(self._valid[0] & self._en),
            self.read.first.eq(joined.first | (group << lane_bits)),
            beat.row.eq(row),
            beat.group.eq(group),
            beat.fresh.eq(self._fresh),
            beat.last.eq(line.a_last & (group == last_group)),
        ]
        with m.Switch(row.log_slices):
            for log_slices in range(lane_bits + 1, self.config.log_slices(self.config.max_dim) + 1):
                with m.Case(log_slices):
                    m.d.comb += last_group.eq((1 << log_slices - lane_bits) - 1)
        with m.If(self.read.en):
            m.d.sync += group.eq(group + 1)
        with m.If(taken):
            m.d.sync += [group.eq(0), self._fresh.eq(line.a_last & (line.b_count == 0))]
        m.d.sync += [
            self.stall_out.eq(~self._en),
            self.stall_value.eq(self._en & valid & ~present),
            self.stall_line.eq(self._en & ~valid),
        ]

    def _align(self, m: Module, joined: Signal) -> list[Value]:
        """The weight of each bank, in the cycle of its data: key ((b - first) mod lanes) // slices of the window."""
        lanes = self.config.lanes
        lane_bits = lanes.bit_length() - 1
        line, beat = joined.line, self._beats[0]
        index = [Signal(range(max(2, lanes)), name=f"index_{b}", reset_less=True) for b in range(lanes)]
        exps = Signal.like(line.exps, name="exps", reset_less=True)
        for b in range(lanes):
            key = (b - joined.first[:lane_bits])[:lane_bits] >> joined.row.log_slices if lane_bits else Signal(1)
            m.d.comb += [
                beat.mask_a[b].eq(key < line.a_count),
                beat.mask_b[b].eq((key >= line.a_count) & (key < line.a_count + line.b_count)),
            ]
            with m.If(self._en & self._valid[0]):
                m.d.sync += index[b].eq(key)
        with m.If(self._en & self._valid[0]):
            m.d.sync += exps.eq(line.exps)
        return [Array(exps[i] for i in range(lanes))[index[b]] for b in range(lanes)]

    def _multiply(self, m: Module, weights: list[Value]) -> None:
        """Two stages: operands (registered behind the buffer), products."""
        reducer, config = self._reducer, self.config
        for b, weight in enumerate(weights):
            exp = Signal(N.EXP_WIDTH, name=f"exp_{b}", reset_less=True)
            with m.If(self._en & self._valid[1]):
                m.d.sync += exp.eq(weight)
            for e in range(reducer.width):
                value = Signal(signed(config.operand_width), name=f"value_{b}_{e}", reset_less=True)
                product = Signal(signed(reducer.product_width), name=f"product_{b}_{e}", reset_less=True)
                with m.If(self._en & self._valid[1]):
                    m.d.sync += value.eq(self.read.data[b][e])
                with m.If(self._en & self._valid[2]):
                    m.d.sync += product.eq(exp * value)
                m.d.comb += reducer.products[b][e].eq(product)
        beat = self._beats[3]
        m.d.comb += [
            reducer.en.eq(self._en),
            reducer.valid.eq(self._valid[3]),
            reducer.log_slices.eq(beat.row.log_slices),
            reducer.mask_a.eq(beat.mask_a),
            reducer.mask_b.eq(beat.mask_b),
        ]

    def _accumulate(self, m: Module) -> None:
        """Add the beat to the row; a row that ends goes to the Normalizer, and row B's part takes its place."""
        reducer, normalizer = self._reducer, self._normalizer
        valid, beat = self._valid[-1], self._beats[-1]
        places = [(s, e) for s in range(reducer.num_outputs) for e in range(reducer.width)]
        for number, (s, e) in enumerate(places):
            accs = [
                Signal(signed(self.config.acc_width), name=f"acc_{t}_{s}_{e}", reset_less=True)
                for t in range(self.config.max_beats)
            ]
            total = Signal(signed(self.config.acc_width), name=f"total_{s}_{e}")
            acc = Array(accs)[beat.group] if len(accs) > 1 else accs[0]
            m.d.comb += total.eq(Mux(beat.fresh, 0, acc) + reducer.a[s][e])
            for t, target in enumerate(accs):
                active = beat.group == t if len(accs) > 1 else 1
                m.d.comb += normalizer.acc[t * len(places) + number].eq(Mux(active, total, target))
                with m.If(self._en & valid & active):
                    m.d.sync += target.eq(Mux(beat.last, reducer.b[s][e], total) if reducer.packs else total)

        row, out = beat.row, normalizer.i.payload
        m.d.comb += [
            normalizer.i.valid.eq(valid & beat.last & ~row.drop),
            self._en.eq(~normalizer.i.valid | normalizer.i.ready),
            *(out[name].eq(row[name]) for name in ("tag", "recip", "pe", "dim")),
        ]
        m.d.sync += self.done.eq(valid & beat.last & self._en)
        with m.If(valid & beat.last):
            m.d.sync += self.done_tag.eq(row.tag)
