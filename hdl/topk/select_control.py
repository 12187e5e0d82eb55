"""The steps of quick-select: take a row, pick pivots, partition, decide, turn to a part (paper section IV-B)."""

from __future__ import annotations

from amaranth.hdl import Module, Mux, Signal
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

from hdl.spec import select_policy
from hdl.spec.payloads import selection
from hdl.spec.widths import bits_for_count
from hdl.topk.line_reader import QUEUE_SOURCE

__all__ = ["SelectControl"]


def _work(config, depth: int) -> data.StructLayout:
    """The row or part that is worked on."""
    count = config.count_width
    return data.StructLayout(
        {
            "rank": count,  # of the k-th largest among the candidates: k - 1
            "size": count,  # candidates of this pass
            "excess": count,  # of k over the row's length
            "limit": count,  # a part of more than so many is poor
            "poor": 1,  # the last pass left more than 3/4
            "early": 1,  # the part has EARLY_LINES
            "base": range(depth),  # first line of the part
        }
    )


class SelectControl(wiring.Component):
    """Steps through a row's passes, and hands out its result.

    IDLE waits for a row. TURN, FETCH and GATHER read the first line of a part, or a sample of it. In SORT the pivots
    are picked from the line, in RUN a line a cycle is partitioned, and DRAIN waits for the counts and decides. Cycles
    are those of :mod:`hdl.spec.select_policy`. A result waits in a register; the next row may begin meanwhile.

    Members
    -------
    row_valid, row_k, row_count : In     a line at the input, its k, and how many scores it has
    line_valid, line_last, line_count : In    the line held, as LineReader
    found, threshold, ties, part, part_rank, part_size, part_base : In    as Decision
    o : Out(stream.Signature(selection))
    source, take, idle, read, shift, gather, jump, target, restart, drop : Out    as LineReader (``idle``: ``first``)
    start : Out(1)          a pass begins: the pivots load
    en : Out(1)             the line is one of the pass
    load : Out(1)           the pass takes the row from the input, or none is under way
    first_rank : Out(n)     rank of the k-th largest if the row has one line
    rank, size, excess : Out(count_width)    of the pass
    """

    def __init__(self, config, *, score_width: int, depth: int):
        self.config, self.depth = config, depth
        self.lanes = config.topk_parallelism
        self.log_lanes = self.lanes.bit_length() - 1
        self.reads = min(select_policy.GATHER_LINES, self.lanes)
        """Lines from which a sample is gathered."""
        count, lane_count, address = config.count_width, bits_for_count(self.lanes), range(depth)
        selected = selection(config, score_width)
        inputs = {"row_valid": 1, "row_k": count, "row_count": lane_count}
        inputs |= {"line_valid": 1, "line_last": 1, "line_count": lane_count}
        inputs |= {"found": 1, "threshold": selected["threshold"].shape, "ties": count}
        inputs |= {"part": 3, "part_rank": count, "part_size": count, "part_base": address}
        outputs = {"take": 1, "read": 1, "shift": 1, "gather": self.lanes, "jump": 1, "target": address}
        outputs |= {"restart": 1, "drop": 1, "start": 1, "en": 1, "first_rank": max(1, self.log_lanes)}
        outputs |= {"rank": count, "size": count, "excess": count}
        super().__init__(
            {
                **{name: In(shape) for name, shape in inputs.items()},
                **{name: Out(shape) for name, shape in outputs.items()},
                "source": Out(4, init=QUEUE_SOURCE),
                "idle": Out(1, init=1),
                "load": Out(1, init=1),
                "o": Out(stream.Signature(selected)),
            }
        )

    def elaborate(self, platform):
        m = Module()
        work = Signal(_work(self.config, self.depth), reset_less=True)
        running = Signal()  # in state RUN, as ``idle`` is in state IDLE, known without decoding
        step = Signal(range(max(4, self.reads + 1)))
        deciding = Signal()  # in state DRAIN: the counts are there
        m.d.comb += [
            self.take.eq(self.idle | (running & self.load)),
            self.en.eq(running & self.line_valid),
            *(getattr(self, name).eq(work[name]) for name in ("rank", "size", "excess")),
        ]
        with m.If(self.o.ready):
            m.d.sync += self.o.valid.eq(0)
        with m.If(running & ~self.load):
            m.d.comb += [self.read.eq(1), self.shift.eq(1)]
        self._decide(m, work, deciding)
        with m.FSM():
            self._idle(m, work, step)
            self._turn(m, work, step)
            self._gather(m, work, step)
            self._sort(m, work, step, running)
            self._run(m, work, running)
            self._drain(m, work, step, deciding)
        return m

    def _idle(self, m: Module, work: data.View, step: Signal) -> None:
        first_rank = Signal(self.first_rank.shape(), name="rank_of_first", reset_less=True)
        m.d.comb += self.first_rank.eq(first_rank)
        with m.State("IDLE"):
            m.d.sync += [work.rank.eq(self.row_k - 1), work.size.eq(0), work.poor.eq(0)]
            m.d.sync += [step.eq(0), work.excess.eq(0)]
            m.d.sync += first_rank.eq(Mux(self.row_k < self.row_count, self.row_k, self.row_count) - 1)
            with m.If(self.row_valid):
                m.d.sync += self.idle.eq(0)
                m.next = "SORT"

    def _turn(self, m: Module, work: data.View, step: Signal) -> None:
        """Begin to read the part, when enough of it is written."""
        lines = work.size >> self.log_lanes
        with m.State("TURN"):
            m.d.sync += step.eq(step + 1)
            with m.If((work.early & ~work.poor) | (step == select_policy.store_latency(self.lanes))):
                m.d.comb += self.read.eq(1)
                m.d.sync += step.eq(0)
                m.next = "FETCH"
                with m.If(work.poor):
                    m.d.comb += [self.jump.eq(1), self.target.eq(work.base + (lines >> self._log_reads))]
                    m.next = "GATHER"
        with m.State("FETCH"):
            m.d.comb += [self.read.eq(1), self.shift.eq(1)]
            m.next = "SORT"

    @property
    def _log_reads(self) -> int:
        return self.reads.bit_length() - 1

    def _gather(self, m: Module, work: data.View, step: Signal) -> None:
        """Read lines spread over the part; each gives a share of the sample. Then the part is read from its base."""
        lines, share = Signal.like(work.size), self.lanes // self.reads
        spread = Signal(len(work.size) + self.reads.bit_length(), reset_less=True)
        m.d.comb += lines.eq(work.size >> self.log_lanes)
        m.d.sync += spread.eq(lines << 1)
        with m.State("GATHER"):
            m.d.sync += [step.eq(step + 1), spread.eq(spread + lines)]
            m.d.comb += [self.read.eq(1), self.jump.eq(1), self.target.eq(work.base + (spread >> self._log_reads))]
            for read in range(self.reads):
                with m.If(step == read):
                    m.d.comb += self.gather[read * share : (read + 1) * share].eq(-1)
            with m.If(step == self.reads - 1):
                m.d.sync += step.eq(0)
                m.d.comb += self.target.eq(work.base)
                m.next = "SORT"

    def _sort(self, m: Module, work: data.View, step: Signal, running: Signal) -> None:
        """Find the pivots in the line; a gathered sample is then replaced by the part's first line."""
        with m.State("SORT"):
            m.d.sync += step.eq(step + 1)
            m.d.comb += self.read.eq(work.poor & (step != 0))
            m.d.comb += self.shift.eq(work.poor & (step == 2))
            with m.If(step == 2):
                m.d.comb += self.start.eq(1)
                m.d.sync += [step.eq(0), running.eq(1)]
                m.next = "RUN"

    def _run(self, m: Module, work: data.View, running: Signal) -> None:
        with m.State("RUN"):
            with m.If(self.load & self.line_valid):
                m.d.sync += work.size.eq(work.size + self.line_count)
            with m.If(self.line_valid & self.line_last):
                m.d.comb += self.drop.eq(1)
                m.d.sync += running.eq(0)
                m.next = "DRAIN"

    def _drain(self, m: Module, work: data.View, step: Signal, deciding: Signal) -> None:
        """Wait for the counts, then decide."""
        with m.State("DRAIN"):
            most = (work.size - (work.size >> 2))[: len(work.size)]
            m.d.sync += [step.eq(step + 1), work.excess.eq(0)]
            m.d.sync += work.limit.eq(Mux(most < self.lanes, self.lanes, most))
            with m.If((step == 0) & (work.rank >= work.size)):
                # k is more than the row has: the rests fall by the excess together with the last line's counts.
                m.d.sync += work.excess.eq(work.rank - work.size + 1)
            with m.If(step == 1):
                m.d.sync += [work.rank.eq(work.rank - work.excess), deciding.eq(1)]
            with m.If(deciding):
                m.d.sync += step.eq(0)
                with m.If(~self.found):
                    m.next = "TURN"
                with m.Elif(self.o.valid & ~self.o.ready):
                    m.d.sync += [step.eq(step), deciding.eq(1)]
                with m.Else():
                    m.next = "IDLE"

    def _decide(self, m: Module, work: data.View, deciding: Signal) -> None:
        """Hand out a result, unless the last one is not taken, or go on with a part."""
        size = self.part_size
        m.d.sync += deciding.eq(0)
        with m.If(deciding & self.found):
            with m.If(~self.o.valid | self.o.ready):
                m.d.sync += [self.load.eq(1), self.source.eq(QUEUE_SOURCE), self.idle.eq(1), self.o.valid.eq(1)]
                m.d.sync += [self.o.p.threshold.eq(self.threshold), self.o.p.ties.eq(self.ties)]
        with m.Elif(deciding):
            m.d.comb += [self.restart.eq(1), self.jump.eq(1), self.target.eq(self.part_base)]
            m.d.sync += [self.load.eq(0), self.source.eq(self.part), work.rank.eq(self.part_rank), work.size.eq(size)]
            m.d.sync += work.early.eq((size >> (self.log_lanes + select_policy.EARLY_LINES.bit_length() - 1)).any())
            m.d.sync += [work.poor.eq(size > work.limit), work.base.eq(self.part_base)]
