"""Sums of the exponentials of the rows of a stream of lines."""

from __future__ import annotations

from amaranth.hdl import Cat, Module, Mux, Signal, Value
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from hdl.spec import payloads
from hdl.spec.config import Config

__all__ = ["SegmentSum"]


class SegmentSum(wiring.Component):
    """Sum of the exponentials of every row. Never stalls.

    A line gives two sums, one of row A's lanes that joins the running sum, one of row B's lanes that starts the next.
    Latency :attr:`latency`, a line a cycle; two adder levels a stage.

    Members
    -------
    valid : In(1)                   ``line`` is the next line
    line : In(exp_line)             exps are 0 in lanes that are not valid
    sum_valid : Out(1)              one cycle per row
    exp_sum : Out(sum_width)        UQ.16
    """

    def __init__(self, config: Config):
        self.config = config
        super().__init__(
            {
                "valid": In(1),
                "line": In(payloads.exp_line(config)),
                "sum_valid": Out(1),
                "exp_sum": Out(config.sum_width),
            }
        )

    @staticmethod
    def latency_of(config: Config) -> int:
        """Cycles from a row's last line to its sum: operands, two levels of the tree a stage, the running sum."""
        return 2 + -(-(config.lanes.bit_length() - 1) // 2)

    @property
    def latency(self) -> int:
        return self.latency_of(self.config)

    def elaborate(self, platform):
        m = Module()
        exps = Signal.like(self.line.exps, name="exps", reset_less=True)
        in_a = Signal(self.config.lanes, reset_less=True)
        m.d.sync += [
            exps.eq(self.line.exps),
            in_a.eq(Cat(lane < self.line.a_count for lane in range(self.config.lanes))),
        ]
        a_terms = [Mux(in_a[lane], exp, 0) for lane, exp in enumerate(exps)]
        b_terms = [Mux(in_a[lane], 0, exp) for lane, exp in enumerate(exps)]
        valid, last = self._advance(m, 0, self.valid, self.line.a_last)
        stage = 0
        while len(a_terms) > 1:
            stage += 1
            a_terms, b_terms = self._add(m, a_terms, f"a_{stage}"), self._add(m, b_terms, f"b_{stage}")
            valid, last = self._advance(m, stage, valid, last)

        running = Signal.like(self.exp_sum, name="running")
        total = (running + a_terms[0])[: len(running)]
        m.d.sync += [self.sum_valid.eq(valid & last), self.exp_sum.eq(total)]
        with m.If(valid):
            m.d.sync += running.eq(Mux(last, b_terms[0], total))
        return m

    def _add(self, m: Module, terms: list[Value], name: str) -> list[Value]:
        """One register stage of at most two levels of the tree."""
        for _ in range(min(2, (len(terms) - 1).bit_length())):
            terms = [x + y for x, y in zip(terms[::2], terms[1::2], strict=True)]
        sums = [Signal(term.shape(), name=f"{name}_{index}", reset_less=True) for index, term in enumerate(terms)]
        m.d.sync += [register.eq(term) for register, term in zip(sums, terms, strict=True)]
        return list(sums)

    def _advance(self, m: Module, stage: int, valid: Value, last: Value) -> tuple[Signal, Signal]:
        next_valid = Signal(name=f"valid_{stage}")
        next_last = Signal(name=f"last_{stage}", reset_less=True)
        m.d.sync += [next_valid.eq(valid), next_last.eq(last)]
        return next_valid, next_last
