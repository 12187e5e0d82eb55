"""Maxima of the rows of a stream of score lines."""

from __future__ import annotations

from amaranth.hdl import Const, Module, Mux, Signal, Value
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out

from hdl.spec.config import Config
from hdl.spec.payloads import score_line
from hdl.spec.widths import signed

__all__ = ["RowMax"]


class RowMax(wiring.Component):
    """Largest score of every row. Bit-exact with :func:`golden.datapath.integer.row_max`.

    A line gives two maxima, one of row A's lanes that joins the running maximum, one of row B's lanes that starts the
    next. Latency :attr:`latency`, one line a cycle; a maximum that is not taken stops the lines.

    Members
    -------
    i : In(stream.Signature(score_line))
    o : Out(stream.Signature(signed(score_width)))    one maximum per row, in row order
    """

    def __init__(self, config: Config):
        self.config = config
        super().__init__(
            {
                "i": In(stream.Signature(score_line(config))),
                "o": Out(stream.Signature(signed(config.score_width))),
            }
        )

    def elaborate(self, platform):
        m = Module()
        line = self.i.payload
        en = Signal()
        m.d.comb += [en.eq(~self.o.valid | self.o.ready), self.i.ready.eq(en)]
        with m.If(en):
            a_lanes, b_lanes = self._split(m)
            valid, last = self._advance(m, 0, self.i.valid, line.a_last)
            level = 0
            while len(a_lanes) > 1:
                level += 1
                a_lanes = self._reduce(m, a_lanes, f"a_{level}")
                b_lanes = self._reduce(m, b_lanes, f"b_{level}")
                valid, last = self._advance(m, level, valid, last)
            self._accumulate(m, a_lanes[0], b_lanes[0], valid, last)
        return m

    @staticmethod
    def latency_of(config: Config) -> int:
        """Cycles from a row's last line to its maximum: lanes, the levels of the tree, the running maximum."""
        return 2 + config.lanes.bit_length() - 1

    @property
    def latency(self) -> int:
        return self.latency_of(self.config)

    @property
    def _lowest(self) -> Const:
        width = self.config.score_width
        return Const(-(1 << (width - 1)), signed(width))

    def _register(self, m: Module, value: Value, name: str) -> Signal:
        register = Signal(signed(self.config.score_width), name=name, reset_less=True)
        m.d.sync += register.eq(value)
        return register

    def _split(self, m: Module) -> tuple[list[Signal], list[Signal]]:
        line = self.i.payload
        a_lanes, b_lanes = [], []
        for lane, score in enumerate(line.scores):
            in_a = lane < line.a_count
            in_b = ~in_a & (lane < line.a_count + line.b_count)
            a_lanes.append(self._register(m, Mux(in_a, score, self._lowest), f"a_0_{lane}"))
            b_lanes.append(self._register(m, Mux(in_b, score, self._lowest), f"b_0_{lane}"))
        return a_lanes, b_lanes

    def _reduce(self, m: Module, lanes: list[Signal], name: str) -> list[Signal]:
        pairs = zip(lanes[::2], lanes[1::2], strict=True)
        return [self._register(m, Mux(x > y, x, y), f"{name}_{index}") for index, (x, y) in enumerate(pairs)]

    def _advance(self, m: Module, level: int, valid: Value, last: Value) -> tuple[Signal, Signal]:
        next_valid = Signal(name=f"valid_{level}")
        next_last = Signal(name=f"last_{level}", reset_less=True)
        m.d.sync += [next_valid.eq(valid), next_last.eq(last)]
        return next_valid, next_last

    def _accumulate(self, m: Module, a_max: Signal, b_max: Signal, valid: Signal, last: Signal) -> None:
        # Without lanes of row B, b_max is the lowest value: the start of a row that begins in the next line.
        running = Signal(signed(self.config.score_width), init=self._lowest.value)
        maximum = Mux(running > a_max, running, a_max)
        m.d.sync += [self.o.valid.eq(valid & last), self.o.payload.eq(maximum)]
        with m.If(valid):
            m.d.sync += running.eq(Mux(last, b_max, maximum))
