"""End of prob×V: multiply a finished row by 1/Σe, once per output element."""

from __future__ import annotations

from amaranth.hdl import Array, Cat, Module, Mux, Signal, Value, signed, unsigned
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

from hdl import numerics as N
from hdl.config import Config
from hdl.layouts import output_beat, row_tag
from hdl.stream_queue import StreamQueue

__all__ = ["Normalizer", "finished_row"]

_LOW_BITS = 16
_GRANULE = 16  # D is a multiple of it
_PICK = 8  # most elements that one register stage chooses from


def _pairwise(terms: list) -> list:
    return [x + y for x, y in zip(terms[::2], terms[1::2], strict=True)]


def finished_row(config: Config) -> data.StructLayout:
    """Facts of a row whose accumulators are complete."""
    return data.StructLayout(
        {
            "tag": row_tag(config),
            "recip": N.RECIP_WIDTH,  # R of 1/sum = R * 2**-16 * 2**-pe, UQ1.16
            "pe": 4,
            "dim": 8,  # D, a multiple of 16
        }
    )


class Normalizer(wiring.Component):
    """Turn a row of accumulators into output elements, ``norm_lanes`` a cycle, and sum up their magnitudes.

    Bit-exact with :func:`golden.integer.normalize` and :func:`golden.integer.abs_sum`. A row takes
    ceil(D / norm_lanes) cycles; the next one may come in the last of them. Latency :attr:`latency` cycles from a row to
    its first beat. Paper section IV-E, normalized last.

    Nothing in here or in front of it ever stalls: a row is announced ``delay`` cycles before it comes, and only if the
    row register will be free by then and all its beats have a place in the output queue. ``announce.ready`` is a
    flip-flop.

    The accumulator shifted by pe has only operand_width + 17 bits: weights are exps of this row, so |acc| <=
    Σe * 2**(operand_width-1), and pe is defined by Σe < 2**(17+pe). The multiplier is that narrow, and is built of two
    partial products that fit an 18x18 multiplier.

    Members
    -------
    announce : In(stream.Signature(8))             D of a row that comes exactly ``delay`` cycles after the transfer
    i : In(stream.Signature(finished_row, always_ready=True))
    acc : In(signed(acc_width)).array(max_dim)     Σ e·V of the row, Q.16; valid with ``i``
    o : Out(stream.Signature(output_beat))         the last beat has ``last`` and ``abs_sum``; elements >= D are 0
    busy : Out(1)                                  a row is inside
    """

    def __init__(self, config: Config, *, delay: int = 4):
        if not isinstance(delay, int) or delay < 1:
            raise ValueError(f"delay must be a positive integer, not {delay!r}")
        self.config = config
        self.delay = delay
        super().__init__(
            {
                "announce": In(stream.Signature(8)),
                "i": In(stream.Signature(finished_row(config), always_ready=True)),
                "acc": In(signed(config.acc_width)).array(config.max_dim),
                "o": Out(stream.Signature(output_beat(config))),
                "busy": Out(1),
            }
        )

    @property
    def chunks(self) -> int:
        """Most beats of a row."""
        return self.config.max_dim // self.config.norm_lanes

    @property
    def select_stages(self) -> int:
        """Register stages that choose the elements of a beat."""
        return 1 if self.chunks <= _PICK else 2

    @property
    def tree_stages(self) -> int:
        """Register stages of the tree of magnitudes: two adder levels each."""
        return -(-(self.config.norm_lanes.bit_length() - 1) // 2)

    @property
    def stages(self) -> int:
        """Register stages between the row register and the queue: select, shift, 2 multiply, saturate, abs, tree."""
        return self.select_stages + 5 + self.tree_stages

    @property
    def latency(self) -> int:
        return 1 + self.stages + 2

    @property
    def _places(self) -> int:
        """Beats that are announced and not taken, at full rate: a row, and those on their way to ``o`` and back."""
        return self.chunks + self.delay + self.latency + 6

    def elaborate(self, platform):
        m = Module()
        m.submodules.queue = queue = StreamQueue(output_beat(self.config), depth=self._places)
        wiring.connect(m, queue.o, wiring.flipped(self.o))
        self._valid = [Signal(name=f"valid_{k}") for k in range(self.stages + 1)]
        row = finished_row(self.config)
        self._facts = [Signal(row, name=f"facts_{k}", reset_less=True) for k in range(self.stages + 1)]
        self._last = [Signal(name=f"last_{k}", reset_less=True) for k in range(self.stages + 1)]
        m.d.comb += self.busy.eq(Cat(self._valid).any() | (queue.level != 0))
        for k in range(1, self.stages + 1):
            for chain in (self._valid, self._facts, self._last):
                m.d.sync += chain[k].eq(chain[k - 1])

        self._admit(m)
        values = self._saturate(m, self._multiply(m, self._shift(m, self._select(m))))
        sums = self._magnitude(m, values)
        for k in range(self.select_stages + 5, self.stages + 1):
            values = self._register(m, k, f"value_{k}", values)
        self._emit(m, queue, values, sums)
        return m

    def _admit(self, m: Module) -> None:
        """Rows at least as far apart as the beats of the first one, and a place for every beat."""
        lanes = self.config.norm_lanes
        ready = Signal(init=1)
        announced = self.announce.valid & ready
        # D is a multiple of the granule: ceil(D / norm_lanes) takes no more than this.
        beats = (self.announce.payload + max(lanes, _GRANULE) - _GRANULE)[lanes.bit_length() - 1 :]
        taken, left = Signal(range(self.chunks + 1), reset_less=True), Signal()  # by the last row; a beat has left
        free = Signal(range(self._places + 1), init=self._places)
        pause = Signal(range(self.chunks + 1))  # cycles until the row register is free for the next row
        room = free >= self.chunks + 2  # at most two beats are announced and not yet off ``free``
        m.d.comb += self.announce.ready.eq(ready)
        m.d.sync += [
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

    def _select(self, m: Module) -> list[Signal]:
        """Stage 0 holds a row, the next one or two get its next norm_lanes elements."""
        lanes, depth = self.config.norm_lanes, self.config.max_dim
        row = [Signal(signed(self.config.acc_width), name=f"row_{e}", reset_less=True) for e in range(depth)]
        chunk = Signal(range(max(2, self.chunks)), reset_less=True)
        left = Signal(8, reset_less=True)
        held, last = self._valid[0], self._last[0]
        with m.If(self.i.valid):
            m.d.sync += [held.eq(1), chunk.eq(0), left.eq(self.i.payload.dim), last.eq(self.i.payload.dim <= lanes)]
            m.d.sync += self._facts[0].eq(self.i.payload)
            m.d.sync += [reg.eq(acc) for reg, acc in zip(row, self.acc, strict=True)]
        with m.Elif(held):
            m.d.sync += [held.eq(~last), chunk.eq(chunk + 1), left.eq(left - lanes), last.eq(left <= 2 * lanes)]
        shape = signed(self.config.acc_width)
        if self.select_stages == 2:
            low, part = _PICK.bit_length() - 1, lanes * _PICK
            terms = [term for k in range(0, depth, part) for term in self._pick(row[k : k + part], chunk[:low])]
            row = self._register(m, 1, "part", terms, shape)
            (chunk,) = self._register(m, 1, "chunk", [chunk[low:]])
        terms = self._pick(row, chunk)
        for j in range(_GRANULE, lanes):  # so many lanes need but one stage
            terms[j] = Mux(left > j // _GRANULE * _GRANULE, terms[j], 0)
        return self._register(m, self.select_stages, "acc", terms, shape)

    def _pick(self, row: list[Signal], chunk: Value) -> list[Value]:
        """The norm_lanes elements number ``chunk`` of ``row``."""
        lanes = self.config.norm_lanes
        return [Array(row[j::lanes])[chunk] if len(row) > lanes else row[j] for j in range(lanes)]

    def _shift(self, m: Module, accs: list[Signal]) -> list[Signal]:
        narrow = signed(self.config.operand_width + N.EXP_WIDTH)
        stage = self.select_stages
        return self._register(m, stage + 1, "shifted", [acc >> self._facts[stage].pe for acc in accs], narrow)

    def _multiply(self, m: Module, values: list[Signal]) -> list[Signal]:
        """round(value * R / 2**24), rounding half up; the 16 low bits of the product cannot carry into the result."""
        stage = self.select_stages + 2
        recip = self._facts[stage - 1].recip
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
        return self._register(m, self.select_stages + 4, "value", exprs, signed(width))

    def _magnitude(self, m: Module, values: list[Signal]) -> Value:
        stage = self.select_stages + 5
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
