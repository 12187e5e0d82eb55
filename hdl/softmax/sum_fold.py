"""Adds the exp sums of chained jobs to those of the jobs before them."""

from __future__ import annotations

import itertools

from amaranth.hdl import Cat, Module, Mux, Shape, Signal, Value
from amaranth.lib import data, stream, wiring
from amaranth.lib.memory import Memory
from amaranth.lib.wiring import In, Out

from hdl.softmax.row_queue import row_facts
from hdl.spec import numerics as N
from hdl.spec import payloads
from hdl.spec.config import Config
from hdl.spec.widths import signed

__all__ = ["SumFold", "folded_sum", "summed_row"]


def summed_row(config: Config) -> data.StructLayout:
    """A row with the sum of its job's exponentials."""
    return data.StructLayout({"facts": row_facts(config), "exp_sum": config.sum_width})


def folded_sum(config: Config) -> data.StructLayout:
    """A row with the sum of all its exponentials so far."""
    return data.StructLayout(
        {
            **summed_row(config).members,
            "total": config.total_width,  # UQ.23, at least 1.0: of a chain twice the sum
            **payloads.fold(config),
        }
    )


class SumFold(wiring.Component):
    """Folds the exp sum of a row into that of its chain: both are shifted to the octave of the higher one, and added.

    Sums of a chain have eight fraction bits more than an exponential, and are rounded up when they are shifted: so
    ``|Σ e·V| <= 2**(operand_width-1) * Σ e`` holds although Σ e·V is rounded down. Both shifts leave with the row, for
    its V sums. Rows that are not chained pass at once. Bit-exact with :func:`golden.datapath.chain.fold_sums`.

    Latency 0 and a row a cycle if it is not chained, else a row every ``LATENCY`` + 1 cycles.

    Members
    -------
    i : In(stream.Signature(summed_row))
    o : Out(stream.Signature(folded_sum, always_ready=True))
    """

    LATENCY = 3

    def __init__(self, config: Config):
        self.config = config
        super().__init__(
            {
                "i": In(stream.Signature(summed_row(config))),
                "o": Out(stream.Signature(folded_sum(config), always_ready=True)),
            }
        )

    def elaborate(self, platform):
        m = Module()
        facts, out = self.i.payload.facts, self.o.payload
        chained = facts.joins | facts.more
        steps = [Signal(name=f"step_{k}") for k in range(self.LATENCY + 1)]
        m.d.comb += [
            steps[0].eq(self.i.valid & chained & ~Cat(steps[1:]).any()),
            self.o.valid.eq((self.i.valid & ~chained) | steps[-1]),
            self.i.ready.eq(self.o.valid),
            out.facts.eq(facts),
            out.exp_sum.eq(self.i.payload.exp_sum),
            *(out.fold[name].eq(facts[name]) for name in payloads.chain_place(self.config)),
        ]
        m.d.sync += [later.eq(earlier) for earlier, later in itertools.pairwise(steps)]
        negative = self._fold(m, steps[-1])
        with m.If(chained):
            m.d.comb += out.total.eq(-negative)
        with m.Else():
            m.d.comb += out.total.eq(self.i.payload.exp_sum << N.FOLD_GUARD - 1)
        return m

    def _fold(self, m: Module, ends: Signal) -> Signal:
        """The negative sum of the chain, so that a shift rounds up; three stages, while the row waits."""
        config, facts, fold = self.config, self.i.payload.facts, self.o.payload.fold
        entry = data.StructLayout({"below": signed(config.octave_width), "negative": signed(config.fold_sum_width + 1)})
        width = Shape.cast(entry).width
        m.submodules.sums = sums = Memory(shape=width, depth=config.chain_rows, init=[])
        write, read = sums.write_port(), sums.read_port()
        place = facts.tag.query[: len(read.addr)]
        before, after = Signal(entry), Signal(entry)
        apart = [Signal(config.octave_width + 1, name=f"{name}_apart", reset_less=True) for name in ("old", "new")]
        parts = [Signal(entry["negative"].shape, name=f"{name}_part", reset_less=True) for name in ("old", "new")]
        distance = before.below - facts.below
        rises = facts.joins & (distance > 0)  # the new octave is the higher one
        m.d.comb += [
            Value.cast(before).eq(read.data),
            read.addr.eq(place),
            read.en.eq(1),
            write.addr.eq(place),
            write.data.eq(Value.cast(after)),
            write.en.eq(ends),
            fold.old_shift.eq(self._shift_of(apart[0])),
            fold.new_shift.eq(self._shift_of(apart[1])),
            after.negative.eq(parts[0] + parts[1]),
            after.below.eq(Mux(facts.joins & ~rises, before.below, facts.below)),
        ]
        m.d.sync += [
            apart[0].eq(Mux(rises, distance, 0)),
            apart[1].eq(Mux(facts.joins & ~rises, -distance, 0)),
            parts[0].eq(Mux(facts.joins, before.negative, 0) >> fold.old_shift),
            parts[1].eq((-(self.i.payload.exp_sum << N.FOLD_GUARD)) >> fold.new_shift),
        ]
        return after.negative

    @staticmethod
    def _shift_of(apart: Signal) -> Value:
        """A shift as far as all bits are gone has gone far enough."""
        most = (1 << N.SHIFT_WIDTH) - 1
        return Mux(apart[N.SHIFT_WIDTH :].any(), most, apart[: N.SHIFT_WIDTH])
