"""Admission of rows to the Normalizer: they come only when nothing will have to wait."""

from __future__ import annotations

from amaranth.hdl import Cat, Module, Mux, Signal
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out

from hdl.pv.beat import announced_row
from hdl.pv.lane_reducer import GRANULE
from hdl.pv.part_fold import PartFold
from hdl.spec.config import Config

__all__ = ["RowAdmission"]


class RowAdmission(wiring.Component):
    """Lets rows in at least as far apart as the first one has beats, and only with a place for every beat.

    Rows of chained jobs are apart far enough for :class:`PartFold`, and take no place if they have no output.

    ``announce.ready`` is a flip-flop. A row that is announced comes exactly ``delay`` cycles later; from its
    announcement to its last beat the row register moves.

    Members
    -------
    announce : In(stream.Signature(announced_row))
    held : In(1)     a row is in the row register
    leave : In(1)    a beat leaves its place
    moves : Out(1)   the row register moves
    """

    def __init__(self, config: Config, *, delay: int, places: int):
        self.config, self.delay, self.places = config, delay, places
        announce = stream.Signature(announced_row(config))
        super().__init__({"announce": In(announce), "held": In(1), "leave": In(1), "moves": Out(1)})

    @property
    def chunks(self) -> int:
        """Most beats of a row."""
        return self.config.max_dim // self.config.norm_lanes

    def elaborate(self, platform):
        m = Module()
        lanes = self.config.norm_lanes
        ready = Signal(init=1)
        announced = self.announce.valid & ready
        # D is a multiple of the granule: ceil(D / norm_lanes) takes no more than this.
        row = self.announce.payload
        dim = row.dim if self.config.chained else row
        beats = (dim + max(lanes, GRANULE) - GRANULE)[lanes.bit_length() - 1 :]
        places, cycles = beats, beats
        if self.config.chained:
            places = Mux(row.more, 0, beats)
            cycles = Mux(row.chained & (beats < PartFold.DISTANCE), PartFold.DISTANCE, beats)
        taken, left = Signal(range(self.chunks + 1), reset_less=True), Signal()  # by the last row; a beat has left
        free = Signal(range(self.places + 1), init=self.places)
        longest = max(self.chunks, PartFold.DISTANCE if self.config.chained else 0)
        pause = Signal(range(longest + 1))  # cycles until the row register is free for the next row
        room = free >= self.chunks + 2  # at most two beats are announced and not yet off ``free``
        announcements = Signal(self.delay)  # on their way
        m.d.comb += self.announce.ready.eq(ready)
        m.d.sync += [
            announcements.eq(Cat(announced, announcements)),
            self.moves.eq(announced | announcements.any() | self.held),
            taken.eq(Mux(announced, places, 0)),
            left.eq(self.leave),
            free.eq(free - taken + left),
        ]
        with m.If(announced):
            m.d.sync += [pause.eq(cycles - 1), ready.eq((cycles == 1) & room)]
        with m.Else():
            m.d.sync += [pause.eq(Mux(pause == 0, 0, pause - 1)), ready.eq((pause <= 1) & room)]
        return m
