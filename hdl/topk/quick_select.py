"""Quick-select: the k-th largest score of a row (paper section IV-B, fig. 9)."""

from __future__ import annotations

from amaranth.hdl import Cat, Module, Mux, Signal, Value, signed
from amaranth.lib import data, stream, wiring
from amaranth.lib.memory import Memory
from amaranth.lib.wiring import In, Out

from hdl.spec import select_policy
from hdl.spec.payloads import select_line, selection
from hdl.spec.widths import bits_for_count
from hdl.stream.stream_queue import StreamQueue
from hdl.topk.zero_eliminator import prefix_counts

__all__ = ["PartStore", "PivotRanks", "PivotSelect", "QuickSelect"]

_GREATER, _MIDDLE, _LESS = range(3)
_QUEUE = 1 << 3


class PivotRanks(wiring.Component):
    """Ranks, in a sorted sample, of the two pivots around the k-th largest of ``size`` candidates.

    Latency 4, initiation interval 1. Bit-exact with :func:`hdl.spec.select_policy.pivot_ranks`: the expected rank is
    floor((k-1)(P+1)/size), found by a division of log2(P) bits in two stages, and a correction.

    Members
    -------
    rank : In(count_width)    k - 1, so 0…size-1
    size : In(count_width)
    high : Out(n)             rank of the upper pivot, 0 is the largest
    low : Out(n)              rank of the lower pivot
    """

    def __init__(self, *, parallelism: int, count_width: int):
        self.parallelism = parallelism
        self.levels = parallelism.bit_length() - 1
        rank_width = max(1, self.levels)
        super().__init__(
            {
                "rank": In(count_width),
                "size": In(count_width),
                "high": Out(rank_width),
                "low": Out(rank_width),
            }
        )

    def elaborate(self, platform):
        m = Module()
        rest, quotient = self.rank, Value.cast(0)
        for stage, bits in enumerate((self.levels - self.levels // 2, self.levels // 2)):
            for _ in range(bits):
                double = rest << 1
                fits = double >= self.size
                rest = Mux(fits, double - self.size, double)[: len(self.rank)]
                quotient = Cat(fits, quotient)
            held_rest = Signal(len(self.rank), name=f"rest_{stage}", reset_less=True)
            held_quotient = Signal(self.levels + 1, name=f"quotient_{stage}", reset_less=True)
            m.d.sync += [held_rest.eq(rest), held_quotient.eq(quotient)]
            rest, quotient = held_rest, held_quotient[: self.levels]
        position = Signal(range(self.parallelism + 1), reset_less=True)
        m.d.sync += position.eq(held_quotient + (rest + self.rank >= self.size))

        top = self.parallelism - 1
        wide = Signal()
        above, below = Signal(signed(self.levels + 3)), Signal(signed(self.levels + 3))
        m.d.comb += [
            wide.eq(self.size >= select_policy.WIDE_LINES * self.parallelism),
            above.eq(position - 1 - wide),
            below.eq(position + wide),
        ]
        with m.If(self.size <= self.parallelism):
            m.d.sync += [self.high.eq(self.rank), self.low.eq(self.rank)]
        with m.Else():
            m.d.sync += [self.high.eq(Mux(above < 0, 0, above)), self.low.eq(Mux(below > top, top, below))]
        return m


class PivotSelect(wiring.Component):
    """Pick the scores of two ranks from a line: all pairs are compared, the wins counted, the ranks matched.

    ``high`` and ``low`` load when ``en`` is high, two cycles after the line; ranks are needed together with ``en``.
    Equal scores rank in the order of their lanes; lanes from ``count`` on rank last.

    Members
    -------
    en : In(1)
    scores : In(P scores)
    count : In(n)
    high_rank, low_rank : In(n)     0 is the largest
    high, low : Out(score)          held until the next ``en``
    """

    def __init__(self, *, score_width: int, parallelism: int):
        self.parallelism = parallelism
        shape = signed(score_width)
        rank_width = max(1, parallelism.bit_length() - 1)
        super().__init__(
            {
                "en": In(1),
                "scores": In(data.ArrayLayout(shape, parallelism)),
                "count": In(bits_for_count(parallelism)),
                "high_rank": In(rank_width),
                "low_rank": In(rank_width),
                "high": Out(shape),
                "low": Out(shape),
            }
        )

    def elaborate(self, platform):
        m = Module()
        lanes = range(self.parallelism)
        first = {}
        for j in lanes:
            for i in range(j):
                first[i, j] = Signal(name=f"first_{i}_{j}", reset_less=True)
                m.d.sync += first[i, j].eq((self.scores[i] >= self.scores[j]) | (j >= self.count))
        ranks = []
        for lane in lanes:
            ahead = [first[i, lane] for i in range(lane)] + [~first[lane, j] for j in range(lane + 1, len(lanes))]
            rank = Signal(len(self.high_rank), name=f"rank{lane}", reset_less=True)
            m.d.sync += rank.eq(prefix_counts(ahead)[-1])
            ranks.append(rank)
        with m.If(self.en):
            for target, rank in ((self.high, self.high_rank), (self.low, self.low_rank)):
                chosen = 0
                for lane in lanes:
                    chosen = chosen | Mux(ranks[lane] == rank, Value.cast(self.scores[lane]).as_unsigned(), 0)
                m.d.sync += target.eq(chosen)
        return m


class PartStore(wiring.Component):
    """One side of the partition: zero eliminator, line packer and circular line memory in one.

    The kept items of each line move through one butterfly network straight to their lanes behind those that wait (a
    compaction may be combined with a rotation without conflicts, if the lowest bit of the lane is set right first), and
    full lines are written to memory. ``last`` has the rest written as well. A part begins at line ``base``; older lines
    stay readable until they are overwritten, so a part may be read while the next one is written behind it.

    Members
    -------
    start : In(1)           begin a new part; not before the last line of the previous one is written
    en, last : In(1)        a line comes; it is the last of the pass
    mask : In(lanes)        items of it to store
    items : In(lanes)       the items, one cycle behind ``mask``
    count : Out(n)          items stored of the line, one cycle behind ``mask``
    base : Out(n)           first line of the current part
    read_en, read_addr : In
    read_data : Out(lanes)  line of the memory, one cycle behind ``read_en``, held
    """

    def __init__(self, *, score_width: int, lanes: int, depth: int):
        self.lanes = lanes
        self.depth = depth
        self.levels = lanes.bit_length() - 1
        self.stages = select_policy.store_latency(lanes)
        self.line = data.ArrayLayout(signed(score_width), lanes)
        address = max(1, (depth - 1).bit_length())
        super().__init__(
            {
                "start": In(1),
                "en": In(1),
                "last": In(1),
                "mask": In(lanes),
                "items": In(self.line),
                "count": Out(bits_for_count(lanes)),
                "base": Out(address),
                "read_en": In(1),
                "read_addr": In(address),
                "read_data": Out(self.line),
            }
        )

    def elaborate(self, platform):
        m = Module()
        lanes = range(self.lanes)
        before = prefix_counts([self.mask[lane] for lane in lanes])
        valid, last, offset = Signal(), Signal(), Signal(self.levels)
        keep = Signal(self.lanes, reset_less=True)
        targets = [Signal(self.levels, name=f"before{lane}", reset_less=True) for lane in lanes]
        total = Signal(self.levels + 1)
        m.d.sync += [valid.eq(self.en), last.eq(self.en & self.last), keep.eq(self.mask), self.count.eq(before[-1])]
        m.d.sync += [targets[lane].eq(before[lane]) for lane in lanes]
        m.d.comb += total.eq(offset + self.count)
        with m.If(self.start):
            m.d.sync += offset.eq(0)
        with m.Elif(valid):
            m.d.sync += offset.eq(total[: self.levels])

        items = [self.items[lane] for lane in lanes]
        keep = [keep[lane] for lane in lanes]
        targets = [(offset + target)[: self.levels] for target in targets]
        control = (valid & total[self.levels], last, offset)
        per_stage = -(-self.levels // self.stages)
        for stage in range(self.stages):
            for level in range(per_stage * stage, min(per_stage * (stage + 1), self.levels)):
                items, keep, targets = self._exchange(level, items, keep, targets)
            items, keep, targets, control = self._register(m, stage, valid, items, keep, targets, control)
            valid = control[3]
        self._write(m, items, keep, control)
        return m

    def _exchange(self, level: int, items, keep, targets):
        """Butterfly level: an item goes to the lane whose bit ``level`` is that of its target."""
        out = ([], [], [])
        for lane in range(self.lanes):
            other = lane ^ (1 << level)
            wanted = lane >> level & 1
            stays = keep[lane] & (targets[lane][level] == wanted)
            comes = keep[other] & (targets[other][level] == wanted)
            out[0].append(Mux(stays, items[lane], items[other]))
            out[1].append(stays | comes)
            out[2].append(Mux(stays, targets[lane], targets[other]))
        return out

    def _register(self, m: Module, stage: int, valid, items, keep, targets, control):
        held_items = Signal(self.line, name=f"items_{stage}", reset_less=True)
        held_keep = Signal(self.lanes, name=f"keep_{stage}")
        held_targets = [
            Signal(self.levels, name=f"target{lane}_{stage}", reset_less=True) for lane in range(self.lanes)
        ]
        full, last, offset = control[:3]
        held = (
            Signal(name=f"full_{stage}"),
            Signal(name=f"last_{stage}"),
            Signal(self.levels, name=f"offset_{stage}", reset_less=True),
            Signal(name=f"valid_{stage}"),
        )
        m.d.sync += [target.eq(value) for target, value in zip(held_targets, targets, strict=True)]
        m.d.sync += [held_items[lane].eq(items[lane]) for lane in range(self.lanes)]
        m.d.sync += held_keep.eq(Mux(valid, Cat(keep), 0))
        m.d.sync += [held[0].eq(full), held[1].eq(last), held[2].eq(offset), held[3].eq(valid)]
        lanes = range(self.lanes)
        return [held_items[lane] for lane in lanes], [held_keep[lane] for lane in lanes], held_targets, held

    def _write(self, m: Module, items, keep, control):
        """Fill the waiting line; write it when it is full, and what is left a cycle behind the last."""
        full, last, offset, _ = control
        m.submodules.memory = memory = Memory(shape=self.line, depth=self.depth, init=[])
        read = memory.read_port(transparent_for=())
        write = memory.write_port()
        wait = Signal(self.line, reset_less=True)
        flush = Signal()
        address = Signal.like(self.base)
        m.d.comb += [read.en.eq(self.read_en), read.addr.eq(self.read_addr), self.read_data.eq(read.data)]
        m.d.comb += [write.en.eq(full | flush), write.addr.eq(address)]
        m.d.sync += flush.eq(last)
        for lane in range(self.lanes):
            m.d.comb += write.data[lane].eq(Mux(flush | (lane < offset), wait[lane], items[lane]))
            with m.If(keep[lane]):
                m.d.sync += wait[lane].eq(items[lane])
        with m.If(write.en):
            m.d.sync += address.eq(address + 1)
        with m.If(self.start):
            m.d.sync += self.base.eq(address)


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
        self.log_lanes = self.lanes.bit_length() - 1
        lines = -(-config.max_tokens // self.lanes)
        self.depth = 1 << lines.bit_length()
        self.reads = min(select_policy.GATHER_LINES, self.lanes)
        super().__init__(
            {
                "i": In(stream.Signature(select_line(config, score_width))),
                "o": Out(stream.Signature(selection(config, score_width))),
            }
        )

    def elaborate(self, platform):
        m = Module()
        width, count_width = self.score_width, self.config.count_width
        m.submodules.queue = self.queue = StreamQueue(select_line(self.config, width), depth=self.WAITING_LINES)
        m.submodules.ranks = self.ranks = PivotRanks(parallelism=self.lanes, count_width=count_width)
        m.submodules.pivots = self.pivots = PivotSelect(score_width=width, parallelism=self.lanes)
        self.parts = [PartStore(score_width=width, lanes=self.lanes, depth=self.depth) for _ in range(3)]
        for name, part in zip(("greater", "middle", "less"), self.parts, strict=True):
            m.submodules[name] = part
        wiring.connect(m, wiring.flipped(self.i), self.queue.i)
        self._declare()
        self._fetch(m)
        self._compare(m)
        self._control(m)
        return m

    def _declare(self):
        count_width = self.config.count_width
        self.line = Signal(data.ArrayLayout(signed(self.score_width), self.lanes), reset_less=True)
        self.line_count = Signal(bits_for_count(self.lanes), reset_less=True)
        self.line_last = Signal(reset_less=True)
        self.line_valid = Signal()
        self.load = Signal(init=1)  # this pass takes the row from the input, or none is under way
        self.idle, self.running = Signal(init=1), Signal()  # in states IDLE and RUN, known without decoding
        self.enter = Signal(self.lanes)  # these lanes of ``line`` take a score
        self.size = Signal(count_width, reset_less=True)  # candidates of this pass
        self.left = Signal(count_width, reset_less=True)  # of them not yet in ``line``
        self.rank = Signal(count_width, reset_less=True)  # of the k-th largest among them: k - 1
        self.source = Signal(4, init=_QUEUE)  # where they come from, one bit: a part or the queue
        self.deciding = Signal()  # in state DRAIN: the counts are there
        self.poor = Signal(reset_less=True)  # the last pass left more than 3/4
        self.early = Signal(reset_less=True)  # the part has EARLY_LINES
        self.base = Signal(range(self.depth), reset_less=True)
        self.address = Signal(range(self.depth), reset_less=True)
        self.step = Signal(range(max(4, self.reads + 1)))
        self.start = Signal()  # the pivots are there: a pass begins
        self.read = Signal()  # read a line from the part
        self.shift = Signal()  # take the line that was read
        # The rank less the scores > and >= the high pivot, and > and >= the low pivot: negative, if it is among them.
        self.rests = [
            Signal(signed(count_width + 1), name=name, reset_less=True)
            for name in ("above", "from_high", "above_low", "from_low")
        ]
        self.stored = [Signal(count_width, name=f"stored_{part}", reset_less=True) for part in range(3)]  # to each part
        self.limit = Signal(count_width, reset_less=True)  # a part of more than so many is poor
        self.excess = Signal(count_width, reset_less=True)  # of k over the row's length

    def _fetch(self, m: Module):
        """Lines of a stored part, on their way to ``line``."""
        for part in self.parts:
            m.d.comb += [part.read_en.eq(self.read), part.read_addr.eq(self.address)]
        with m.If(self.read):
            m.d.sync += self.address.eq(self.address + 1)
        for lane in range(self.lanes):
            # One short way from the memories to the line, for they answer late.
            ways = [part.read_data[lane] for part in self.parts] + [self.queue.o.p.scores[lane]]
            chosen = [Mux(bit, way.as_unsigned(), 0) for bit, way in zip(self.source, ways, strict=True)]
            with m.If(self.enter[lane]):
                m.d.sync += self.line[lane].eq((chosen[0] | chosen[1]) | (chosen[2] | chosen[3]))
        with m.If(self.shift):
            short = self.left <= self.lanes
            m.d.comb += self.enter.eq(-1)
            m.d.sync += [self.line_valid.eq(1), self.line_last.eq(short)]
            m.d.sync += [self.line_count.eq(Mux(short, self.left, self.lanes)), self.left.eq(self.left - self.lanes)]

    def _compare(self, m: Module):
        """Two comparator arrays, the masks of the three parts, and the counts of the pass."""
        lanes = range(self.lanes)
        en, last = Signal(), Signal(reset_less=True)
        items = [Signal(self.line.shape(), name=f"items_{stage}", reset_less=True) for stage in range(2)]
        above, from_high, between, below, above_low, from_low = (
            Signal(self.lanes, name=name, reset_less=True)
            for name in ("above", "from_high", "between", "below", "above_low", "from_low")
        )
        high, low = self.pivots.high, self.pivots.low
        m.d.sync += [en.eq(self.running & self.line_valid), last.eq(self.line_last)]
        m.d.sync += [items[0].eq(self.line), items[1].eq(items[0])]
        for lane in lanes:
            valid, score = lane < self.line_count, self.line[lane]
            m.d.sync += [
                above[lane].eq(valid & (score > high)),
                from_high[lane].eq(valid & (score >= high)),
                above_low[lane].eq(valid & (score > low)),
                from_low[lane].eq(valid & (score >= low)),
                between[lane].eq(valid & (score < high) & (score > low)),
                below[lane].eq(valid & (score < low)),
            ]
        for part, mask in zip(self.parts, (above, between, below), strict=True):
            m.d.comb += [part.en.eq(en), part.last.eq(last), part.mask.eq(mask), part.items.eq(items[1])]
            m.d.comb += part.start.eq(self.start)
        counted, counts = Signal(), []
        for mask in (above, from_high, above_low, from_low):
            counts.append(Signal(bits_for_count(self.lanes), name=f"{mask.name}_count", reset_less=True))
            m.d.sync += counts[-1].eq(prefix_counts([mask[lane] for lane in lanes])[-1])
        m.d.sync += counted.eq(en)
        with m.If(self.start):
            m.d.sync += [rest.eq(self.rank) for rest in self.rests]
            m.d.sync += [total.eq(0) for total in self.stored]
        with m.Elif(counted):
            m.d.sync += [rest.eq(rest - count - self.excess) for rest, count in zip(self.rests, counts, strict=True)]
            m.d.sync += [total.eq(total + part.count) for total, part in zip(self.stored, self.parts, strict=True)]

    def _control(self, m: Module):
        m.d.comb += [
            self.ranks.rank.eq(self.rank),
            self.ranks.size.eq(self.size),
            self.pivots.scores.eq(self.line),
            self.pivots.count.eq(self.line_count),
        ]
        first_rank = Signal.like(self.pivots.high_rank, name="first_rank", reset_less=True)
        high, low = select_policy.load_ranks(self.lanes)
        with m.If(self.load):
            m.d.comb += self.pivots.high_rank.eq(Mux(self.line_last, first_rank, high))
            m.d.comb += self.pivots.low_rank.eq(Mux(self.line_last, first_rank, low))
        with m.Else():
            m.d.comb += [self.pivots.high_rank.eq(self.ranks.high), self.pivots.low_rank.eq(self.ranks.low)]
        with m.If(self.o.ready):
            m.d.sync += self.o.valid.eq(0)
        # Behind the last line the registers of the line hold anything, but are not valid.
        with m.If(self.idle | (self.running & self.load)):
            self._take(m)
        with m.If(self.running & ~self.load):
            m.d.comb += [self.read.eq(1), self.shift.eq(1)]
        self._decide(m)
        with m.FSM():
            self._idle(m, first_rank)
            self._turn(m)
            self._sort(m)
            self._run(m)
            self._drain(m)

    def _take(self, m: Module):
        """A line from the input queue."""
        payload = self.queue.o.p
        m.d.comb += [self.queue.o.ready.eq(self.idle | ~(self.line_valid & self.line_last)), self.enter.eq(-1)]
        m.d.sync += [self.line_count.eq(payload.count), self.line_last.eq(payload.last)]
        m.d.sync += self.line_valid.eq(self.queue.o.valid)

    def _idle(self, m: Module, first_rank: Signal):
        payload = self.queue.o.p
        with m.State("IDLE"):
            m.d.sync += [self.rank.eq(payload.k - 1), self.size.eq(0), self.poor.eq(0)]
            m.d.sync += [self.step.eq(0), self.excess.eq(0)]
            m.d.sync += first_rank.eq(Mux(payload.k < payload.count, payload.k, payload.count) - 1)
            with m.If(self.queue.o.valid):
                m.d.sync += self.idle.eq(0)
                m.next = "SORT"

    def _turn(self, m: Module):
        """Begin to read the part, when enough of it is written."""
        lines = Signal.like(self.size)
        spread = Signal(len(self.size) + self.reads.bit_length(), reset_less=True)
        log_reads, share = self.reads.bit_length() - 1, self.lanes // self.reads
        m.d.comb += lines.eq(self.size >> self.log_lanes)
        with m.State("TURN"):
            m.d.sync += [self.step.eq(self.step + 1), spread.eq(lines << 1)]
            with m.If((self.early & ~self.poor) | (self.step == select_policy.store_latency(self.lanes))):
                m.d.comb += self.read.eq(1)
                m.d.sync += self.step.eq(0)
                m.next = "FETCH"
                with m.If(self.poor):
                    m.d.sync += self.address.eq(self.base + (lines >> log_reads))
                    m.next = "GATHER"
        with m.State("FETCH"):
            m.d.comb += [self.read.eq(1), self.shift.eq(1)]
            m.next = "SORT"
        with m.State("GATHER"):
            m.d.comb += self.read.eq(1)
            m.d.sync += [self.step.eq(self.step + 1), spread.eq(spread + lines), self.line_count.eq(self.lanes)]
            m.d.sync += [self.line_valid.eq(1), self.address.eq(self.base + (spread >> log_reads))]
            for read in range(self.reads):
                with m.If(self.step == read):
                    m.d.comb += self.enter[read * share : (read + 1) * share].eq(-1)
            with m.If(self.step == self.reads - 1):
                m.d.sync += [self.step.eq(0), self.address.eq(self.base)]
                m.next = "SORT"

    def _sort(self, m: Module):
        """Find the pivots in ``line``; a gathered sample is then replaced by the part's first line."""
        with m.State("SORT"):
            m.d.sync += self.step.eq(self.step + 1)
            m.d.comb += self.read.eq(self.poor & (self.step != 0))
            m.d.comb += self.shift.eq(self.poor & (self.step == 2))
            with m.If(self.step == 2):
                m.d.comb += [self.pivots.en.eq(1), self.start.eq(1)]
                m.d.sync += [self.step.eq(0), self.running.eq(1)]
                m.next = "RUN"

    def _run(self, m: Module):
        with m.State("RUN"):
            with m.If(self.load & self.line_valid):
                m.d.sync += self.size.eq(self.size + self.line_count)
            with m.If(self.line_valid & self.line_last):
                m.d.sync += [self.line_valid.eq(0), self.running.eq(0)]
                m.next = "DRAIN"

    def _drain(self, m: Module):
        """Wait for the counts, then decide."""
        above, from_high, above_low, from_low = (rest < 0 for rest in self.rests)
        finishes = (from_high & ~above) | (from_low & ~above_low)
        with m.State("DRAIN"):
            most = (self.size - (self.size >> 2))[: len(self.size)]
            m.d.sync += [self.step.eq(self.step + 1), self.excess.eq(0)]
            m.d.sync += self.limit.eq(Mux(most < self.lanes, self.lanes, most))
            with m.If((self.step == 0) & (self.rank >= self.size)):
                # k is more than the row has: ``rests`` fall by the excess together with the last line's counts.
                m.d.sync += self.excess.eq(self.rank - self.size + 1)
            with m.If(self.step == 1):
                m.d.sync += [self.rank.eq(self.rank - self.excess), self.deciding.eq(1)]
            with m.If(self.deciding):
                m.d.sync += self.step.eq(0)
                with m.If(~finishes):
                    m.next = "TURN"
                with m.Elif(self.o.valid & ~self.o.ready):
                    m.d.sync += [self.step.eq(self.step), self.deciding.eq(1)]
                with m.Else():
                    m.next = "IDLE"

    def _decide(self, m: Module):
        """The signs of ``rests`` say where the k-th largest is."""
        above, from_high, above_low, from_low = self.rests
        m.d.sync += self.deciding.eq(0)
        with m.If(self.deciding):
            with m.If(above < 0):
                self._descend(m, _GREATER, self.rank)
            with m.Elif(from_high < 0):
                self._finish(m, self.pivots.high, above)
            with m.Elif(above_low < 0):
                self._descend(m, _MIDDLE, from_high)
            with m.Elif(from_low < 0):
                self._finish(m, self.pivots.low, above_low)
            with m.Else():
                self._descend(m, _LESS, from_low)

    def _descend(self, m: Module, part: int, rank: Value):
        """The k-th largest is in a part, of this rank: go on with it."""
        size, base = self.stored[part], self.parts[part].base
        m.d.sync += [self.load.eq(0), self.source.eq(1 << part), self.rank.eq(rank), self.size.eq(size)]
        m.d.sync += self.early.eq((size >> (self.log_lanes + select_policy.EARLY_LINES.bit_length() - 1)).any())
        m.d.sync += [self.left.eq(size), self.poor.eq(size > self.limit), self.base.eq(base), self.address.eq(base)]

    def _finish(self, m: Module, threshold: Value, rest: Value):
        """The k-th largest is a pivot: hand it out, or wait until the last result is taken."""
        with m.If(~self.o.valid | self.o.ready):
            m.d.sync += [self.load.eq(1), self.source.eq(_QUEUE), self.idle.eq(1), self.o.valid.eq(1)]
            m.d.sync += [self.o.p.threshold.eq(threshold), self.o.p.ties.eq(rest + 1)]
