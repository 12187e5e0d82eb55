"""Adds the V sums of chained jobs to those of the jobs before them."""

from __future__ import annotations

from amaranth.hdl import Cat, Module, Mux, Shape, Signal, Value
from amaranth.lib import data, wiring
from amaranth.lib.memory import Memory
from amaranth.lib.wiring import In, Out

from hdl.pv.beat import finished_row
from hdl.spec import numerics as N
from hdl.spec.config import Config
from hdl.spec.widths import signed

__all__ = ["PartFold"]


class PartFold(wiring.Component):
    """Folds Σ e·V of a row into that of its chain: both are shifted as their exp sums were, and added.

    Sums of a chain have eight fraction bits more than those of a job, and are rounded down when they are shifted. A row
    that goes on in the next job leaves its sums here and has no output; the last row of a chain loses the seven lowest
    bits, those that are not chained pass. Bit-exact with :func:`golden.datapath.chain.fold_values`.

    ``LATENCY`` cycles, a beat a cycle; never stalls. Two beats of the same place must be ``DISTANCE`` cycles apart.

    Members
    -------
    valid : In(1)                 the inputs are those of a beat
    facts : In(finished_row)      of its row
    last : In(1)                  it is the row's last
    accs : In(signed(acc_width)).array(norm_lanes)        Q.16
    o_valid : Out(1)              a beat of a row that has an output
    o : Out(signed(scaled_width)).array(norm_lanes)       Q.16
    busy : Out(1)                 a beat is inside
    """

    LATENCY = 3
    DISTANCE = LATENCY + 1

    def __init__(self, config: Config):
        self.config = config
        lanes = config.norm_lanes
        super().__init__(
            {
                "valid": In(1),
                "facts": In(finished_row(config)),
                "last": In(1),
                "accs": In(signed(config.acc_width)).array(lanes),
                "o_valid": Out(1),
                "o": Out(signed(config.scaled_width)).array(lanes),
                "busy": Out(1),
            }
        )

    def elaborate(self, platform):
        m = Module()
        config, row = self.config, self.facts
        beats = config.max_dim // config.norm_lanes
        beat = Signal(range(max(2, beats)))
        with m.If(self.valid):
            m.d.sync += beat.eq(Mux(self.last, 0, beat + 1))
        step = data.StructLayout(
            {
                "place": range(max(2, config.chain_rows * beats)),
                "chained": 1,
                "joins": 1,
                "more": 1,
                "old_shift": N.SHIFT_WIDTH,
                "new_shift": N.SHIFT_WIDTH,
            }
        )
        valid = [self.valid, *(Signal(name=f"valid_{k}") for k in range(1, self.LATENCY + 1))]
        steps = [Signal(step, name=f"step_{k}", reset_less=k > 0) for k in range(self.LATENCY + 1)]
        m.d.comb += [
            steps[0].place.eq(row.tag.query * beats + beat),
            steps[0].chained.eq(row.fold.joins | row.fold.more),
            *(steps[0][name].eq(row.fold[name]) for name in ("joins", "more", "old_shift", "new_shift")),
        ]
        for k in range(1, self.LATENCY + 1):
            m.d.sync += [valid[k].eq(valid[k - 1]), steps[k].eq(steps[k - 1])]
        m.d.comb += [
            self.busy.eq(Cat(valid[1:]).any()),
            self.o_valid.eq(valid[-1] & ~steps[-1].more),
        ]
        self._fold(m, valid, steps)
        return m

    def _fold(self, m: Module, valid: list, steps: list) -> None:
        """Stages: the new sums shifted, while the old ones are read; the old ones shifted; both added, and kept."""
        config = self.config
        beats = config.max_dim // config.norm_lanes
        whole = data.ArrayLayout(signed(config.fold_acc_width), config.norm_lanes)
        m.submodules.sums = sums = Memory(shape=Shape.cast(whole).width, depth=config.chain_rows * beats, init=[])
        write, read = sums.write_port(), sums.read_port()
        before, after = Signal(whole), Signal(whole)
        m.d.comb += [
            read.addr.eq(steps[0].place),
            read.en.eq(valid[0]),
            Value.cast(before).eq(read.data),
            write.addr.eq(steps[-1].place),
            write.data.eq(Value.cast(after)),
            write.en.eq(valid[-1] & steps[-1].more),
        ]
        shape = signed(config.fold_acc_width)
        for j, acc in enumerate(self.accs):
            new, new_2, old, total = (
                Signal(shape, name=f"{name}_{j}", reset_less=True) for name in ("new", "later", "old", "total")
            )
            with m.If(valid[0]):
                m.d.sync += new.eq((acc << N.FOLD_GUARD) >> Mux(steps[0].joins, steps[0].new_shift, 0))
            with m.If(valid[1]):
                m.d.sync += [old.eq(Mux(steps[1].joins, before[j], 0) >> steps[1].old_shift), new_2.eq(new)]
            with m.If(valid[2]):
                m.d.sync += total.eq(old + new_2)
            dropped = total >> N.FOLD_GUARD - 1
            plain = total >> N.FOLD_GUARD
            m.d.comb += [after[j].eq(total), self.o[j].eq(Mux(steps[-1].chained, dropped, plain))]
