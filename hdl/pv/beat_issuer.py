"""Issue of the beats of prob×V: which windows of the V buffer are read, and when."""

from __future__ import annotations

from amaranth.hdl import Module, Mux, Signal
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out

from hdl.pv.beat import announced_row, joined_line
from hdl.spec.config import Config

__all__ = ["BeatIssuer"]


class BeatIssuer(wiring.Component):
    """Reads the windows of a line, a beat each, as soon as its last V row is there.

    The beat that ends a row is announced to the Normalizer, and read only if the Normalizer will have room. A beat a
    cycle; combinational from the offer to the read.

    Members
    -------
    offered, joined, present : In      as LineJoiner
    taken : Out(1)            the line goes with this beat; only if ``offered``
    announce : Out(stream.Signature(announced_row))    as Normalizer
    en : Out(1)               a beat is read in this cycle
    first : Out(slot_width)   its window
    group : Out(n)            number of the beat in its line
    last : Out(1)             row A is complete with this beat
    stall_line, stall_value, stall_out : Out(1)     as ProbTimesV
    """

    def __init__(self, config: Config):
        self.config = config
        super().__init__(
            {
                "offered": In(1),
                "joined": In(joined_line(config)),
                "present": In(1),
                "taken": Out(1),
                "announce": Out(stream.Signature(announced_row(config))),
                "en": Out(1),
                "first": Out(config.slot_width),
                "group": Out(range(max(2, config.max_beats))),
                "last": Out(1),
                "stall_line": Out(1),
                "stall_value": Out(1),
                "stall_out": Out(1),
            }
        )

    def elaborate(self, platform):
        m = Module()
        joined, announce = self.joined, self.announce
        lane_bits = self.config.lanes.bit_length() - 1
        last_group = Signal.like(self.group, name="last_group")
        ends = Signal()  # row A ends with this beat, and is put out
        allowed = Signal()
        m.d.comb += [
            allowed.eq(self.present & (announce.ready | ~ends)),
            ends.eq(joined.finish & (self.group == last_group)),
            announce.valid.eq(self.offered & self.present & ends),
            *self._announce(joined.row),
            self.en.eq(self.offered & allowed),
            self.taken.eq(allowed & (self.group == last_group)),
            self.first.eq(joined.first | (self.group << lane_bits)),
            self.last.eq(joined.line.a_last & (self.group == last_group)),
        ]
        with m.Switch(joined.row.log_slices):
            for log_slices in range(lane_bits + 1, self.config.log_slices(self.config.max_dim) + 1):
                with m.Case(log_slices):
                    m.d.comb += last_group.eq((1 << log_slices - lane_bits) - 1)
        if self.config.max_beats > 1:  # else ``group`` stays 0, and no comparison with it is built
            with m.If(self.en):
                m.d.sync += self.group.eq(Mux(self.group == last_group, 0, self.group + 1))
        m.d.sync += [
            self.stall_out.eq(self.offered & self.present & ~self.en),
            self.stall_value.eq(self.offered & ~self.present),
            self.stall_line.eq(~self.offered),
        ]
        return m

    def _announce(self, row) -> list:
        """What the Normalizer is told of a row."""
        told = self.announce.payload
        if not self.config.chained:
            return [told.eq(row.dim)]
        return [told.dim.eq(row.dim), told.chained.eq(row.fold.joins | row.fold.more), told.more.eq(row.fold.more)]
