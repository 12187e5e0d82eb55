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
    ceil(D / norm_lanes) cycles; the next one is taken in the last of them. Latency :attr:`latency` cycles from a row to
    its first beat. ``i.ready`` does not depend combinationally on ``o.ready``. Paper section IV-E, normalized last.

    The accumulator shifted by pe has only operand_width + 17 bits: weights are exps of this row, so |acc| <=
    Σe * 2**(operand_width-1), and pe is defined by Σe < 2**(17+pe). The multiplier is that narrow, and is built of two
    partial products that fit an 18x18 multiplier.

    Members
    -------
    i : In(stream.Signature(finished_row))
    acc : In(signed(acc_width)).array(max_dim)     Σ e·V of the row, Q.16; valid with ``i``
    o : Out(stream.Signature(output_beat))         the last beat has ``last`` and ``abs_sum``; elements >= D are 0
    busy : Out(1)                                  a row is inside
    """

    def __init__(self, config: Config):
        self.config = config
        super().__init__(
            {
                "i": In(stream.Signature(finished_row(config))),
                "acc": In(signed(config.acc_width)).array(config.max_dim),
                "o": Out(stream.Signature(output_beat(config))),
                "busy": Out(1),
            }
        )

    @property
    def tree_stages(self) -> int:
        """Register stages of the tree of magnitudes: two adder levels each."""
        return -(-(self.config.norm_lanes.bit_length() - 1) // 2)

    @property
    def stages(self) -> int:
        """Register stages between the row register and the queue: select, shift, 2 multiply, saturate, abs, tree."""
        return 6 + self.tree_stages

    @property
    def latency(self) -> int:
        return 1 + self.stages + 2

    def elaborate(self, platform):
        m = Module()
        m.submodules.queue = queue = StreamQueue(output_beat(self.config), depth=3)
        wiring.connect(m, queue.o, wiring.flipped(self.o))
        self._en = Signal()
        self._valid = [Signal(name=f"valid_{k}") for k in range(self.stages + 1)]
        row = finished_row(self.config)
        self._facts = [Signal(row, name=f"facts_{k}", reset_less=True) for k in range(self.stages + 1)]
        self._last = [Signal(name=f"last_{k}", reset_less=True) for k in range(self.stages + 1)]
        m.d.comb += [
            self._en.eq(~self._valid[-1] | queue.i.ready),
            self.busy.eq(Cat(self._valid).any() | (queue.level != 0)),
        ]
        with m.If(self._en):
            for k in range(1, self.stages + 1):
                for chain in (self._valid, self._facts, self._last):
                    m.d.sync += chain[k].eq(chain[k - 1])

        values = self._saturate(m, self._multiply(m, self._shift(m, self._select(m))))
        sums = self._magnitude(m, values)
        for k in range(6, self.stages + 1):
            values = self._register(m, k, f"value_{k}", values)
        self._emit(m, queue, values, sums)
        return m

    def _register(self, m: Module, stage: int, name: str, exprs: list[Value], shape=None) -> list[Signal]:
        """Registers of one stage; they move only with a beat."""
        regs = [
            Signal(shape or Value.cast(expr).shape(), name=f"{name}_{j}", reset_less=True)
            for j, expr in enumerate(exprs)
        ]
        with m.If(self._en & self._valid[stage - 1]):
            m.d.sync += [reg.eq(expr) for reg, expr in zip(regs, exprs, strict=True)]
        return regs

    def _select(self, m: Module) -> list[Signal]:
        """Stage 0 holds a row, stage 1 gets its next norm_lanes elements."""
        lanes, depth = self.config.norm_lanes, self.config.max_dim
        row = [Signal(signed(self.config.acc_width), name=f"row_{e}", reset_less=True) for e in range(depth)]
        chunk = Signal(range(max(2, depth // lanes)), reset_less=True)
        left = Signal(8, reset_less=True)
        held, last = self._valid[0], self._last[0]
        m.d.comb += [last.eq(left <= lanes), self.i.ready.eq(~held | (self._en & last))]
        with m.If(self._en & held):
            m.d.sync += [held.eq(~last), chunk.eq(chunk + 1), left.eq(left - lanes)]
        with m.If(self.i.valid & self.i.ready):
            m.d.sync += [held.eq(1), chunk.eq(0), left.eq(self.i.payload.dim), self._facts[0].eq(self.i.payload)]
            m.d.sync += [reg.eq(acc) for reg, acc in zip(row, self.acc, strict=True)]
        picked = [Array(row[j::lanes])[chunk] if depth > lanes else row[j] for j in range(lanes)]
        inside = [left > j // _GRANULE * _GRANULE for j in range(lanes)]
        terms = [picked[j] if j < _GRANULE else Mux(inside[j], picked[j], 0) for j in range(lanes)]
        return self._register(m, 1, "acc", terms, signed(self.config.acc_width))

    def _shift(self, m: Module, accs: list[Signal]) -> list[Signal]:
        narrow = signed(self.config.operand_width + N.EXP_WIDTH)
        return self._register(m, 2, "shifted", [acc >> self._facts[1].pe for acc in accs], narrow)

    def _multiply(self, m: Module, values: list[Signal]) -> list[Signal]:
        """round(value * R / 2**24), rounding half up; the 16 low bits of the product cannot carry into the result."""
        recip = self._facts[2].recip
        low = self._register(m, 3, "low", [value[:_LOW_BITS] * recip for value in values])
        high = self._register(m, 3, "high", [value[_LOW_BITS:].as_signed() * recip for value in values])
        drop = 2 * N.EXP_FRAC - N.OUT_FRAC - _LOW_BITS
        sums = [(h + (1 << drop - 1)) + x[_LOW_BITS:] for h, x in zip(high, low, strict=True)]
        return self._register(m, 4, "rounded", [x >> drop for x in sums], signed(self.config.out_width + 2))

    def _saturate(self, m: Module, rounded: list[Signal]) -> list[Signal]:
        width = self.config.out_width
        exprs = []
        for value in rounded:
            top = value[width - 1 :]
            limit = Cat((~value[-1]).replicate(width - 1), value[-1])
            exprs.append(Mux(top.all() | ~top.any(), value[:width], limit).as_signed())
        return self._register(m, 5, "value_5", exprs, signed(width))

    def _magnitude(self, m: Module, values: list[Signal]) -> Value:
        terms = self._register(m, 6, "abs", [abs(value) for value in values], unsigned(self.config.out_width))
        for k in range(self.tree_stages):
            sums = _pairwise(terms)
            terms = self._register(m, 7 + k, f"sum_{k}", _pairwise(sums) if len(sums) > 1 else sums)
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
        with m.If(valid & queue.i.ready):
            m.d.sync += [total.eq(out.abs_sum), partial.eq(~last)]
