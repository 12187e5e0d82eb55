"""Q×K: scores of one query against the keys of its head, a line of keys a cycle (paper section IV-D)."""

from __future__ import annotations

from amaranth.hdl import Module, Mux, Signal, Value
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

from hdl.qk.adder_tree import AdderTree, adder_tree_latency
from hdl.qk.beat import line_beat
from hdl.qk.line_control import LineControl
from hdl.qk.multiplier_array import MultiplierArray
from hdl.qk.score_aligner import ScoreAligner
from hdl.spec.config import Config
from hdl.spec.payloads import BufferRead, line_shape, query_row, score_line, started_row
from hdl.spec.widths import lane_count
from hdl.stream.credit_counter import CreditCounter
from hdl.stream.stream_queue import StreamQueue

__all__ = ["QKMultiply"]


class QKMultiply(wiring.Component):
    """Scores of each query against its keys: ``score = Q·K``, one beat of ``lanes`` slices a cycle.

    A query of ``length`` keys gives ``ceil(length / S)`` lines, ``S = scores_per_line``, of ``beats(dim)`` beats each.
    Where the query and the one after it have ``pack`` and agree in context and length, and the next one has
    arrived, the last line also holds the first keys of the next row. A beat is issued a cycle after the sequence
    numbers of all keys of its line lie before ``ready``, if the output queue has room. The multipliers then run without
    a stall: it holds all that is under way. The lower 4 bits of a K word count only if the row's query has ``low``.

    Initiation interval 1 across lines and queries. A line appears :attr:`latency` cycles after the issue of its last
    beat, which is at the earliest :attr:`ISSUE_LATENCY` cycles after the query is taken. Bit-exact with
    :func:`golden.datapath.integer.scores`. Paper section IV-D and Table I.

    Members
    -------
    query : In(stream(query_row))    in row order
    read : Out(BufferRead)           K buffer
    ready : In(seq_width)            sequence number before which all keys are loaded (modulo comparison)
    line : Out(stream(score_line))
    row : Out(stream(started_row))   one per query, not later than its first line
    busy : Out(1)                    a beat is issued in this cycle; else one of the next three
    stall_query : Out(1)             no query
    stall_key : Out(1)               the keys of the line are not loaded
    stall_out : Out(1)               ``line`` or ``row`` is not taken
    useful : Out(n)                  scores of the line whose last beat is issued in this cycle, else 0
    row_read : Out(1)                the keys of a whole row have been read (registered)
    row_read_context : Out(n)        of this context
    row_read_low : Out(1)            with the lower bits of its keys: they are not needed again for it
    """

    ISSUE_LATENCY = 2
    """Cycles from a query to its first beat, if its keys are loaded."""

    def __init__(self, config: Config):
        self.config = config
        super().__init__(
            {
                "query": In(stream.Signature(query_row(config))),
                "read": Out(BufferRead(config)),
                "ready": In(config.seq_width),
                "line": Out(stream.Signature(score_line(config))),
                "row": Out(stream.Signature(started_row(config))),
                "row_read": Out(1),
                "row_read_context": Out(config.context_width),
                "row_read_low": Out(1),
                "busy": Out(1),
                "stall_query": Out(1),
                "stall_key": Out(1),
                "stall_out": Out(1),
                "useful": Out(lane_count(config)),
            }
        )

    @staticmethod
    def latency_of(config: Config) -> int:
        """Cycles from the issue of the last beat of a line to the line: 2 of them in the output queue."""
        return MultiplierArray.LATENCY + adder_tree_latency(config) + ScoreAligner.latency_of(config) + 2

    @property
    def latency(self) -> int:
        return self.latency_of(self.config)

    @staticmethod
    def places_of(config: Config) -> int:
        """Places of the output queue, for lines under way and lines that wait: enough for a beat in every cycle."""
        return max(16, QKMultiply.latency_of(config) + 3)

    @property
    def places(self) -> int:
        return self.places_of(self.config)

    def elaborate(self, platform):
        m = Module()
        m.submodules.control = control = LineControl(self.config)
        m.submodules.array = array = MultiplierArray(self.config)
        m.submodules.tree = tree = AdderTree(self.config)
        m.submodules.aligner = aligner = ScoreAligner(self.config)
        m.submodules.rows = rows = StreamQueue(self.row.payload.shape(), depth=self.places + 4)
        m.submodules.lines = lines = StreamQueue(self.line.payload.shape(), depth=self.places)
        self._connect_query(m, control, array, rows)
        self._connect_control(m, control, array)
        beat, valid = self._delay(m, "array", control.beat, control.issue, array.LATENCY)
        m.d.comb += [
            tree.i.payload.products.eq(array.products),
            tree.i.payload.log_slices.eq(beat.log_slices),
            tree.i.valid.eq(valid),
            tree.o.ready.eq(1),
        ]
        beat, _ = self._delay(m, "tree", beat, valid, tree.latency)
        m.d.comb += [
            aligner.valid.eq(tree.o.valid),
            aligner.beat.eq(beat),
            aligner.sums.eq(tree.o.payload.sums),
            lines.i.valid.eq(aligner.o_valid & aligner.o_beat.last),
            *(lines.i.payload[name].eq(aligner.o_beat[name]) for name in line_shape(self.config)),
            lines.i.payload.scores.eq(aligner.scores),
        ]
        wiring.connect(m, lines.o, wiring.flipped(self.line))
        wiring.connect(m, rows.o, wiring.flipped(self.row))
        self._count(m, control, rows)
        return m

    def _connect_query(self, m: Module, control: LineControl, array: MultiplierArray, rows: StreamQueue) -> None:
        query = self.query.payload
        m.d.comb += [
            self.query.ready.eq(control.query.ready & rows.i.ready),
            control.query.valid.eq(self.query.valid & rows.i.ready),
            rows.i.valid.eq(self.query.valid & control.query.ready),
            rows.i.payload.tag.eq(query.tag),
            rows.i.payload.length.eq(query.length),
            control.query.payload.context.eq(query.tag.context),
            *(
                control.query.payload[name].eq(query[name])
                for name, _ in control.query.payload.shape()
                if name != "context"
            ),
            array.elements.eq(query.elements),
            array.take.eq(self.query.valid & self.query.ready),
        ]

    def _connect_control(self, m: Module, control: LineControl, array: MultiplierArray) -> None:
        # Places of the output queue, less the lines on their way to it; the queue has one to spare.
        m.submodules.credits = credits = CreditCounter(self.places - 1)
        m.d.comb += [
            credits.take.eq(control.issue & control.beat.last),
            credits.give.eq(self.line.valid & self.line.ready),
            control.credit.eq(credits.some),
            control.ready.eq(self.ready),
            self.read.en.eq(control.issue),
            self.read.first.eq(control.first),
            array.shift_next.eq(control.shift_next),
            array.shift_current.eq(control.shift_current),
            array.lanes.eq(control.lanes),
            array.key.eq(self.read.data),
        ]

    def _delay(self, m: Module, name: str, beat: data.View, valid: Value, cycles: int) -> tuple[data.View, Value]:
        for cycle in range(cycles):
            beat_next = Signal(line_beat(self.config), name=f"{name}_beat_{cycle}", reset_less=True)
            valid_next = Signal(name=f"{name}_valid_{cycle}")
            m.d.sync += [beat_next.eq(beat), valid_next.eq(valid)]
            beat, valid = beat_next, valid_next
        return beat, valid

    def _count(self, m: Module, control: LineControl, rows: StreamQueue) -> None:
        blocked = Signal()
        m.d.sync += [
            self.row_read.eq(control.row_done),
            self.row_read_context.eq(control.context),
            self.row_read_low.eq(control.low),
        ]
        m.d.comb += [
            blocked.eq(control.idle & self.query.valid & ~rows.i.ready),
            self.busy.eq(control.issue),
            self.stall_query.eq(control.idle & ~blocked),
            self.stall_key.eq(control.wait),
            self.stall_out.eq(~(self.busy | self.stall_query | self.stall_key)),
            self.useful.eq(Mux(control.issue & control.beat.last, control.beat.a_count + control.beat.b_count, 0)),
        ]
