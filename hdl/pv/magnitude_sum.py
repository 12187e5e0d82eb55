"""Sum of the magnitudes of a beat of output elements."""

from __future__ import annotations

from amaranth.hdl import Cat, Module, Signal, Value, signed, unsigned
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from hdl.spec.config import Config
from hdl.spec.widths import bits_for_count

__all__ = ["MagnitudeSum"]


class MagnitudeSum(wiring.Component):
    """``total = Σ|values|`` of each beat, with the values beside it.

    Latency :attr:`latency`: the magnitudes, then a register for every two levels of the adder tree. Initiation
    interval 1; never stalls, and registers move only with a beat. Bit-exact with
    :func:`golden.datapath.integer.abs_sum` of one beat.

    Members
    -------
    valid : In(1)
    values : In(signed(out_width)).array(norm_lanes)
    o_valid : Out(1)
    o_values : Out(signed(out_width)).array(norm_lanes)
    total : Out(n)     unsigned
    busy : Out(1)      a beat is inside
    """

    def __init__(self, config: Config):
        self.config = config
        lanes, value = config.norm_lanes, signed(config.out_width)
        super().__init__(
            {
                "valid": In(1),
                "values": In(value).array(lanes),
                "o_valid": Out(1),
                "o_values": Out(value).array(lanes),
                "total": Out(bits_for_count(lanes << config.out_width - 1)),
                "busy": Out(1),
            }
        )

    @staticmethod
    def latency_of(config: Config) -> int:
        """Cycles from the values to their sum."""
        return 1 + -(-(config.norm_lanes.bit_length() - 1) // 2)

    @property
    def latency(self) -> int:
        return self.latency_of(self.config)

    def elaborate(self, platform):
        m = Module()
        values, valid = list(self.values), self.valid
        terms: list[Value] = [abs(value) for value in values]
        valids, shape = [], unsigned(self.config.out_width)
        for stage in range(self.latency):
            if stage:
                terms, shape = self._add(self._add(terms)), None
            terms = self._register(m, valid, f"sum_{stage}", terms, shape)
            values = self._register(m, valid, f"value_{stage}", values)
            valids.append(Signal(name=f"valid_{stage}"))
            m.d.sync += valids[-1].eq(valid)
            valid = valids[-1]
        m.d.comb += [self.o_valid.eq(valid), self.busy.eq(Cat(valids).any()), self.total.eq(terms[0])]
        m.d.comb += [port.eq(value) for port, value in zip(self.o_values, values, strict=True)]
        return m

    @staticmethod
    def _add(terms: list) -> list:
        """A level of the tree."""
        return [x + y for x, y in zip(terms[::2], terms[1::2], strict=True)] if len(terms) > 1 else terms

    @staticmethod
    def _register(m: Module, enable: Value, name: str, exprs: list[Value], shape=None) -> list[Signal]:
        registers = [
            Signal(shape or Value.cast(expr).shape(), name=f"{name}_{j}", reset_less=True)
            for j, expr in enumerate(exprs)
        ]
        with m.If(enable):
            m.d.sync += [register.eq(expr) for register, expr in zip(registers, exprs, strict=True)]
        return registers
