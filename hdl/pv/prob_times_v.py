"""Prob×V: weigh the V rows of a query by their exponentials, add up, normalize."""

from __future__ import annotations

from amaranth.hdl import Array, Cat, Module, Mux, Signal, Value, signed
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

from hdl.fetch.kv_buffer import KVBuffer
from hdl.pv.normalizer import Normalizer
from hdl.spec import numerics as N
from hdl.spec.config import Config
from hdl.spec.payloads import BufferRead, output_beat, placed_row, row_tag, value_line
from hdl.stream.stream_queue import StreamQueue

__all__ = ["ProbTimesV"]


def _joined_line(config: Config) -> data.StructLayout:
    """A line with the facts of its row A."""
    return data.StructLayout(
        {
            "line": value_line(config),
            "row": placed_row(config),
            "end": config.seq_width,  # sequence number behind that of the last valid position
            "first": config.slot_width,  # slot of lane 0 in beat 0
            "finish": 1,  # row A ends in this line, and is put out
        }
    )


def _beat(config: Config) -> data.StructLayout:
    """What a beat carries beside its data."""
    return data.StructLayout(
        {
            "row": placed_row(config),  # of row A
            "group": range(max(2, config.max_beats)),  # beat of the line
            "last": 1,  # row A is complete with this beat
            "mask_a": config.lanes,  # banks with a key of row A
            "mask_b": config.lanes,
        }
    )


class ProbTimesV(wiring.Component):
    """Σ e·V of every row, times 1/Σe: ``lanes * lane_width`` products a cycle, one beat a cycle back to back.

    Rows leave in row order. Bit-exact with :func:`golden.datapath.integer.accumulate`, ``normalize`` and ``abs_sum``.
    A line is one beat, or slices / lanes beats where a V row is wider than the array. Each multiplier has an
    accumulator of its own; lanes are added up at the end of a row only, a few elements a cycle. In a line with the end
    of row A and the start of row B each lane belongs to one of them, so packed lines cost no extra cycle. A beat that
    has begun never stalls: the last beat of a row is read only if the Normalizer, which needs ceil(D / norm_lanes)
    cycles a row, will have room.

    A read is on the bus at the earliest :attr:`ISSUE_LATENCY` cycles after its line was taken; :attr:`latency` cycles
    after the read of a row's last beat its first output is offered. Paper section IV-E.

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
    stall_out : Out(1)                        … because a row would finish that the Normalizer has no room for; at most
                                              one is set
    """

    ISSUE_LATENCY = 5
    """Cycles from a line to its first read, if its row and its V rows are there: two queues, and a comparison."""
    DEPTH = KVBuffer.READ_LATENCY + 3
    """Stages from the read to the accumulators: the buffer, its words, operands, products."""

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
        self._normalizer = Normalizer(config, delay=self.DEPTH)

    @property
    def latency(self) -> int:
        """Cycles from the read of a row's last beat to the row's first output."""
        return self.DEPTH + self._normalizer.latency

    @property
    def _packs(self) -> bool:
        """Whether a line can hold two rows at all."""
        return self.config.packing and self.config.scores_per_line(self.config.dims[0]) > 1

    def elaborate(self, platform):
        m = Module()
        m.submodules.normalizer = normalizer = self._normalizer
        depth = self.DEPTH
        self._waiting, self._offered = Signal(name="waiting"), Signal(name="offered")
        self._fresh = Signal(name="fresh", init=1)
        self._valid = [Signal(name=f"valid_{k}") for k in range(depth + 1)]
        self._beats = [Signal(_beat(self.config), name=f"beat_{k}", reset_less=True) for k in range(depth + 1)]
        wiring.connect(m, normalizer.o, wiring.flipped(self.o))
        for k in range(1, depth + 1):
            m.d.sync += self._valid[k].eq(self._valid[k - 1])
            # Whether a beat is read is known late: stage 1 takes what is there.
            with m.If(self._valid[k - 1] if k > 1 else self._offered):
                m.d.sync += self._beats[k].eq(self._beats[k - 1])

        present, joined, taken = self._join(m)
        self._issue(m, present, joined, taken)
        self._accumulate(m, self._multiply(m, self._align(m, joined)))
        self._finish(m)
        m.d.comb += self.busy.eq(self._waiting | Cat(self._valid).any() | normalizer.busy)
        return m

    def _join(self, m: Module) -> tuple[Signal, data.View, Signal]:
        """Put lines and rows together, then compare with ``ready``: (present, line with its row, taken if it is
        offered)."""
        shape = _joined_line(self.config)
        m.submodules.line_queue = lines = StreamQueue(value_line(self.config), depth=4)
        m.submodules.row_queue = rows = StreamQueue(placed_row(self.config), depth=8)
        m.submodules.joined_queue = queue = StreamQueue(shape, depth=3)
        wiring.connect(m, wiring.flipped(self.line), lines.i)
        wiring.connect(m, wiring.flipped(self.row), rows.i)
        present, joined, taken = Signal(), Signal(shape, reset_less=True), Signal()
        line, row, both = lines.o.payload, rows.o.payload, queue.i.payload
        m.d.comb += [
            lines.o.ready.eq(queue.i.ready & rows.o.valid),
            rows.o.ready.eq(queue.i.ready & lines.o.valid & line.a_last),
            queue.i.valid.eq(lines.o.valid & rows.o.valid),
            both.line.eq(line),
            both.row.eq(row),
            both.end.eq(row.seq + (line.start + line.a_count + line.b_count)),
            both.first.eq(row.slot + (line.start << row.log_slices)),
            both.finish.eq(line.a_last & ~row.drop),
            queue.o.ready.eq(~self._offered | taken),
            self._waiting.eq(
                self._offered | ~self._fresh | Cat(inside.level != 0 for inside in (lines, rows, queue)).any()
            ),
        ]
        with m.If(queue.o.ready):
            m.d.sync += [self._offered.eq(queue.o.valid), present.eq(self._present(queue.o.payload))]
            m.d.sync += joined.eq(queue.o.payload)
        with m.Elif(self._present(joined)):
            m.d.sync += present.eq(1)
        return present, joined, taken

    def _present(self, joined) -> Value:
        """All V rows of the line are in the buffer; once true it stays so."""
        return (self.ready - joined.end)[: self.config.seq_width].as_signed() >= 0

    def _issue(self, m: Module, present: Signal, joined, taken: Signal) -> None:
        """Read the windows of a line, a beat each, as soon as its last V row is there."""
        line, row, beat, valid = joined.line, joined.row, self._beats[0], self._offered
        announce = self._normalizer.announce
        lane_bits = self.config.lanes.bit_length() - 1
        group, last_group = Signal.like(beat.group, name="group"), Signal.like(beat.group, name="last_group")
        ends = Signal()  # row A ends with this beat, and is put out
        allowed = Signal()
        m.d.comb += [
            allowed.eq(present & (announce.ready | ~ends)),
            ends.eq(joined.finish & (group == last_group)),
            announce.valid.eq(valid & present & ends),
            announce.payload.eq(row.dim),
            self._valid[0].eq(valid & allowed),
            taken.eq(allowed & (group == last_group)),  # if valid
            self.read.en.eq(self._valid[0]),
            self.read.first.eq(joined.first | (group << lane_bits)),
            beat.row.eq(row),
            beat.group.eq(group),
            beat.last.eq(line.a_last & (group == last_group)),
        ]
        with m.Switch(row.log_slices):
            for log_slices in range(lane_bits + 1, self.config.log_slices(self.config.max_dim) + 1):
                with m.Case(log_slices):
                    m.d.comb += last_group.eq((1 << log_slices - lane_bits) - 1)
        if self.config.max_beats > 1:  # else ``group`` stays 0, and no comparison with it is built
            with m.If(self.read.en):
                m.d.sync += group.eq(Mux(group == last_group, 0, group + 1))
        with m.If(valid & taken):
            m.d.sync += self._fresh.eq(line.a_last & (line.b_count == 0))
        m.d.sync += [
            self.stall_out.eq(valid & present & ~self._valid[0]),
            self.stall_value.eq(valid & ~present),
            self.stall_line.eq(~valid),
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
            with m.If(self._offered):
                m.d.sync += index[b].eq(key)
        with m.If(self._offered):
            m.d.sync += exps.eq(line.exps)
        return [Array(exps[i] for i in range(lanes))[index[b]] for b in range(lanes)]

    def _multiply(self, m: Module, weights: list[Value]) -> list[list[Signal]]:
        """Products by lane and element. Lanes of no row get the weight 0.

        Each multiplier has registers of its own for both operands and the product, as the hard multipliers of FPGAs
        do; registers in front of them take the way from the buffer, and to all multipliers of a lane.
        """
        config, read = self.config, KVBuffer.READ_LATENCY
        beat, products = self._beats[1], []
        exps = [beat.mask_a[b] | (beat.mask_b[b] & self._packs) for b in range(config.lanes)]
        exps = [Mux(counts, weight, 0) for counts, weight in zip(exps, weights, strict=True)]
        for stage in range(1, read + 2):
            exps = self._stage(m, stage, "exp", exps, N.EXP_WIDTH)
        for b, exp in enumerate(exps):
            words = [self.read.data[b][e] for e in range(self._normalizer.slice)]
            for stage in (read, read + 1):
                words = self._stage(m, stage, f"value_{b}", words, signed(config.operand_width))
            terms = [exp * word for word in words]
            shape = signed(config.operand_width + N.EXP_WIDTH)
            products.append(self._stage(m, read + 2, f"product_{b}", terms, shape))
        return products

    def _stage(self, m: Module, stage: int, name: str, values: list, shape) -> list[Signal]:
        """Registers that take what stage ``stage`` has, if it has a beat."""
        registers = [Signal(shape, name=f"{name}_{stage}_{k}", reset_less=True) for k in range(len(values))]
        with m.If(self._valid[stage]):
            m.d.sync += [register.eq(value) for register, value in zip(registers, values, strict=True)]
        return registers

    def _accumulate(self, m: Module, products: list[list[Signal]]) -> None:
        """Add the beat to the row. When the row ends, its sums go to the Normalizer, and all begin anew: with nothing,
        or in the lanes of row B with its part."""
        valid, beat, normalizer = self._valid[-1], self._beats[-1], self._normalizer
        shape, size = signed(self.config.acc_width), normalizer.slice
        # A register of its own: the flip-flops' reset inputs hang on it, so that beginning anew costs no logic.
        begin = Signal(init=1)
        m.d.sync += begin.eq(self._valid[-2] & self._beats[-2].last)
        for b, lane in enumerate(products):
            of_b = beat.mask_b[b] & self._packs
            for e, product in enumerate(lane):
                accs = [Signal(shape, name=f"acc_{t}_{b}_{e}", reset_less=True) for t in range(self.config.max_beats)]
                total = Signal(shape, name=f"total_{b}_{e}")
                acc = Array(accs)[beat.group] if len(accs) > 1 else accs[0]
                m.d.comb += total.eq(acc + Mux(of_b, 0, product))
                for t, target in enumerate(accs):
                    active = beat.group == t if len(accs) > 1 else 1
                    m.d.comb += normalizer.acc[b][t * size + e].eq(Mux(active, total, target))
                    with m.If(begin):
                        # Only lines of one beat hold two rows.
                        m.d.sync += target.eq(Mux(of_b & valid, product, 0) if t == 0 else 0)
                    with m.Elif(valid & active):
                        m.d.sync += target.eq(total)

    def _finish(self, m: Module) -> None:
        """Facts of a row that is complete, beside its sums."""
        valid, beat, normalizer = self._valid[-1], self._beats[-1], self._normalizer
        row, out = beat.row, normalizer.i.payload
        finish = Signal()
        m.d.sync += [
            finish.eq(self._valid[-2] & self._beats[-2].last & ~self._beats[-2].row.drop),
            self.done.eq(valid & beat.last),
        ]
        m.d.comb += [
            normalizer.i.valid.eq(finish),
            *(out[name].eq(row[name]) for name in ("tag", "recip", "pe", "log_slices", "dim")),
        ]
        with m.If(valid & beat.last):
            m.d.sync += self.done_tag.eq(row.tag)
