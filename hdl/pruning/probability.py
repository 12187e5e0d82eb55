"""Probabilities of a line of exponentials, for the importance of tokens (paper section III-A)."""

from __future__ import annotations

import itertools

from amaranth.hdl import Module, Mux, Signal
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

from hdl.pruning.line_filter import kept_line, lanes_below
from hdl.spec import numerics, payloads
from hdl.spec.config import Config
from hdl.stream.credit_counter import CreditCounter
from hdl.stream.stream_queue import StreamQueue

__all__ = ["Probability"]


class Probability(wiring.Component):
    """``prob = exp * recip / 2**(16 + pe)``, rounded half up, in every lane with its own row's reciprocal.

    Bit-exact with :func:`golden.datapath.integer.probs`. Four stages: operands, product, shift, rounding. They never
    stall: a line is taken if the output queue has a place for it. ``i.ready`` is a flip-flop. Latency 6, one line a
    cycle.

    Members
    -------
    i : In(stream.Signature(kept_line(config)))     ``keep`` is not read: pruned V rows have a probability, too
    o : Out(stream.Signature(prob_line(config)))    ``b_tag`` and ``b_drop`` as in the line, valid if b_count > 0
    """

    STAGES = 4
    LATENCY = STAGES + 2

    def __init__(self, config: Config):
        self.config = config
        super().__init__(
            {
                "i": In(stream.Signature(kept_line(config))),
                "o": Out(stream.Signature(payloads.prob_line(config))),
            }
        )

    def elaborate(self, platform):
        m = Module()
        m.submodules.queue = queue = StreamQueue(self.o.payload.shape(), depth=self.STAGES + 8)
        wiring.connect(m, queue.o, wiring.flipped(self.o))
        m.submodules.credits = credits = CreditCounter(queue.depth)
        m.d.comb += [
            self.i.ready.eq(credits.some),
            credits.take.eq(self.i.valid & credits.some),
            credits.give.eq(self.o.valid & self.o.ready),
        ]
        valid = Signal(self.STAGES)
        m.d.comb += queue.i.valid.eq(valid[-1])
        line, fields = self.i.payload, self.o.payload.shape().members
        head = data.StructLayout({name: shape for name, shape in fields.items() if name != "probs"})
        heads = [Signal(head, name=f"head{stage}", reset_less=True) for stage in range(self.STAGES)]
        m.d.sync += valid.eq((valid << 1) | credits.take)
        m.d.sync += [heads[0][name].eq(line[name]) for name in payloads.line_shape(self.config)]
        m.d.sync += [heads[0].a_tag.eq(line.a.tag), heads[0].a_drop.eq(line.a.flat)]
        m.d.sync += [heads[0].b_tag.eq(line.b.tag), heads[0].b_drop.eq(line.b.flat)]
        m.d.sync += [later.eq(earlier) for earlier, later in itertools.pairwise(heads)]
        m.d.comb += [queue.i.payload[name].eq(heads[-1][name]) for name in head.members]
        for lane, is_a in enumerate(lanes_below(line.a_count, self.config.lanes)):
            row = [Mux(is_a, line.a[name], line.b[name]) for name in ("recip", "pe")]
            m.d.comb += queue.i.payload.probs[lane].eq(self.lane(m, lane, line.exps[lane], *row))
        return m

    def lane(self, m: Module, lane: int, exp, recip, pe) -> Signal:
        """One lane of the pipeline; returns its last register."""

        def register(name: str, width: int) -> Signal:
            return Signal(width, name=f"{name}{lane}", reset_less=True)

        width = numerics.EXP_WIDTH
        factors = register("exp", width), register("recip", numerics.RECIP_WIDTH)
        shifts = register("pe_first", len(pe)), register("pe_second", len(pe))
        product = register("product", width + numerics.RECIP_WIDTH)
        # One fraction bit is left for the rounding.
        shifted = register("shifted", width + 1)
        prob = register("prob", width)
        m.d.sync += [factors[0].eq(exp), factors[1].eq(recip), shifts[0].eq(pe)]
        m.d.sync += [product.eq(factors[0] * factors[1]), shifts[1].eq(shifts[0])]
        m.d.sync += shifted.eq(product[numerics.RECIP_FRAC - 1 :] >> shifts[1])
        m.d.sync += prob.eq((shifted + 1) >> 1)
        return prob
