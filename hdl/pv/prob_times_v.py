"""Prob×V: weigh the V rows of a query by their exponentials, add up, normalize."""

from __future__ import annotations

from amaranth.hdl import Cat, Module, Mux, Signal, Value, signed
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

from hdl.fetch.kv_buffer import KVBuffer
from hdl.pv.accumulators import Accumulators
from hdl.pv.beat import product_shape, rows_share_lines, slice_elements, value_beat
from hdl.pv.beat_issuer import BeatIssuer
from hdl.pv.line_joiner import LineJoiner
from hdl.pv.normalizer import Normalizer
from hdl.pv.weight_aligner import WeightAligner
from hdl.spec import numerics as N
from hdl.spec.config import Config
from hdl.spec.payloads import BufferRead, output_beat, placed_row, row_tag, value_line

__all__ = ["ProbTimesV"]


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

    @staticmethod
    def latency_of(config: Config) -> int:
        """Cycles from the read of a row's last beat to the row's first output."""
        return ProbTimesV.DEPTH + Normalizer.latency_of(config)

    @property
    def latency(self) -> int:
        return self.latency_of(self.config)

    def elaborate(self, platform):
        m = Module()
        m.submodules.joiner = joiner = LineJoiner(self.config)
        m.submodules.issuer = issuer = BeatIssuer(self.config)
        m.submodules.aligner = aligner = WeightAligner(self.config)
        m.submodules.accumulators = accumulators = Accumulators(self.config)
        m.submodules.normalizer = normalizer = Normalizer(self.config, delay=self.DEPTH)
        wiring.connect(m, wiring.flipped(self.line), joiner.line)
        wiring.connect(m, wiring.flipped(self.row), joiner.row)
        wiring.connect(m, issuer.announce, normalizer.announce)
        wiring.connect(m, normalizer.o, wiring.flipped(self.o))
        m.d.comb += [joiner.ready.eq(self.ready), self.read.en.eq(issuer.en), self.read.first.eq(issuer.first)]
        m.d.comb += [
            getattr(self, name).eq(getattr(issuer, name)) for name in ("stall_line", "stall_value", "stall_out")
        ]
        self._issue(m, joiner, issuer, aligner)
        valid, beats = self._delay(m, joiner, issuer, aligner)
        products = self._multiply(m, valid, beats[1], aligner.weights)
        m.d.comb += [
            accumulators.valid.eq(valid[-1]),
            accumulators.group.eq(beats[-1].group),
            accumulators.mask_b.eq(beats[-1].mask_b),
            accumulators.ends_next.eq(valid[-2] & beats[-2].last),
            *self._wire(accumulators.products, products),
            *self._wire(normalizer.acc, accumulators.acc),
            self.busy.eq(joiner.waiting | Cat(valid).any() | normalizer.busy),
        ]
        self._finish(m, valid, beats, normalizer)
        return m

    @staticmethod
    def _wire(ports, values) -> list:
        """Every element of every lane."""
        pairs = zip(ports, values, strict=True)
        return [port.eq(value) for lane, row in pairs for port, value in zip(lane, row, strict=True)]

    @staticmethod
    def _issue(m: Module, joiner: LineJoiner, issuer: BeatIssuer, aligner: WeightAligner) -> None:
        m.d.comb += [
            issuer.offered.eq(joiner.offered),
            issuer.joined.eq(joiner.joined),
            issuer.present.eq(joiner.present),
            joiner.taken.eq(issuer.taken),
            aligner.offered.eq(joiner.offered),
            aligner.joined.eq(joiner.joined),
        ]

    def _delay(
        self, m: Module, joiner: LineJoiner, issuer: BeatIssuer, aligner: WeightAligner
    ) -> tuple[list[Value], list[data.View]]:
        """The beat that is read, and those in each stage after it: (valid, what they carry)."""
        valid: list = [issuer.en, *(Signal(name=f"valid_{k}") for k in range(1, self.DEPTH + 1))]
        beats = [Signal(value_beat(self.config), name=f"beat_{k}", reset_less=True) for k in range(self.DEPTH + 1)]
        m.d.comb += [
            beats[0].row.eq(joiner.joined.row),
            beats[0].group.eq(issuer.group),
            beats[0].last.eq(issuer.last),
            beats[0].mask_a.eq(aligner.mask_a),
            beats[0].mask_b.eq(aligner.mask_b),
        ]
        for k in range(1, self.DEPTH + 1):
            m.d.sync += valid[k].eq(valid[k - 1])
            # Whether a beat is read is known late: stage 1 takes what is there.
            with m.If(valid[k - 1] if k > 1 else joiner.offered):
                m.d.sync += beats[k].eq(beats[k - 1])
        return valid, beats

    def _multiply(self, m: Module, valid: list[Value], beat: data.View, weights) -> list[list[Signal]]:
        """Products by lane and element. Lanes of no row get the weight 0.

        Each multiplier has registers of its own for both operands and the product, as the hard multipliers of FPGAs
        do; registers in front of them take the way from the buffer, and to all multipliers of a lane.
        """
        config, read, products = self.config, KVBuffer.READ_LATENCY, []
        exps = [beat.mask_a[b] | (beat.mask_b[b] & rows_share_lines(config)) for b in range(config.lanes)]
        exps = [Mux(counts, weight, 0) for counts, weight in zip(exps, weights, strict=True)]
        for stage in range(1, read + 2):
            exps = self._stage(m, valid[stage], f"exp_{stage}", exps, N.EXP_WIDTH)
        for b, exp in enumerate(exps):
            words = [self.read.data[b][e] for e in range(slice_elements(config))]
            for stage in (read, read + 1):
                words = self._stage(m, valid[stage], f"value_{b}_{stage}", words, signed(config.operand_width))
            terms = [exp * word for word in words]
            products.append(self._stage(m, valid[read + 2], f"product_{b}_{read + 2}", terms, product_shape(config)))
        return products

    @staticmethod
    def _stage(m: Module, enable: Value, name: str, values: list, shape) -> list[Signal]:
        """Registers of a stage; they move only with a beat."""
        registers = [Signal(shape, name=f"{name}_{k}", reset_less=True) for k in range(len(values))]
        with m.If(enable):
            m.d.sync += [register.eq(value) for register, value in zip(registers, values, strict=True)]
        return registers

    def _finish(self, m: Module, valid: list[Value], beats: list[data.View], normalizer: Normalizer) -> None:
        """Facts of a row that is complete, beside its sums."""
        row, out = beats[-1].row, normalizer.i.payload
        finish = Signal()
        m.d.sync += [
            finish.eq(valid[-2] & beats[-2].last & ~beats[-2].row.drop),
            self.done.eq(valid[-1] & beats[-1].last),
        ]
        m.d.comb += [
            normalizer.i.valid.eq(finish),
            *(out[name].eq(row[name]) for name in out.shape().members),
        ]
        with m.If(valid[-1] & beats[-1].last):
            m.d.sync += self.done_tag.eq(row.tag)
