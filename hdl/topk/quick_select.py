"""Quick-select: the k-th largest score of a row (paper section IV-B, fig. 9)."""

from __future__ import annotations

from amaranth.hdl import Module, Mux
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out

from hdl.spec import select_policy
from hdl.spec.payloads import select_line, selection
from hdl.stream.stream_queue import StreamQueue
from hdl.topk.decision import Decision
from hdl.topk.line_reader import LineReader
from hdl.topk.part_store import PartStore
from hdl.topk.partition import Partition
from hdl.topk.pivot_ranks import PivotRanks
from hdl.topk.pivot_select import PivotSelect
from hdl.topk.select_control import SelectControl

__all__ = ["QuickSelect"]


class QuickSelect(wiring.Component):
    """The k-th largest score of a row with multiplicity, and how many scores equal to it belong to the top k.

    The row is partitioned while it arrives, around two pivots from its first line, into three stores: greater than
    both, between, less than both. Scores equal to a pivot are only counted. The counts tell where the k-th largest is:
    it is a pivot (then the row is done), or in one of the parts, which is partitioned in turn around two pivots from a
    sample of P of its scores, chosen by rank so that the k-th largest probably lies between them. A part of at most P
    scores is done in one pass, with the k-th largest itself as both pivots. After a poor pass (over 3/4 left, as in
    sorted data) the sample is gathered from all over the part. Results equal
    :func:`golden.datapath.integer.kth_largest`; cycles from the first line accepted to the result valid equal
    :func:`golden.datapath.topk.quick_select_cycles` if lines come back to back.

    ``k`` from 1, with the row's first line; k >= n means n. Lines of the next row are taken into an input queue.
    score_width: bits of a signed score, those of Q×K if not given.

    Members
    -------
    i : In(stream.Signature(select_line(config, score_width)))     scores of a row, every line but the last full
    o : Out(stream.Signature(selection(config, score_width)))      threshold, ties (1…)
    """

    WAITING_LINES = 8
    """Lines of the next row that the input queue takes while a row is worked on."""
    SORT_CYCLES = 5
    """Cycles from a row's first line to the one that picks its pivots; in the next one a line can meet them."""

    def __init__(self, config, *, score_width: int | None = None):
        if score_width is None:
            score_width = config.score_width
        if not isinstance(score_width, int) or score_width < 1:
            raise ValueError(f"score_width must be a positive integer, not {score_width!r}")
        self.config = config
        self.score_width = score_width
        self.lanes = config.topk_parallelism
        self.depth = 1 << (-(-config.max_tokens // self.lanes)).bit_length()
        """Lines of each part store: more than a row has, so that a part is read while the next one is written."""
        super().__init__(
            {
                "i": In(stream.Signature(select_line(config, score_width))),
                "o": Out(stream.Signature(selection(config, score_width))),
            }
        )

    def elaborate(self, platform):
        m = Module()
        sizes = {"score_width": self.score_width, "depth": self.depth}
        m.submodules.queue = queue = StreamQueue(select_line(self.config, self.score_width), depth=self.WAITING_LINES)
        m.submodules.control = control = SelectControl(self.config, **sizes)
        m.submodules.reader = reader = LineReader(self.config, **sizes)
        m.submodules.partition = partition = Partition(self.config, score_width=self.score_width)
        m.submodules.decision = decision = Decision(self.config, **sizes)
        m.submodules.greater = greater = PartStore(lanes=self.lanes, **sizes)
        m.submodules.middle = middle = PartStore(lanes=self.lanes, **sizes)
        m.submodules.less = less = PartStore(lanes=self.lanes, **sizes)
        wiring.connect(m, wiring.flipped(self.i), queue.i)
        wiring.connect(m, queue.o, reader.i)
        wiring.connect(m, control.o, wiring.flipped(self.o))
        m.d.comb += [
            control.row_valid.eq(queue.o.valid),
            control.row_k.eq(queue.o.payload.k),
            control.row_count.eq(queue.o.payload.count),
        ]
        self._read(m, control, reader, [greater, middle, less])
        self._pivot(m, control, reader, partition)
        self._store(m, control, reader, partition, [greater, middle, less])
        self._decide(m, control, partition, decision, [greater, middle, less])
        return m

    def _read(self, m: Module, control: SelectControl, reader: LineReader, parts: list[PartStore]) -> None:
        """Lines of the row, or of one of the parts."""
        commands = ("source", "take", "read", "shift", "gather", "jump", "target", "restart", "drop")
        m.d.comb += [getattr(reader, name).eq(getattr(control, name)) for name in commands]
        m.d.comb += [
            reader.first.eq(control.idle),
            reader.size.eq(control.part_size),
            control.line_valid.eq(reader.valid),
            control.line_last.eq(reader.last),
            control.line_count.eq(reader.count),
        ]
        for port, part in zip(reader.parts, parts, strict=True):
            m.d.comb += [part.read_en.eq(control.read), part.read_addr.eq(reader.address), port.eq(part.read_data)]

    def _pivot(self, m: Module, control: SelectControl, reader: LineReader, partition: Partition) -> None:
        """Pivots from the line that is held. While a row of unknown length is loaded they cut the line in thirds."""
        m.submodules.ranks = ranks = PivotRanks(parallelism=self.lanes, count_width=self.config.count_width)
        m.submodules.pivots = pivots = PivotSelect(score_width=self.score_width, parallelism=self.lanes)
        m.d.comb += [
            ranks.rank.eq(control.rank),
            ranks.size.eq(control.size),
            pivots.en.eq(control.start),
            pivots.scores.eq(reader.line),
            pivots.count.eq(reader.count),
            partition.high.eq(pivots.high),
            partition.low.eq(pivots.low),
        ]
        thirds = select_policy.load_ranks(self.lanes)
        for target, third, rank in zip(
            (pivots.high_rank, pivots.low_rank), thirds, (ranks.high, ranks.low), strict=True
        ):
            m.d.comb += target.eq(Mux(control.load, Mux(reader.last, control.first_rank, third), rank))

    def _store(
        self, m: Module, control: SelectControl, reader: LineReader, partition: Partition, parts: list[PartStore]
    ) -> None:
        m.d.comb += [
            partition.start.eq(control.start),
            partition.rank.eq(control.rank),
            partition.excess.eq(control.excess),
            partition.en.eq(control.en),
            partition.line.eq(reader.line),
            partition.count.eq(reader.count),
            partition.last.eq(reader.last),
        ]
        masks = (partition.greater, partition.middle, partition.less)
        for part, mask, kept in zip(parts, masks, partition.kept, strict=True):
            m.d.comb += [
                part.start.eq(control.start),
                part.en.eq(partition.part_en),
                part.last.eq(partition.part_last),
                part.mask.eq(mask),
                part.items.eq(partition.items),
                kept.eq(part.count),
            ]

    def _decide(
        self, m: Module, control: SelectControl, partition: Partition, decision: Decision, parts: list[PartStore]
    ) -> None:
        results = ("found", "threshold", "ties", "part", "part_rank", "part_size", "part_base")
        m.d.comb += [getattr(control, name).eq(getattr(decision, name)) for name in results]
        m.d.comb += [
            decision.rank.eq(control.rank),
            decision.high.eq(partition.high),
            decision.low.eq(partition.low),
            *(port.eq(rest) for port, rest in zip(decision.rests, partition.rests, strict=True)),
            *(port.eq(total) for port, total in zip(decision.stored, partition.stored, strict=True)),
            *(port.eq(part.base) for port, part in zip(decision.bases, parts, strict=True)),
        ]
