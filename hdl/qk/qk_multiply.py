"""Q×K: scores of one query against the keys of its head, a line of keys a cycle (paper section IV-D)."""

from __future__ import annotations

from amaranth.hdl import Cat, Const, Module, Mux, Signal, Value, signed
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

from hdl.fetch.kv_buffer import KVBuffer
from hdl.qk.adder_tree import AdderTree, adder_tree_latency
from hdl.spec.config import Config
from hdl.spec.numerics import LSB_BITS
from hdl.spec.payloads import BufferRead, line_shape, query_row, score_line, started_row
from hdl.spec.widths import lane_count
from hdl.stream.stream_queue import StreamQueue

__all__ = ["QKMultiply"]


def _beat(config: Config) -> data.StructLayout:
    """What travels beside the products of one beat."""
    return data.StructLayout(
        {
            **line_shape(config),
            "log_slices": 3,
            "first": 1,  # first beat of its line
            "last": 1,  # last beat of its line
        }
    )


def _lane_select(config: Config) -> data.StructLayout:
    """How one lane picks its operands, one cycle after the beat is issued."""
    return data.StructLayout(
        {
            "row_b": 1,  # multiply with the next query
            "low": 1,  # use the lower bits of the K words
            "slice": max(1, (config.max_slices - 1).bit_length()),  # slice of the query
        }
    )


def _header(config: Config) -> data.StructLayout:
    """A query without its elements."""
    return data.StructLayout({
        name: field.shape for name, field in query_row(config) if name not in ("tag", "elements")
    } | {"context": config.context_width})  # fmt: skip


def _served(config: Config) -> list[int]:
    """The log_slices of the served dimensions."""
    return sorted({config.log_slices(dim) for dim in config.dims})


class _LineControl(wiring.Component):
    """Issue the beats of the queries: which slots are read, and which row each lane works for.

    Holds the headers of the current row, the next row, and one more (so that ``ready`` comes from a register).

    Members
    -------
    query : In(stream)      header of a query
    ready : In              as QKMultiply
    credit : In(1)          the line may be issued
    issue : Out(1)          a beat is issued this cycle
    first : Out             window of the K buffer that the beat reads
    beat : Out(_beat)       its line, valid with ``issue``
    lanes : Out(_lane_select[lanes])    combinational; for the operands of the next cycle
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
                "query": In(stream.Signature(_header(config))),
                "ready": In(config.seq_width),
                "credit": In(1),
                "issue": Out(1),
                "first": Out(config.slot_width),
                "beat": Out(_beat(config)),
                "lanes": Out(data.ArrayLayout(_lane_select(config), config.lanes)),
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
        config = self.config
        self._current = Signal(_header(config), reset_less=True)
        self._next = Signal(_header(config), reset_less=True)
        self._current_valid = Signal()
        self._next_valid = Signal()
        self._follows = Signal()  # the next row may share a line with the current one
        # The current line, worked out one line ahead: the decision to issue begins at flip-flops.
        over = signed(config.count_width + 1)
        self._start = Signal(config.count_width, reset_less=True)
        self._scores = Signal(lane_count(config), reset_less=True)  # S
        self._over = Signal(
            over, reset_less=True
        )  # lanes of the line behind the row's last key; negative: keys to come
        self._last = Signal(reset_less=True)  # the row ends in this line
        self._end_ready = Signal(reset_less=True)  # the keys before position start + S are loaded
        self._length_ready = Signal(reset_less=True)  # those of the whole row are
        seq = config.seq_width  # sequence numbers of …
        self._end_seq = Signal(seq, reset_less=True)  # … position start + S, unless end_ready
        self._later_seq = Signal(seq, reset_less=True)  # … position start + 2S
        self._length_seq = Signal(seq, reset_less=True)  # … the position behind the row's last
        # What they are for the next row if its first line begins with key 0.
        self._next_scores = Signal.like(self._scores, reset_less=True)
        self._next_over = Signal(over, reset_less=True)
        self._next_end_seq = Signal(seq, reset_less=True)
        self._next_later_seq = Signal(seq, reset_less=True)
        self._next_length_seq = Signal(seq, reset_less=True)
        self._first = Signal(config.slot_width, reset_less=True)
        self._beat = Signal(range(max(2, config.max_beats)), reset_less=True)
        self._pack = Signal()  # the line also holds the first keys of the next row
        self._describe_line(m)
        self._decide(m)
        self._take_queries(m)
        self._advance(m)
        self._select_lanes(m)
        return m

    def _describe_line(self, m: Module) -> None:
        current, line = self._current, self.beat
        over = self._over[: len(line.b_count)]  # if the row ends
        m.d.comb += [
            self._pack.eq(self._last & self._follows),
            line.start.eq(self._start),
            line.a_last.eq(self._last),
            line.a_count.eq(self._scores - Mux(self._last, over, 0)),
            line.b_count.eq(Mux(self._pack, over, 0)),
            line.log_slices.eq(current.log_slices),
            line.first.eq(self._beat == 0),
            line.last.eq(1),
        ]
        with m.Switch(current.log_slices):
            for log_slices in _served(self.config):
                beats = (1 << log_slices) // self.config.lanes
                if beats > 1:
                    with m.Case(log_slices):
                        m.d.comb += line.last.eq(self._beat == beats - 1)

    def _decide(self, m: Module) -> None:
        keys_ready, allowed, ends = Signal(), Signal(), Signal()
        short = self._last & ~self._pack
        m.d.comb += [
            keys_ready.eq(Mux(short, self._length_ready, self._end_ready)),
            allowed.eq(self._current_valid & self.credit),
            self.issue.eq(allowed & keys_ready),
            # Not made of `issue`: the shifts hang on it, and they are the longest paths of the array.
            ends.eq(self._last & Mux(self._follows, self._end_ready, self._length_ready)),
            self.row_done.eq(allowed & ends & self.beat.last),
            self.context.eq(self._current.context),
            self.low.eq(self._current.low),
            self.idle.eq(~self._current_valid),
            self.wait.eq(self._current_valid & ~keys_ready),
            self.first.eq(self._first),
        ]

    def _take_queries(self, m: Module) -> None:
        newest, arrived = Signal(_header(self.config), reset_less=True), Signal(_header(self.config))
        newest_valid = Signal()
        arrived_valid = newest_valid | self.query.valid
        fits, newest_fits = Signal(), Signal(reset_less=True)  # the query that comes, or waits, packs with the next row
        m.d.comb += [
            self.query.ready.eq(~newest_valid),
            self.shift_current.eq(~self._current_valid | self.row_done),
            self.shift_next.eq(~self._next_valid | self.shift_current),
            arrived.eq(Mux(newest_valid, Value.cast(newest), Value.cast(self.query.payload))),
        ]
        m.d.comb += fits.eq(self._packs(self._next, self.query.payload))
        with m.If(~newest_valid):
            m.d.sync += [newest.eq(self.query.payload), newest_fits.eq(fits)]
        with m.If(self.shift_next):
            self._take_next(m, arrived)
            m.d.sync += [self._next_valid.eq(arrived_valid), newest_valid.eq(0)]
        with m.Elif(self.query.valid):
            m.d.sync += newest_valid.eq(1)
        with m.If(self.shift_current):
            m.d.sync += [self._current.eq(self._next), self._current_valid.eq(self._next_valid)]
            # The row in `next` does not change while one waits behind it.
            m.d.sync += self._follows.eq(self._next_valid & Mux(newest_valid, newest_fits, self.query.valid & fits))
        with m.Else():
            m.d.sync += self._follows.eq(self._next_valid & self._packs(self._current, self._next))

    def _take_next(self, m: Module, row: data.View) -> None:
        scores = self._scores_per_line(row.log_slices)
        m.d.sync += [
            self._next.eq(row),
            self._next_scores.eq(scores),
            self._next_over.eq(scores - row.length),
            self._next_end_seq.eq(row.seq + scores),
            self._next_later_seq.eq(row.seq + (scores << 1)),
            self._next_length_seq.eq(row.seq + row.length),
        ]

    def _packs(self, row: data.View, follower: data.View) -> Value:
        """The line in which a row ends may hold the first keys of the follower."""
        if not self.config.packing:
            return Const(0)
        return row.pack & follower.pack & (row.context == follower.context) & (row.length == follower.length)

    def _loaded(self, seq: Value) -> Value:
        """Whether all keys before a sequence number are loaded: once true it stays so."""
        return (self.ready - seq)[: self.config.seq_width].as_signed() >= 0

    def _advance(self, m: Module) -> None:
        follower, start = self._next, self.beat.b_count
        first_over, later_over = Signal.like(self._over), Signal.like(self._over)
        m.d.comb += [first_over.eq(self._next_over + start), later_over.eq(self._over + self._scores)]
        m.d.sync += [
            self._end_ready.eq(self._end_ready | self._loaded(self._end_seq)),
            self._length_ready.eq(self._length_ready | self._loaded(self._length_seq)),
        ]
        with m.If(self.shift_current):
            m.d.sync += [
                self._start.eq(start),
                self._scores.eq(self._next_scores),
                self._over.eq(first_over),
                self._last.eq(first_over >= 0),
                # A row that began in the last line has the keys of the row before, and at least S of them.
                self._end_ready.eq(self._pack | self._loaded(self._next_end_seq)),
                self._length_ready.eq(self._pack | self._loaded(self._next_length_seq)),
                self._end_seq.eq(self._next_end_seq),
                self._later_seq.eq(self._next_later_seq + start),
                self._length_seq.eq(self._next_length_seq),
                # The region begins at a multiple of lanes, and the line's first slot in it is below lanes.
                self._first.eq(follower.slot | (start << follower.log_slices)),
                self._beat.eq(0),
            ]
        with m.Elif(self.issue):
            # The slots of a line are `lanes` for every number of slices, and so are those of a beat.
            m.d.sync += [self._first.eq(self._first + self.config.lanes), self._beat.eq(self._beat + 1)]
            with m.If(self.beat.last):
                m.d.sync += [
                    self._start.eq(self._start + self._scores),
                    self._over.eq(later_over),
                    self._last.eq(later_over >= 0),
                    self._end_ready.eq(self._loaded(self._later_seq)),
                    self._end_seq.eq(self._later_seq),
                    self._later_seq.eq(self._later_seq + self._scores),
                    self._beat.eq(0),
                ]

    def _scores_per_line(self, log_slices: Value) -> Value:
        value: Value = Const(1)
        for served in _served(self.config):
            value = Mux(log_slices == served, max(1, self.config.lanes >> served), value)
        return value

    def _select_lanes(self, m: Module) -> None:
        config, current = self.config, self._current
        lane_bits = (config.lanes - 1).bit_length()
        low_slice = Signal(max(1, lane_bits))  # mask of the lane bits that number the slice
        for served in _served(config):
            with m.If(current.log_slices == served):
                m.d.comb += low_slice.eq(min(1 << served, config.lanes) - 1)
        for b in range(config.lanes):
            select = self.lanes[b]
            window = Signal(max(1, lane_bits), name=f"window_{b}")
            m.d.comb += [
                window.eq(b - self._first[:lane_bits]),
                # Lanes behind a row that ends without a follower are undefined: no need to know whether B is packed.
                select.row_b.eq(((window >> current.log_slices) >= self.beat.a_count) & config.packing),
                select.low.eq(Mux(select.row_b, self._next.low, current.low)),
                select.slice.eq(Cat((b & low_slice)[:lane_bits], self._beat)),
            ]


class _MultiplierArray(wiring.Component):
    """The registers of the query elements and the multipliers.

    The element registers follow the header registers of :class:`_LineControl` one cycle later, so that the controls
    come from registers. Each multiplier has registers of its own for both operands and the product, as the hard
    multipliers of FPGAs do; a register in front of them takes the way from the buffer.

    Members
    -------
    elements : In           elements of the query that is taken
    take : In(1)            it is taken
    shift_next, shift_current, lanes : In    from _LineControl
    key : In                read data of the K buffer, ``KVBuffer.READ_LATENCY`` cycles behind ``lanes``
    products : Out          products[lane][element]
    """

    LATENCY = KVBuffer.READ_LATENCY + 3

    def __init__(self, config: Config, product_layout: data.Layout):
        self.config = config
        super().__init__(
            {
                "elements": In(query_row(config)["elements"].shape),
                "take": In(1),
                "shift_next": In(1),
                "shift_current": In(1),
                "lanes": In(data.ArrayLayout(_lane_select(config), config.lanes)),
                "key": In(BufferRead(config).members["data"].shape),
                "products": Out(product_layout),
            }
        )

    def elaborate(self, platform):
        m = Module()
        config = self.config
        # A lane may be wider than the longest row: its surplus multipliers get 0.
        bits = max(config.max_dim, config.lane_width) * config.operand_width
        newest, follower, current = (Signal(bits, name=n, reset_less=True) for n in ("newest", "follower", "current"))
        shift_next = Signal()
        shift_current = Signal()
        select = Signal(self.lanes.shape(), reset_less=True)
        m.d.sync += [
            shift_next.eq(self.shift_next),
            shift_current.eq(self.shift_current),
            select.eq(self.lanes),
        ]
        # No query is taken while one waits in `newest`: it needs no second register (see _LineControl.query.ready).
        with m.If(self.take):
            m.d.sync += newest.eq(self.elements)
        with m.If(shift_next):
            m.d.sync += follower.eq(newest)
        with m.If(shift_current):
            m.d.sync += current.eq(follower)
        for b in range(config.lanes):
            self._lane(m, b, select[b], current, follower)
        return m

    def _slices(self, lane: int) -> list[int]:
        """Slices of the query that a lane ever needs."""
        lanes = self.config.lanes
        numbers = set()
        for log_slices in _served(self.config):
            slices = 1 << log_slices
            numbers |= {lane % slices} if slices <= lanes else set(range(lane, slices, lanes))
        return sorted(numbers)

    def _lane(self, m: Module, b: int, select: data.View, current: Value, follower: Value) -> None:
        config = self.config
        width = config.operand_width
        bits = config.lane_width * width
        picked = Signal(bits, name=f"picked_{b}")
        queries = [Signal(bits, name=f"query_{b}_{k}", reset_less=True) for k in range(1 + KVBuffer.READ_LATENCY)]
        lows = [Signal(name=f"low_{b}_{k}", reset_less=True) for k in range(KVBuffer.READ_LATENCY)]
        keys = [Signal(bits, name=f"key_{b}_{k}", reset_less=True) for k in range(2)]
        slices = self._slices(b)
        m.d.comb += picked.eq(Mux(select.row_b, follower, current)[slices[0] * bits : (slices[0] + 1) * bits])
        for number in slices[1:]:
            part = slice(number * bits, (number + 1) * bits)
            with m.If(select.slice == number):
                m.d.comb += picked.eq(Mux(select.row_b, follower[part], current[part]))
        low = Cat(lows[-1].replicate(LSB_BITS), Const(-1, width - LSB_BITS))
        m.d.sync += [
            *(target.eq(source) for target, source in zip(queries, [picked, *queries[:-1]], strict=True)),
            *(target.eq(source) for target, source in zip(lows, [select.low, *lows[:-1]], strict=True)),
            keys[0].eq(Value.cast(self.key[b])),
            keys[1].eq(keys[0] & low.replicate(config.lane_width)),
        ]
        for e in range(config.lane_width):
            product = Signal(self.products[b][e].shape(), name=f"product_{b}_{e}", reset_less=True)
            part = slice(e * width, (e + 1) * width)
            m.d.sync += product.eq(queries[-1][part].as_signed() * keys[-1][part].as_signed())
            m.d.comb += self.products[b][e].eq(product)


class QKMultiply(wiring.Component):
    """Scores of each query against its keys: ``score = Q·K``, one beat of ``lanes`` slices a cycle.

    A query of ``length`` keys gives ``ceil(length / S)`` lines, ``S = scores_per_line``, of ``beats(dim)`` beats each.
    Where the query and the one behind it have ``pack`` and agree in context and length, and the next one has
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

    @property
    def _pipeline(self) -> int:
        """Cycles from the issue of a beat to the input of the output queue."""
        accumulate = self.config.max_beats > 1
        return _MultiplierArray.LATENCY + adder_tree_latency(self.config) + 1 + accumulate

    @property
    def latency(self) -> int:
        """Cycles from the issue of the last beat of a line to the line."""
        return self._pipeline + 2

    @property
    def places(self) -> int:
        """Places of the output queue, for lines under way and lines that wait: enough for a beat in every cycle."""
        return max(16, self.latency + 3)

    def elaborate(self, platform):
        m = Module()
        m.submodules.control = control = _LineControl(self.config)
        m.submodules.tree = tree = AdderTree(self.config)
        product_layout = tree.i.payload.shape()["products"].shape
        m.submodules.array = array = _MultiplierArray(self.config, product_layout)
        m.submodules.rows = rows = StreamQueue(self.row.payload.shape(), depth=self.places + 4)
        m.submodules.lines = lines = StreamQueue(self.line.payload.shape(), depth=self.places)
        self._connect_query(m, control, array, rows)
        m.d.comb += [
            control.ready.eq(self.ready),
            self.read.en.eq(control.issue),
            self.read.first.eq(control.first),
            array.shift_next.eq(control.shift_next),
            array.shift_current.eq(control.shift_current),
            array.lanes.eq(control.lanes),
            array.key.eq(self.read.data),
        ]
        self._connect_credit(m, control)
        beat, valid = self._delay(m, "array", control.beat, control.issue, array.LATENCY)
        m.d.comb += [
            tree.i.payload.products.eq(array.products),
            tree.i.payload.log_slices.eq(beat.log_slices),
            tree.i.valid.eq(valid),
            tree.o.ready.eq(1),
        ]
        beat, _ = self._delay(m, "tree", beat, valid, tree.latency)
        beat, valid, scores = self._align(m, beat, tree.o.valid, tree.o.payload.sums)
        if self.config.max_beats > 1:
            beat, valid, scores = self._accumulate(m, beat, valid, scores)
        m.d.comb += [
            lines.i.valid.eq(valid & beat.last),
            *(lines.i.payload[name].eq(beat[name]) for name in line_shape(self.config)),
            *(lines.i.payload.scores[b].eq(score) for b, score in enumerate(scores)),
        ]
        wiring.connect(m, lines.o, wiring.flipped(self.line))
        wiring.connect(m, rows.o, wiring.flipped(self.row))
        self._count(m, control, rows)
        return m

    def _connect_query(self, m: Module, control: _LineControl, array: _MultiplierArray, rows: StreamQueue) -> None:
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

    def _connect_credit(self, m: Module, control: _LineControl) -> None:
        """Free places of the output queue, less the lines on their way to it."""
        credits, some = Signal(range(self.places), init=self.places - 1), Signal(init=1)
        spent = Signal()
        returned = Signal()
        m.d.comb += [
            spent.eq(control.issue & control.beat.last),
            returned.eq(self.line.valid & self.line.ready),
            control.credit.eq(some),
        ]
        m.d.sync += some.eq(returned | (some & ~(spent & (credits == 1))))
        with m.If(spent ^ returned):
            m.d.sync += credits.eq(credits + Mux(returned, 1, -1))

    def _delay(self, m: Module, name: str, beat: data.View, valid: Value, cycles: int) -> tuple[data.View, Value]:
        for cycle in range(cycles):
            beat_next = Signal(_beat(self.config), name=f"{name}_beat_{cycle}", reset_less=True)
            valid_next = Signal(name=f"{name}_valid_{cycle}")
            m.d.sync += [beat_next.eq(beat), valid_next.eq(valid)]
            beat, valid = beat_next, valid_next
        return beat, valid

    def _scores(self, name: str) -> list[Signal]:
        shape = self.line.payload.scores[0].shape()
        return [Signal(shape, name=f"{name}_{b}", reset_less=True) for b in range(self.config.lanes)]

    def _align(
        self, m: Module, beat: data.View, valid: Value, sums: data.View
    ) -> tuple[data.View, Value, list[Signal]]:
        """Rotate so that lane 0 is the key at ``start``: the sums repeat behind the S-th, so S does not matter."""
        aligned = self._scores("aligned")
        rotated = [sums[b] for b in range(self.config.lanes)]
        for bit in range((self.config.lanes - 1).bit_length()):
            step = 1 << bit
            rotated = [
                Mux(beat.start[bit], rotated[(b + step) % self.config.lanes], rotated[b])
                for b in range(self.config.lanes)
            ]
        m.d.sync += [score.eq(value) for score, value in zip(aligned, rotated, strict=True)]
        return *self._delay(m, "aligned", beat, valid, 1), aligned

    def _accumulate(
        self, m: Module, beat: data.View, valid: Value, scores: list[Signal]
    ) -> tuple[data.View, Value, list[Signal]]:
        """Add the beats of a line of one score."""
        total = self._scores("total")
        m.d.sync += [register.eq(score) for register, score in zip(total[1:], scores[1:], strict=True)]
        with m.If(valid):
            m.d.sync += total[0].eq(scores[0] + Mux(beat.first, 0, total[0]))
        return *self._delay(m, "total", beat, valid, 1), total

    def _count(self, m: Module, control: _LineControl, rows: StreamQueue) -> None:
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
