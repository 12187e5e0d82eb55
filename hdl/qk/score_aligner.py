"""From sums of the adder tree to the scores of a line: rotated to lane 0, and added up over the line's beats."""

from __future__ import annotations

from amaranth.hdl import Module, Mux, Signal, signed
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In, Out

from hdl.qk.beat import line_beat
from hdl.spec.config import Config

__all__ = ["ScoreAligner"]


class ScoreAligner(wiring.Component):
    """Puts the sum of the key at ``start`` into lane 0, and adds the beats of a line that has one score.

    Sums repeat after the S-th, so S does not matter for the rotation. Latency :attr:`latency`, a beat a cycle; never
    stalls. The scores of a line are complete with its last beat.

    Members
    -------
    valid : In(1)                     a beat comes
    beat : In(line_beat(config))
    sums : In(lanes sums)             of the adder tree, in the order of the banks
    o_valid : Out(1)                  a beat goes
    o_beat : Out(line_beat(config))
    scores : Out(lanes scores)
    """

    def __init__(self, config: Config):
        self.config = config
        scores = data.ArrayLayout(signed(config.score_width), config.lanes)
        super().__init__(
            {
                "valid": In(1),
                "beat": In(line_beat(config)),
                "sums": In(scores),
                "o_valid": Out(1),
                "o_beat": Out(line_beat(config)),
                "scores": Out(scores),
            }
        )

    @staticmethod
    def latency_of(config: Config) -> int:
        """Cycles from a beat in to the beat out."""
        return 1 + (config.max_beats > 1)

    @property
    def latency(self) -> int:
        return self.latency_of(self.config)

    def elaborate(self, platform):
        m = Module()
        lanes = range(self.config.lanes)
        rotated = [self.sums[b] for b in lanes]
        for bit in range((len(lanes) - 1).bit_length()):
            step = 1 << bit
            rotated = [Mux(self.beat.start[bit], rotated[(b + step) % len(lanes)], rotated[b]) for b in lanes]
        valid, beat, scores = self._stage("aligned")
        m.d.sync += [valid.eq(self.valid), beat.eq(self.beat), *(scores[b].eq(rotated[b]) for b in lanes)]
        if self.config.max_beats > 1:
            last_valid, last_beat, total = self._stage("total")
            m.d.sync += [last_valid.eq(valid), last_beat.eq(beat), *(total[b].eq(scores[b]) for b in lanes[1:])]
            with m.If(valid):
                m.d.sync += total[0].eq(scores[0] + Mux(beat.first, 0, total[0]))
            valid, beat, scores = last_valid, last_beat, total
        m.d.comb += [self.o_valid.eq(valid), self.o_beat.eq(beat), self.scores.eq(scores)]
        return m

    def _stage(self, name: str) -> tuple[Signal, data.View, data.View]:
        """Registers of a beat and its scores."""
        return (
            Signal(name=f"{name}_valid"),
            Signal(line_beat(self.config), name=f"{name}_beat", reset_less=True),
            Signal(self.scores.shape(), name=name, reset_less=True),
        )
