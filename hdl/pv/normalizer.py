"""End of prob×V: multiply a finished row by 1/Σe, once per output element."""

from __future__ import annotations

from amaranth.hdl import Array, Cat, Module, Mux, Signal, Value, signed, unsigned
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

from hdl.pv.lane_reducer import GRANULE, LaneReducer
from hdl.spec import numerics as N
from hdl.spec.config import Config
from hdl.spec.payloads import output_beat, row_tag
from hdl.stream.stream_queue import StreamQueue

__all__ = ["Normalizer", "finished_row"]

_LOW_BITS = 16


def _pairwise(terms: list) -> list:
    return [x + y for x, y in zip(terms[::2], terms[1::2], strict=True)]


def finished_row(config: Config) -> data.StructLayout:
    """Facts of a row whose accumulators are complete."""
    return data.StructLayout(
        {
            "tag": row_tag(config),
            "recip": N.RECIP_WIDTH,  # R of 1/sum = R * 2**-16 * 2**-pe, UQ1.16
            "pe": 4,
            "log_slices": 3,
            "dim": 8,  # D, a multiple of 16
        }
    )


class Normalizer(wiring.Component):
    """Turn a row of accumulators into output elements, ``norm_lanes`` a cycle, and sum up their magnitudes.

    The accumulators of lanes that hold the same slice are added up here, by :class:`LaneReducer`.

    Bit-exact with :func:`golden.datapath.integer.normalize` and :func:`golden.datapath.integer.abs_sum`. A row takes
    ceil(D / norm_lanes) cycles; the next one may come in the last of them. Latency :attr:`latency` cycles from a row to
    its first beat. Paper section IV-E, normalized last.

    Nothing in here or in front of it ever stalls: a row is announced ``delay`` cycles before it comes, and only if the
    row register will be free by then and all its beats have a place in the output queue. ``announce.ready`` is a
    flip-flop.

    The accumulator shifted by pe has only operand_width + 17 bits: weights are exps of this row: ``|acc|`` <=
    Σe * 2**(operand_width-1), and pe is defined by Σe < 2**(17+pe). The multiplier is that narrow, and is built of two
    partial products that fit an 18x18 multiplier.

    Members
    -------
    announce : In(stream.Signature(8))             D of a row that comes exactly ``delay`` cycles after the transfer
    i : In(stream.Signature(finished_row, always_ready=True))
    acc : In(signed(acc_width)).array(lanes, max_beats * slice)
        Σ e·V of the row, Q.16, by lane, then by beat of a line and element of a slice; valid with ``i``
    o : Out(stream.Signature(output_beat))         the last beat has ``last`` and ``abs_sum``; elements >= D are 0
    busy : Out(1)                                  a row is inside
    """

    def __init__(self, config: Config, *, delay: int = 4):
        if not isinstance(delay, int) or delay < 1:
            raise ValueError(f"delay must be a positive integer, not {delay!r}")
        self.config = config
        self.delay = delay
        self.slice = min(config.lane_width, config.max_dim)
        self._reducer = LaneReducer(config)
        super().__init__(
            {
                "announce": In(stream.Signature(8)),
                "i": In(stream.Signature(finished_row(config), always_ready=True)),
                "acc": In(signed(config.acc_width)).array(config.lanes, config.max_beats * self.slice),
                "o": Out(stream.Signature(output_beat(config))),
                "busy": Out(1),
            }
        )

    @property
    def chunks(self) -> int:
        """Most beats of a row."""
        return self.config.max_dim // self.config.norm_lanes

    @property
    def _gathered(self) -> int:
        """Stage at which the elements of a beat are complete."""
        return 1 + self._reducer.latency

    @property
    def tree_stages(self) -> int:
        """Register stages of the tree of magnitudes: two adder levels each."""
        return -(-(self.config.norm_lanes.bit_length() - 1) // 2)

    @property
    def stages(self) -> int:
        """Register stages between the row register and the queue: select, add the lanes, shift, 2 multiply, saturate,
        abs, tree."""
        return self._gathered + 5 + self.tree_stages

    @property
    def latency(self) -> int:
        return 1 + self.stages + 2

    @property
    def _places(self) -> int:
        """Beats that are announced and not taken, at full rate: a row, and those on their way to ``o`` and back."""
        return self.chunks + self.delay + self.latency + 6

    def elaborate(self, platform):
        m = Module()
        m.submodules.reducer = self._reducer
        m.submodules.queue = queue = StreamQueue(output_beat(self.config), depth=self._places)
        wiring.connect(m, queue.o, wiring.flipped(self.o))
        self._valid = [Signal(name=f"valid_{k}") for k in range(self.stages + 1)]
        row = finished_row(self.config)
        self._facts = [Signal(row, name=f"facts_{k}", reset_less=True) for k in range(self.stages + 1)]
        self._last = [Signal(name=f"last_{k}", reset_less=True) for k in range(self.stages + 1)]
        self._moves = Signal(name="moves")
        m.d.comb += self.busy.eq(Cat(self._valid).any() | (queue.level != 0))
        for k in range(1, self.stages + 1):
            for chain in (self._valid, self._facts, self._last):
                m.d.sync += chain[k].eq(chain[k - 1])

        self._admit(m)
        values = self._saturate(m, self._multiply(m, self._shift(m, self._select(m))))
        sums = self._magnitude(m, values)
        for k in range(self._gathered + 5, self.stages + 1):
            values = self._register(m, k, f"value_{k}", values)
        self._emit(m, queue, values, sums)
        return m

    def _admit(self, m: Module) -> None:
        """Rows at least as far apart as the beats of the first one, and a place for every beat.

        From an announcement to the row's last beat the row register moves.
        """
        lanes = self.config.norm_lanes
        ready = Signal(init=1)
        announced = self.announce.valid & ready
        # D is a multiple of the granule: ceil(D / norm_lanes) takes no more than this.
        beats = (self.announce.payload + max(lanes, GRANULE) - GRANULE)[lanes.bit_length() - 1 :]
        taken, left = Signal(range(self.chunks + 1), reset_less=True), Signal()  # by the last row; a beat has left
        free = Signal(range(self._places + 1), init=self._places)
        pause = Signal(range(self.chunks + 1))  # cycles until the row register is free for the next row
        room = free >= self.chunks + 2  # at most two beats are announced and not yet off ``free``
        announcements = Signal(self.delay)  # on their way
        m.d.comb += self.announce.ready.eq(ready)
        m.d.sync += [
            announcements.eq(Cat(announced, announcements)),
            self._moves.eq(announced | announcements.any() | self._valid[0]),
            taken.eq(Mux(announced, beats, 0)),
            left.eq(self.o.valid & self.o.ready),
            free.eq(free - taken + left),
        ]
        with m.If(announced):
            m.d.sync += [pause.eq(beats - 1), ready.eq((beats == 1) & room)]
        with m.Else():
            m.d.sync += [pause.eq(Mux(pause == 0, 0, pause - 1)), ready.eq((pause <= 1) & room)]

    def _register(self, m: Module, stage: int, name: str, exprs: list[Value], shape=None) -> list[Signal]:
        """Registers of one stage; they move only with a beat."""
        regs = [
            Signal(shape or Value.cast(expr).shape(), name=f"{name}_{j}", reset_less=True)
            for j, expr in enumerate(exprs)
        ]
        with m.If(self._valid[stage - 1]):
            m.d.sync += [reg.eq(expr) for reg, expr in zip(regs, exprs, strict=True)]
        return regs

    def _select(self, m: Module) -> list[Value]:
        """Stage 0 holds a row; each lane gives its elements for a beat, then lanes of one slice are added up.

        The elements of a slice go round, those of the next beat in front: no wide choice, and short wires.
        """
        config, lanes, width = self.config, self.config.norm_lanes, self._reducer.width
        slices = [[lane[t * self.slice :][: self.slice] for t in range(config.max_beats)] for lane in self.acc]
        beat = Signal(range(max(2, self.chunks)), reset_less=True)
        left = Signal(8, reset_less=True)
        held, last = self._valid[0], self._last[0]
        with m.If(self.i.valid):
            m.d.sync += [held.eq(1), beat.eq(0), left.eq(self.i.payload.dim), last.eq(self.i.payload.dim <= lanes)]
            m.d.sync += self._facts[0].eq(self.i.payload)
        with m.Elif(held):
            m.d.sync += [held.eq(~last), beat.eq(beat + 1), left.eq(left - lanes), last.eq(left <= 2 * lanes)]
        index, gates = self._place(beat, left)
        gates = self._register(m, 1, "gates", gates)
        reducer = self._reducer
        m.d.comb += reducer.valid.eq(self._valid[1])
        m.d.comb += [port.eq(gate) for port, gate in zip(reducer.gates, gates, strict=True)]
        for b, lane in enumerate(slices):
            fronts = [self._go_round(m, f"row_{b}_{t}", accs, width) for t, accs in enumerate(lane)]
            terms = [Array(choice)[index] if len(fronts) > 1 else choice[0] for choice in zip(*fronts, strict=True)]
            terms = self._register(m, 1, f"term_{b}", terms, signed(config.acc_width))
            m.d.comb += [port.eq(term) for port, term in zip(reducer.terms[b], terms, strict=True)]
        return list(reducer.o)

    def _go_round(self, m: Module, name: str, accs: list[Value], width: int) -> list[Signal]:
        """A register for each element of a slice, which takes that of ``width`` places behind; the first ``width``."""
        shape = signed(self.config.acc_width)
        registers = [Signal(shape, name=f"{name}_{k}", reset_less=True) for k in range(len(accs))]
        with m.If(self._moves):
            m.d.sync += [
                register.eq(Mux(self.i.valid, acc, behind))
                for register, acc, behind in zip(registers, accs, registers[width:] + registers[:width], strict=True)
            ]
        return registers[:width]

    def _place(self, beat: Signal, left: Signal) -> tuple[Value, list[Value]]:
        """Of which of its slices a lane gives elements for a beat, and the lanes that count for each group of them."""
        config, reducer = self.config, self._reducer
        lane_bits = config.lanes.bit_length() - 1
        log_beats = (self.slice // reducer.width).bit_length() - 1  # beats of a slice
        log_parts = (config.norm_lanes // reducer.width).bit_length() - 1  # slices of a beat
        first = (beat >> log_beats) << log_parts  # slice of the beat's first element
        # Bits of a lane's number that tell its slice.
        spread = Cat(self._facts[0].log_slices > k for k in range(lane_bits))
        gates = []
        for group in range(reducer.num_groups):
            start = group * reducer.group
            number = (first + start // reducer.width)[:lane_bits]
            real = left > start // GRANULE * GRANULE
            gates.append(Cat(real & (((b ^ number) & spread) == 0) for b in range(config.lanes)))
        return first[lane_bits:], gates

    def _shift(self, m: Module, accs: list[Value]) -> list[Signal]:
        narrow = signed(self.config.operand_width + N.EXP_WIDTH)
        stage = self._gathered
        return self._register(m, stage + 1, "shifted", [acc >> self._facts[stage].pe for acc in accs], narrow)

    def _multiply(self, m: Module, values: list[Signal]) -> list[Signal]:
        """round(value * R / 2**24), rounding half up; the 16 low bits of the product cannot carry into the result."""
        stage = self._gathered + 2
        # Beside the values, with the same enable, so that both can be registers of the multipliers.
        (recip,) = self._register(m, stage - 1, "recip", [self._facts[stage - 2].recip])
        low = self._register(m, stage, "low", [value[:_LOW_BITS] * recip for value in values])
        high = self._register(m, stage, "high", [value[_LOW_BITS:].as_signed() * recip for value in values])
        drop = 2 * N.EXP_FRAC - N.OUT_FRAC - _LOW_BITS
        sums = [(h + (1 << drop - 1)) + x[_LOW_BITS:] for h, x in zip(high, low, strict=True)]
        return self._register(m, stage + 1, "rounded", [x >> drop for x in sums], signed(self.config.out_width + 2))

    def _saturate(self, m: Module, rounded: list[Signal]) -> list[Signal]:
        width = self.config.out_width
        exprs = []
        for value in rounded:
            top = value[width - 1 :]
            limit = Cat((~value[-1]).replicate(width - 1), value[-1])
            exprs.append(Mux(top.all() | ~top.any(), value[:width], limit).as_signed())
        return self._register(m, self._gathered + 4, "value", exprs, signed(width))

    def _magnitude(self, m: Module, values: list[Signal]) -> Value:
        stage = self._gathered + 5
        terms = self._register(m, stage, "abs", [abs(value) for value in values], unsigned(self.config.out_width))
        for k in range(self.tree_stages):
            sums = _pairwise(terms)
            terms = self._register(m, stage + 1 + k, f"sum_{k}", _pairwise(sums) if len(sums) > 1 else sums)
        return terms[0]

    def _emit(self, m: Module, queue: StreamQueue, values: list[Signal], magnitude: Value) -> None:
        valid, last = self._valid[-1], self._last[-1]
        total = Signal(self.config.abs_sum_width, reset_less=True)
        partial = Signal()
        out = queue.i.payload
        m.d.comb += [
            queue.i.valid.eq(valid),
            out.tag.eq(self._facts[-1].tag),
            out.last.eq(last),
            out.abs_sum.eq(Mux(partial, total, 0) + magnitude),
        ]
        m.d.comb += [out.values[j].eq(value) for j, value in enumerate(values)]
        with m.If(valid):
            m.d.sync += [total.eq(out.abs_sum), partial.eq(~last)]
