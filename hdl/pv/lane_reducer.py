"""Sum of the lanes that hold the same slice: the adder trees of prob×V."""

from __future__ import annotations

import dataclasses

from amaranth.hdl import Module, Mux, Signal, Value, signed
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from hdl.spec.config import Config

__all__ = ["GRANULE", "LaneReducer", "OutputGeometry"]

GRANULE = 16
"""D is a multiple of it."""
_LEVELS_PER_STAGE = 2


@dataclasses.dataclass(frozen=True)
class OutputGeometry:
    """How the output elements of a beat lie in slices."""

    config: Config

    @property
    def width(self) -> int:
        """Elements of a slice that are in one beat."""
        return min(self.config.lane_width, self.config.norm_lanes)

    @property
    def group(self) -> int:
        """Elements that share their gates: parts of one slice."""
        return min(self.width, GRANULE)

    @property
    def num_groups(self) -> int:
        return self.config.norm_lanes // self.group

    @property
    def gated(self) -> bool:
        """Whether anything ever has to be left out."""
        return self.config.lanes > 1 or self.num_groups > 1


class LaneReducer(wiring.Component):
    """Add up, for each of ``norm_lanes`` output elements, the accumulators of the lanes that hold its slice.

    Elements come in groups that are parts of one slice (:class:`OutputGeometry`); each group has a gate per lane. A row
    of g slices has slice s in the lanes b with b mod g = s mod g; with more slices than lanes there is one.

    Latency :attr:`latency` cycles, initiation interval 1, two adder levels a stage; no register where nothing has to be
    added or left out. No handshake: what has come in never waits. Paper section IV-E (adder trees of prob×V).

    Members
    -------
    valid : In(1)                                       the inputs are those of a beat; other outputs are undefined
    gates : In(lanes).array(num_groups)                 lanes that count
    terms : In(signed(acc_width)).array(lanes, width)   by lane and element of the slice
    o : Out(signed(acc_width)).array(norm_lanes)
    """

    def __init__(self, config: Config):
        self.config = config
        geometry = OutputGeometry(config)
        self.width, self.group, self.num_groups = geometry.width, geometry.group, geometry.num_groups
        self.gated = geometry.gated
        term = signed(config.acc_width)
        super().__init__(
            {
                "valid": In(1),
                "gates": In(config.lanes).array(self.num_groups),
                "terms": In(term).array(config.lanes, self.width),
                "o": Out(term).array(config.norm_lanes),
            }
        )

    @staticmethod
    def latency_of(config: Config) -> int:
        """Cycles from the terms to their sums."""
        levels = config.lanes.bit_length() - 1
        return max(int(OutputGeometry(config).gated), -(-levels // _LEVELS_PER_STAGE))

    @property
    def latency(self) -> int:
        return self.latency_of(self.config)

    def elaborate(self, platform):
        m = Module()
        sums = [
            [Mux(self.gates[j // self.group][b], lane[j % self.width], 0) if self.gated else lane[j % self.width]
             for b, lane in enumerate(self.terms)]
            for j in range(self.config.norm_lanes)
        ]  # fmt: skip
        valid: Value = self.valid
        for stage in range(self.latency):
            for _ in range(_LEVELS_PER_STAGE):
                sums = [self._halve(terms) for terms in sums]
            registers = [
                [Signal(signed(self.config.acc_width), name=f"sum_{stage}_{j}_{b}", reset_less=True)
                 for b in range(len(terms))]
                for j, terms in enumerate(sums)
            ]  # fmt: skip
            with m.If(valid):
                for targets, terms in zip(registers, sums, strict=True):
                    m.d.sync += [target.eq(term) for target, term in zip(targets, terms, strict=True)]
            next_valid = Signal(name=f"valid_{stage}")
            m.d.sync += next_valid.eq(valid)
            sums, valid = registers, next_valid
        m.d.comb += [out.eq(terms[0]) for out, terms in zip(self.o, sums, strict=True)]
        return m

    @staticmethod
    def _halve(terms: list) -> list:
        if len(terms) == 1:
            return terms
        half = len(terms) // 2
        return [low + high for low, high in zip(terms[:half], terms[half:], strict=True)]
