"""Where the current line of Q×K lies in its row and in the K buffer, and whether its keys are loaded."""

from __future__ import annotations

from amaranth.hdl import Const, Module, Mux, Signal, Value, signed
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In, Out

from hdl.qk.beat import query_header, served_slices
from hdl.spec.config import Config
from hdl.spec.payloads import line_shape
from hdl.spec.widths import lane_count

__all__ = ["LineTracker"]


def _first_line(config: Config) -> data.StructLayout:
    """The first line of a row, if it begins with key 0."""
    seq = config.seq_width
    return data.StructLayout(
        {
            "scores": lane_count(config),  # S
            "over": signed(config.count_width + 1),  # lanes beyond the row's last key; negative: keys to come
            # Sequence numbers of …
            "end_seq": seq,  # … position start + S
            "later_seq": seq,  # … position start + 2S
            "length_seq": seq,  # … the position after the row's last
        }
    )


def _line(config: Config) -> data.StructLayout:
    """A line, worked out one line ahead. ``end_seq`` is undefined if ``end_ready``."""
    return data.StructLayout(
        {
            **_first_line(config).members,
            "start": config.count_width,
            "last": 1,  # the row ends in this line
            "end_ready": 1,  # the keys before position start + S are loaded
            "length_ready": 1,  # those of the whole row are
        }
    )


class LineTracker(wiring.Component):
    """Describes the current line, one beat after the other.

    Every line is worked out one line ahead, and its keys are looked for one cycle ahead: all outputs begin at
    flip-flops. The first line of a row that becomes the current one is there in the next cycle, and so is the next
    beat.

    Members
    -------
    arrived, shift_next, following, follows, shift_current : In     as QueryWindow
    ready : In(seq_width)    sequence number before which all keys are loaded (modulo comparison)
    issue : In(1)            the beat is issued
    last_beat : In(1)        it is the last one of its line
    line : Out(line_shape)   fields of the current line
    pack : Out(1)            the row ends in it, and the next row begins in it, or at its end
    end_ready : Out(1)       all keys of a full line are loaded
    length_ready : Out(1)    all keys of the row are
    first : Out(slot_width)  window of the K buffer that the beat reads
    beat : Out(n)            number of the beat in its line
    """

    def __init__(self, config: Config):
        self.config = config
        header = query_header(config)
        super().__init__(
            {
                "arrived": In(header),
                "shift_next": In(1),
                "following": In(header),
                "follows": In(1),
                "shift_current": In(1),
                "ready": In(config.seq_width),
                "issue": In(1),
                "last_beat": In(1),
                "line": Out(data.StructLayout(line_shape(config))),
                "pack": Out(1),
                "end_ready": Out(1),
                "length_ready": Out(1),
                "first": Out(config.slot_width),
                "beat": Out(range(max(2, config.max_beats))),
            }
        )

    def elaborate(self, platform):
        m = Module()
        line = Signal(_line(self.config), name="current_line", reset_less=True)
        over = line.over[: len(self.line.b_count)]  # if the row ends
        m.d.comb += [
            self.pack.eq(line.last & self.follows),
            self.line.start.eq(line.start),
            self.line.a_last.eq(line.last),
            self.line.a_count.eq(line.scores - Mux(line.last, over, 0)),
            self.line.b_count.eq(Mux(self.pack, over, 0)),
            self.end_ready.eq(line.end_ready),
            self.length_ready.eq(line.length_ready),
        ]
        self._advance(m, line, self._look_ahead(m))
        self._place(m)
        return m

    def _look_ahead(self, m: Module) -> data.View:
        """The first line of the next row, if it begins with key 0."""
        row, line = self.arrived, Signal(_first_line(self.config), name="next_line", reset_less=True)
        scores: Value = Const(1)
        for served in served_slices(self.config):
            scores = Mux(row.log_slices == served, max(1, self.config.lanes >> served), scores)
        with m.If(self.shift_next):
            m.d.sync += [
                line.scores.eq(scores),
                line.over.eq(scores - row.length),
                line.end_seq.eq(row.seq + scores),
                line.later_seq.eq(row.seq + (scores << 1)),
                line.length_seq.eq(row.seq + row.length),
            ]
        return line

    def _loaded(self, seq: Value) -> Value:
        """Whether all keys before a sequence number are loaded: once true it stays so."""
        return (self.ready - seq)[: self.config.seq_width].as_signed() >= 0

    def _advance(self, m: Module, line: data.View, first: data.View) -> None:
        start = self.line.b_count
        first_over, later_over = (Signal(first.over.shape(), name=name) for name in ("first_over", "later_over"))
        m.d.comb += [first_over.eq(first.over + start), later_over.eq(line.over + line.scores)]
        m.d.sync += [
            line.end_ready.eq(line.end_ready | self._loaded(line.end_seq)),
            line.length_ready.eq(line.length_ready | self._loaded(line.length_seq)),
        ]
        with m.If(self.shift_current):
            m.d.sync += [
                line.start.eq(start),
                line.scores.eq(first.scores),
                line.over.eq(first_over),
                line.last.eq(first_over >= 0),
                # A row that began in the last line has the keys of the row before, and at least S of them.
                line.end_ready.eq(self.pack | self._loaded(first.end_seq)),
                line.length_ready.eq(self.pack | self._loaded(first.length_seq)),
                line.end_seq.eq(first.end_seq),
                line.later_seq.eq(first.later_seq + start),
                line.length_seq.eq(first.length_seq),
            ]
        with m.Elif(self.issue & self.last_beat):
            m.d.sync += [
                line.start.eq(line.start + line.scores),
                line.over.eq(later_over),
                line.last.eq(later_over >= 0),
                line.end_ready.eq(self._loaded(line.later_seq)),
                line.end_seq.eq(line.later_seq),
                line.later_seq.eq(line.later_seq + line.scores),
            ]

    def _place(self, m: Module) -> None:
        """The window that the beat reads, and the beat's number."""
        first, beat = (
            Signal(self.first.shape(), name="window", reset_less=True),
            Signal.like(self.beat, reset_less=True),
        )
        m.d.comb += [self.first.eq(first), self.beat.eq(beat)]
        with m.If(self.shift_current):
            # The region begins at a multiple of lanes, and the line's first slot in it is below lanes.
            m.d.sync += [first.eq(self.following.slot | (self.line.b_count << self.following.log_slices)), beat.eq(0)]
        with m.Elif(self.issue):
            # The slots of a line are `lanes` for every number of slices, and so are those of a beat.
            m.d.sync += [first.eq(first + self.config.lanes), beat.eq(Mux(self.last_beat, 0, beat + 1))]
