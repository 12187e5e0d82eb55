"""Thresholds of the rows whose V rows are pruned: the tap of the score lines and its top-k engines."""

from __future__ import annotations

from amaranth.hdl import Array, Module, Mux, Signal, Value
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out

from hdl.pruning.engine_feeder import EngineFeeder
from hdl.pruning.row_segments import RowSegments
from hdl.spec import payloads
from hdl.spec.config import Config
from hdl.spec.widths import bits_for_count
from hdl.stream.stream_queue import StreamQueue
from hdl.topk.quick_select import QuickSelect

__all__ = ["ThresholdFinder"]


class ThresholdFinder(wiring.Component):
    """Threshold and ties of every pruned row, in row order, from a copy of the score lines (paper section IV-B).

    Pruned rows go to the engines in turn and results are taken in the same turn. Lines are held back only if the next
    engine is busy, or for their rows' parameters.

    Members
    -------
    line : In(stream.Signature(score_line(config)))
    row : In(stream.Signature(prune_row(config)))      every row, pruned or not
    o : Out(stream.Signature(selection(config)))       one per row with ``prune``
    busy : Out(n)                                      engines at work, 0…num_topk_engines
    done : Out(1)                                      pulse per selection
    """

    SELECTIONS = 8  # results that may wait for the row's exponentials
    _ROWS_PER_ENGINE = 7

    def __init__(self, config: Config):
        self.config = config
        super().__init__(
            {
                "line": In(stream.Signature(payloads.score_line(config))),
                "row": In(stream.Signature(payloads.prune_row(config))),
                "o": Out(stream.Signature(payloads.selection(config))),
                "busy": Out(bits_for_count(config.num_topk_engines)),
                "done": Out(1),
            }
        )

    def elaborate(self, platform):
        m = Module()
        config = self.config
        m.submodules.segments = segments = RowSegments(config)
        m.submodules.results = results = StreamQueue(payloads.selection(config), depth=self.SELECTIONS)
        wiring.connect(m, wiring.flipped(self.line), segments.line)
        wiring.connect(m, wiring.flipped(self.row), segments.row)
        wiring.connect(m, results.o, wiring.flipped(self.o))

        feeders, engines = [], []
        for index in range(config.num_topk_engines):
            m.submodules[f"feeder{index}"] = feeder = EngineFeeder(config)
            m.submodules[f"engine{index}"] = engine = QuickSelect(config)
            wiring.connect(m, feeder.o, engine.i)
            feeders.append(feeder)
            engines.append(engine)
        self.feed(m, segments.o, feeders)
        taken = self.collect(m, engines, results.i)
        self.count_busy(m, [feeder.start for feeder in feeders], taken)
        return m

    def turn(self, m: Module, name: str, step: Value):
        """Index of an engine that goes round with ``step``."""
        index = Signal(range(max(2, self.config.num_topk_engines)), name=name)
        with m.If(step):
            m.d.sync += index.eq(Mux(index == self.config.num_topk_engines - 1, 0, index + 1))
        return index

    def feed(self, m: Module, segment, feeders):
        step = Signal()
        index = self.turn(m, "feed_idx", step)
        m.d.comb += [
            segment.ready.eq(Array(feeder.i.ready for feeder in feeders)[index]),
            step.eq(segment.valid & segment.ready & segment.payload.group.last),
        ]
        for number, feeder in enumerate(feeders):
            m.d.comb += [
                feeder.i.payload.eq(segment.payload),
                feeder.i.valid.eq(segment.valid & (index == number)),
            ]

    def collect(self, m: Module, engines, result) -> list[Signal]:
        """Results to ``result`` in turn; returns for each engine that its result is taken."""
        step = Signal()
        index = self.turn(m, "collect_idx", step)
        taken = [Signal(name=f"taken{number}") for number in range(len(engines))]
        m.d.comb += [
            Value.cast(result.payload).eq(Array(Value.cast(engine.o.payload) for engine in engines)[index]),
            result.valid.eq(Array(engine.o.valid for engine in engines)[index]),
            step.eq(result.valid & result.ready),
        ]
        for number, engine in enumerate(engines):
            m.d.comb += [
                engine.o.ready.eq(result.ready & (index == number)),
                taken[number].eq(engine.o.valid & engine.o.ready),
            ]
        m.d.sync += self.done.eq(step)
        return taken

    def count_busy(self, m: Module, starts: list[Value], taken: list[Value]):
        at_work = Signal(len(starts))
        for number, (start, end) in enumerate(zip(starts, taken, strict=True)):
            rows = Signal(range(self._ROWS_PER_ENGINE + 1), name=f"rows{number}")
            m.d.sync += rows.eq(rows + start - end)
            m.d.comb += at_work[number].eq(rows != 0)
        m.d.sync += self.busy.eq(sum(at_work))
