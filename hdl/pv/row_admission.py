"""Admission of rows to the Normalizer: they come only when nothing will have to wait."""

from __future__ import annotations

from amaranth.hdl import Cat, Module, Mux, Signal
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out

from hdl.pv.lane_reducer import GRANULE
from hdl.spec.config import Config

__all__ = ["RowAdmission"]


class RowAdmission(wiring.Component):
    """Lets rows in at least as far apart as the first one has beats, and only with a place for every beat.

    ``announce.ready`` is a flip-flop. A row that is announced comes exactly ``delay`` cycles later; from its
    announcement to its last beat the row register moves.

    Members
    -------
    announce : In(stream.Signature(8))    D of a row
    held : In(1)     a row is in the row register
    leave : In(1)    a beat leaves its place
    moves : Out(1)   the row register moves
    """

    def __init__(self, config: Config, *, delay: int, places: int):
        self.config, self.delay, self.places = config, delay, places
        super().__init__({"announce": In(stream.Signature(8)), "held": In(1), "leave": In(1), "moves": Out(1)})

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
        beats = (self.announce.payload + max(lanes, GRANULE) - GRANULE)[lanes.bit_length() - 1 :]
        taken, left = Signal(range(self.chunks + 1), reset_less=True), Signal()  # by the last row; a beat has left
        free = Signal(range(self.places + 1), init=self.places)
        pause = Signal(range(self.chunks + 1))  # cycles until the row register is free for the next row
        room = free >= self.chunks + 2  # at most two beats are announced and not yet off ``free``
        announcements = Signal(self.delay)  # on their way
        m.d.comb += self.announce.ready.eq(ready)
        m.d.sync += [
            announcements.eq(Cat(announced, announcements)),
            self.moves.eq(announced | announcements.any() | self.held),
            taken.eq(Mux(announced, beats, 0)),
            left.eq(self.leave),
            free.eq(free - taken + left),
        ]
        with m.If(announced):
            m.d.sync += [pause.eq(beats - 1), ready.eq((beats == 1) & room)]
        with m.Else():
            m.d.sync += [pause.eq(Mux(pause == 0, 0, pause - 1)), ready.eq((pause <= 1) & room)]
        return m
