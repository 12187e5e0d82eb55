"""Issue of the beats of Q×K: which slots are read, and which row each lane works for."""

from __future__ import annotations

from amaranth.hdl import Cat, Module, Mux, Signal
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

from hdl.qk.beat import lane_select, line_beat, query_header, served_slices
from hdl.qk.line_tracker import LineTracker
from hdl.qk.query_window import QueryWindow
from hdl.spec.config import Config
from hdl.spec.payloads import line_shape

__all__ = ["LineControl"]


class LineControl(wiring.Component):
    """Issue the beats of the queries, in order, each as soon as the keys of its line are loaded.

    A beat a cycle, across lines and rows. The first beat of a query is issued 2 cycles after it is taken, or a cycle
    after the sequence numbers of its line's keys lie before ``ready``, or with ``credit``.

    Members
    -------
    query : In(stream.Signature(query_header(config)))
    ready : In(seq_width)   as QKMultiply
    credit : In(1)          the line may be issued
    issue : Out(1)          a beat is issued this cycle
    first : Out             window of the K buffer that the beat reads
    beat : Out(line_beat(config))                its line, valid with ``issue``
    lanes : Out(lane_select(config) of each lane)    combinational; for the operands of the next cycle
    shift_next : Out(1)     the next row's registers take the newest query
    shift_current : Out(1)  the current row's registers take the next row
    row_done : Out(1)       the last beat of a row is issued
    context, low : Out      of the current row
    idle : Out(1)           no query
    wait : Out(1)           a query, but its keys are not loaded
    """

    def __init__(self, config: Config):
        self.config = config
        super().__init__(
            {
                "query": In(stream.Signature(query_header(config))),
                "ready": In(config.seq_width),
                "credit": In(1),
                "issue": Out(1),
                "first": Out(config.slot_width),
                "beat": Out(line_beat(config)),
                "lanes": Out(data.ArrayLayout(lane_select(config), config.lanes)),
                "shift_next": Out(1),
                "shift_current": Out(1),
                "row_done": Out(1),
                "context": Out(config.context_width),
                "low": Out(1),
                "idle": Out(1),
                "wait": Out(1),
            }
        )

    def elaborate(self, platform):
        m = Module()
        m.submodules.window = window = QueryWindow(self.config)
        m.submodules.tracker = tracker = LineTracker(self.config)
        wiring.connect(m, wiring.flipped(self.query), window.query)
        shared = ("arrived", "shift_next", "following", "follows", "shift_current")
        m.d.comb += [getattr(tracker, name).eq(getattr(window, name)) for name in shared]
        m.d.comb += [
            window.leave.eq(self.row_done),
            tracker.ready.eq(self.ready),
            tracker.issue.eq(self.issue),
            tracker.last_beat.eq(self.beat.last),
            self.shift_next.eq(window.shift_next),
            self.shift_current.eq(window.shift_current),
            self.context.eq(window.current.context),
            self.low.eq(window.current.low),
            self.first.eq(tracker.first),
        ]
        self._describe_beat(m, window, tracker)
        self._decide(m, window, tracker)
        self._select_lanes(m, window, tracker)
        return m

    def _describe_beat(self, m: Module, window: QueryWindow, tracker: LineTracker) -> None:
        log_slices = window.current.log_slices
        m.d.comb += [self.beat[name].eq(tracker.line[name]) for name in line_shape(self.config)]
        m.d.comb += [self.beat.log_slices.eq(log_slices), self.beat.first.eq(tracker.beat == 0), self.beat.last.eq(1)]
        with m.Switch(log_slices):
            for served in served_slices(self.config):
                beats = (1 << served) // self.config.lanes
                if beats > 1:
                    with m.Case(served):
                        m.d.comb += self.beat.last.eq(tracker.beat == beats - 1)

    def _decide(self, m: Module, window: QueryWindow, tracker: LineTracker) -> None:
        keys_ready, allowed, ends = Signal(), Signal(), Signal()
        short = self.beat.a_last & ~tracker.pack
        m.d.comb += [
            keys_ready.eq(Mux(short, tracker.length_ready, tracker.end_ready)),
            allowed.eq(window.current_valid & self.credit),
            self.issue.eq(allowed & keys_ready),
            # Not made of `issue`: the shifts hang on it, and they are the longest paths of the array.
            ends.eq(self.beat.a_last & Mux(window.follows, tracker.end_ready, tracker.length_ready)),
            self.row_done.eq(allowed & ends & self.beat.last),
            self.idle.eq(~window.current_valid),
            self.wait.eq(window.current_valid & ~keys_ready),
        ]

    def _select_lanes(self, m: Module, window: QueryWindow, tracker: LineTracker) -> None:
        config, current = self.config, window.current
        lane_bits = (config.lanes - 1).bit_length()
        low_slice = Signal(max(1, lane_bits))  # mask of the lane bits that number the slice
        for served in served_slices(config):
            with m.If(current.log_slices == served):
                m.d.comb += low_slice.eq(min(1 << served, config.lanes) - 1)
        for b in range(config.lanes):
            select = self.lanes[b]
            place = Signal(max(1, lane_bits), name=f"place_{b}")
            m.d.comb += [
                place.eq(b - tracker.first[:lane_bits]),
                # Lanes after a row that ends without a follower are undefined: no need to know whether B is packed.
                select.row_b.eq(((place >> current.log_slices) >= self.beat.a_count) & config.packing),
                select.low.eq(Mux(select.row_b, window.following.low, current.low)),
                select.slice.eq(Cat((b & low_slice)[:lane_bits], tracker.beat)),
            ]
