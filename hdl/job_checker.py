"""Checks a job before anything is computed for it, and takes in its list of key ids."""

from __future__ import annotations

from amaranth.hdl import Cat, Const, Module, Mux, Signal
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

from hdl import layouts
from hdl.config import LSB_BITS, Config

__all__ = ["JobChecker"]

_PLANES = (("key", "query"), ("key_lsb", "value"))
"""Planes that each of the two units checks, one after the other; ``query`` comes second, for its rows are a product."""
_PAIR_FIELDS = ("dim", "num_keys", "num_rows", "key_bits", "key_lsb_bits", "skew", "key_base", "list")
"""Fields in which the jobs of a pair are equal (but that the first may bring the list)."""


class JobChecker(wiring.Component):
    """Takes jobs one by one; each leaves either as a record or as a refusal with a code of ``layouts.STATUS``.

    Ids of a job with ``list`` = 1 are written to the id list that is not current, when no job in flight uses it; the
    list becomes current only if the job is accepted, so a refused job leaves no trace. Ids of a job that is refused
    already are only read. Between the first and the second job of a pair every other request is refused. 7 cycles a
    job; 2 more, and one for each ``lanes`` ids, for a new list.

    Members
    -------
    job : In(stream.Signature(job_request))
    ids : In(stream.Signature(job_id_entry))     read only for jobs with list = 1, up to ``last``
    window_base : In(address_width)              first word that may be read, in every channel
    window_limit : In(address_width + 1)         first word behind the window
    list_free : In(2)                            this id list may be written
    void : In(1)                                 pulse: there is no current list any more
    selected : In(1), survivors : In(count_width), last_id : In(16)
                                                 pulse: the other list has been written by the cascade selection, and is
                                                 current; never while a request is inside
    current : Out(1)                             the current list
    accepted : Out(stream.Signature(job_record))
    refused : Out(stream.Signature(job_status))  of the host's jobs
    answer : Out(stream.Signature(job_status, always_ready=True))
                                                 layer walker: list_only requests (code 0: taken), and refused jobs
    id_write : Out(stream.Signature(id_write))   to the fetcher
    """

    def __init__(self, config: Config):
        self.config = config
        super().__init__(
            {
                "job": In(stream.Signature(layouts.job_request(config))),
                "ids": In(stream.Signature(layouts.job_id_entry(config))),
                "window_base": In(config.address_width),
                "window_limit": In(config.address_width + 1),
                "list_free": In(2),
                "void": In(1),
                "selected": In(1),
                "survivors": In(config.count_width),
                "last_id": In(16),
                "current": Out(1),
                "accepted": Out(stream.Signature(layouts.job_record(config))),
                "refused": Out(stream.Signature(layouts.job_status(config))),
                "answer": Out(stream.Signature(layouts.job_status(config), always_ready=True)),
                "id_write": Out(stream.Signature(layouts.id_write(config))),
            }
        )

    def elaborate(self, platform):
        m = Module()
        self._request = Signal(layouts.job_request(self.config), reset_less=True)
        self._job = self._request.job
        self._code = Signal(4)
        self._rows = Signal(21, reset_less=True)  # of all query heads
        self._log_slices = Signal(3, reset_less=True)
        # ``current`` is the id list of the last accepted job that brought one, or of the last selection.
        self._current_count = Signal(16)  # its length; 0: there is none
        self._current_last = Signal(16)
        self._tabled = Signal()  # TokenImportance holds the current list
        self._count = Signal(17)  # ids of the request, and the last of them
        self._last_id = Signal(16)
        self._fits = Signal()  # planes lie in the window, in FIRST and SECOND
        same = {name: self._job.shape().members[name] for name in _PAIR_FIELDS}
        self._first = Signal(data.StructLayout(same), reset_less=True)  # what the second job of a pair must have
        self._open = Signal()  # the first job of a pair has been accepted, the second has not
        with m.FSM() as fsm:
            with m.State("IDLE"):
                m.d.comb += self.job.ready.eq(1)
                m.d.sync += [self._request.eq(self.job.payload), self._code.eq(layouts.OK), self._count.eq(0)]
                with m.If(self.job.valid):
                    m.next = "FIELDS"
            with m.State("FIELDS"):
                m.d.sync += self._rows.eq(self._product(self._job.num_queries, self._job.group))
                self._check_fields(m)
                m.next = "CAPACITY"
            with m.State("CAPACITY"):
                self._check_capacity(m)
                m.next = "WORDS"
            with m.State("WORDS"):
                m.next = "FIRST"
            with m.State("FIRST"):
                self._check_windows(m)
                m.next = "SECOND"
            with m.State("SECOND"):
                self._check_windows(m)
                self._check_list(m)
                m.next = "ANSWER"
                with m.If(self._job.list == layouts.LIST_NEW):
                    m.next = "IDS"
            with m.State("IDS"):
                self._take_ids(m)
            with m.State("COUNT"):
                with m.If(self._count != self._job.num_keys):
                    self._refuse(m, layouts.BAD_IDS)
                m.next = "ANSWER"
            with m.State("ANSWER"):
                self._answer(m)
        self._check_planes(m, fsm)
        with m.If(self.selected):
            m.d.sync += [
                self.current.eq(~self.current),
                self._current_count.eq(self.survivors),
                self._current_last.eq(self.last_id),
            ]
        with m.If(self.void):
            m.d.sync += self._current_count.eq(0)
        self._fill_record(m)
        return m

    def _refuse(self, m, code):
        """The first refusal of a request stands."""
        with m.If(self._code == layouts.OK):
            m.d.sync += self._code.eq(code)

    @staticmethod
    def _product(value, factor):
        """By shift and add: a multiplier would cost a DSP that the arrays need."""
        return sum((Mux(bit, value << i, 0) for i, bit in enumerate(factor)), start=Const(0))

    # Fields ----------------------------------------------------------------------------------------------------

    def _check_fields(self, m):
        """Everything that needs no arithmetic; the first wrong field gives the code."""
        config, job = self.config, self._job
        with m.Switch(job.dim):
            for dim in config.dims:
                with m.Case(dim):
                    m.d.sync += self._log_slices.eq(config.log_slices(dim))
        bad_keys = (
            (job.num_keys == 0)
            | (job.num_rows > config.max_tokens)
            | (job.num_keys > job.num_rows)
            | (job.skew >= config.num_channels)
        )
        bad_queries = (
            (job.num_queries == 0)
            | (job.num_queries > config.max_tokens)
            | (job.causal & (job.num_queries > job.num_keys))
            | (job.generation & ((job.num_queries != 1) | (job.group != 1)))
        )
        split_ok = Cat((job.key_bits == msb) & (job.key_lsb_bits == lsb) for msb, lsb in config.splits).any()
        width_ok = [
            Cat(bits == width for width in config.plane_widths).any() for bits in (job.query_bits, job.value_bits)
        ]
        bad_heads = (job.group == 0) | (job.group > config.max_group) | (job.head + job.group > config.max_heads)
        head = ~self._request.list_only  # a list is taken for its own sake
        checks = (
            (self._bad_pair(), layouts.BAD_PAIR),
            (~Cat(job.dim == dim for dim in config.dims).any(), layouts.BAD_DIM),
            (bad_keys | (head & bad_queries), layouts.BAD_COUNT),
            (head & ((job.value_keep == 0) | (job.value_keep > job.num_keys)), layouts.BAD_KEEP),
            (head & ~(split_ok & width_ok[0] & width_ok[1]), layouts.BAD_WIDTH),
            (head & ((job.scale == 0) | (job.shift == 0)), layouts.BAD_SCALE),
            (head & bad_heads, layouts.BAD_HEADS),
        )
        for bad, code in reversed(checks):
            with m.If(bad):
                m.d.sync += self._code.eq(code)

    def _bad_pair(self):
        """Whether the request cannot be part of a pair, or is not the one that the open pair waits for."""
        config, request, job, first = self.config, self._request, self._job, self._first
        same = Cat(first[name] == job[name] for name in first.shape().members).all()
        dims = [dim for dim in config.dims if dim % config.lane_width == 0 and 2 * dim <= config.max_dim]
        able = ~request.layer & job.generation & (Cat(job.dim == dim for dim in dims).any() if dims else 0)
        return Mux(self._open, ~(able & same & (job.pair == 2)), (job.pair != 0) & ~(able & (job.pair == 1)))

    def _check_capacity(self, m):
        config, job = self.config, self._job
        slots = job.num_keys << self._log_slices
        # Both regions of a pair begin at a multiple of the banks.
        half = config.key_slots // 2 // config.key_banks * config.key_banks
        head = ~self._request.list_only
        with m.If(head & (self._rows > config.max_tokens)):
            self._refuse(m, layouts.BAD_COUNT)
        with m.Elif(head & ((slots > config.buffer_slots) | ((job.pair != 0) & (slots > half)))):
            self._refuse(m, layouts.BAD_CAPACITY)

    # Planes ----------------------------------------------------------------------------------------------------

    def _check_planes(self, m, fsm):
        """Two units, a plane a cycle each: operands, bits, words, and in FIRST and SECOND the comparison."""
        job, fits = self._job, []
        for unit, names in enumerate(_PLANES):
            base = Signal(self.config.address_width, name=f"base_{unit}", reset_less=True)
            width = Signal(5, name=f"width_{unit}", reset_less=True)
            rows = Signal(16, name=f"rows_{unit}", reset_less=True)
            sixteenths = Signal(5, name=f"sixteenths_{unit}", reset_less=True)
            for name, states in zip(names, (("FIELDS", "WORDS"), ("CAPACITY", "FIRST")), strict=True):
                with m.If(fsm.ongoing(states[0])):
                    m.d.sync += [
                        width.eq(job[f"{name}_bits"]),
                        rows.eq(self._rows if name == "query" else job.num_rows),
                        # Rows of K of a pair are of both heads.
                        sixteenths.eq(job.dim[4:] << (job.pair != 0) if name == "key" else job.dim[4:]),
                    ]
                with m.If(fsm.ongoing(states[1])):
                    m.d.sync += base.eq(job[f"{name}_base"])
            words = self._plane_words(m, unit, rows, width, sixteenths)
            absent = fsm.ongoing("FIRST") & (job.key_lsb_bits == 0) if names[0] == "key_lsb" else 0
            fits.append(absent | ((base >= self.window_base) & (base + words <= self.window_limit)))
        m.d.comb += self._fits.eq(fits[0] & fits[1])

    def _plane_words(self, m, unit, rows, width, sixteenths):
        """Words that a plane takes in every channel, two cycles behind its operands."""
        config = self.config
        channel_bits = (config.num_channels - 1).bit_length()
        word_bits = (config.channel_width - 1).bit_length()
        bits = Signal(18, name=f"bits_{unit}", reset_less=True)
        dim = Signal(5, name=f"dim_{unit}", reset_less=True)
        words = Signal(30, name=f"words_{unit}", reset_less=True)
        channel_rows = (rows + config.num_channels - 1) >> channel_bits
        row_bits = self._product(bits, dim) << 4
        m.d.sync += [
            bits.eq(self._product(channel_rows[:13], width)),
            dim.eq(sixteenths),
            words.eq((row_bits + config.channel_width - 1) >> word_bits),
        ]
        return words

    def _check_windows(self, m):
        with m.If(~self._request.list_only & ~self._fits):
            self._refuse(m, layouts.BAD_WINDOW)

    # Lists -----------------------------------------------------------------------------------------------------

    def _check_list(self, m):
        """Behind the last plane's check, which comes first."""
        request, job = self._request, self._job
        previous = (job.list == layouts.LIST_PREVIOUS) | (request.list_only & request.match)
        held = (self._current_count == job.num_keys) & (self._current_last < job.num_rows)
        held = held & (self._tabled | ~request.list_only)
        known = Mux(previous, held, job.list == layouts.LIST_DENSE)
        with m.If((request.list_only | self._fits) & ~known & (job.list != layouts.LIST_NEW)):
            self._refuse(m, layouts.BAD_IDS)

    def _take_ids(self, m):
        """Write beats of ids to the other list while all is well; read on to ``last`` in any case."""
        config, job, entry = self.config, self._job, self.ids.payload
        beat = Signal(layouts.id_write(config), reset_less=True)
        target = ~self.current
        held, good, last = Signal(), Signal(reset_less=True), Signal(reset_less=True)  # a beat, checked
        word = Signal(config.position_width)
        wanted, moves = Signal(), Signal()
        free = self.list_free.bit_select(target, 1)
        m.d.comb += [
            wanted.eq(good & (self._code == layouts.OK)),
            self.id_write.valid.eq(held & wanted & free),
            moves.eq(held & (~wanted | (free & self.id_write.ready))),
            self.ids.ready.eq(~held | (moves & ~last)),
        ]
        with m.If(moves):
            m.d.sync += [held.eq(0), word.eq(word + 1)]
            with m.If(~good):
                self._refuse(m, layouts.BAD_IDS)
            with m.If(last):
                m.d.sync += word.eq(0)
                m.next = "COUNT"
        with m.If(self.id_write.valid & self.id_write.ready):
            m.d.sync += self._tabled.eq(0)
        present = [lane < entry.count for lane in range(config.lanes)]
        before = [self._last_id, *entry.ids]
        rising = [entry.ids[lane] > before[lane] for lane in range(config.lanes)]
        ordered = Cat(
            ~present[lane]
            | ((entry.ids[lane] < job.num_rows) & (rising[lane] | ((self._count == 0) if lane == 0 else 0)))
            for lane in range(config.lanes)
        )
        whole = (entry.count == config.lanes) | (entry.last & (entry.count != 0) & (entry.count < config.lanes))
        with m.If(self.ids.valid & self.ids.ready):
            m.d.sync += [
                held.eq(1),
                good.eq(ordered.all() & whole),
                last.eq(entry.last),
                beat.mask.eq(Cat(present)),
                *(beat.ids[lane].eq(entry.ids[lane]) for lane in range(config.lanes)),
                beat.importance.eq(entry.importance),
                self._count.eq(self._count + entry.count),
            ]
            for lane in range(config.lanes):
                with m.If(present[lane]):
                    m.d.sync += self._last_id.eq(entry.ids[lane])
        write = self.id_write.payload
        m.d.comb += [write.eq(beat), write.list.eq(target), write.first.eq(word == 0), write.word.eq(word)]

    # Answer ----------------------------------------------------------------------------------------------------

    def _answer(self, m):
        request, job = self._request, self._job
        ok = self._code == layouts.OK
        answered = Signal()
        m.d.comb += [
            self.accepted.valid.eq(ok & ~request.list_only),
            self.answer.valid.eq(request.layer & ~self.accepted.valid),
            self.refused.valid.eq(~request.layer & ~self.accepted.valid),
            answered.eq(
                self.answer.valid
                | (self.accepted.valid & self.accepted.ready)
                | (self.refused.valid & self.refused.ready)
            ),
        ]
        for answer in (self.refused, self.answer):
            m.d.comb += [answer.payload.job_id.eq(job.job_id), answer.payload.code.eq(self._code)]
        with m.If(answered):
            m.next = "IDLE"
        with m.If(answered & ok):
            m.d.sync += self._open.eq(job.pair == 1)
            with m.If(job.pair == 1):
                m.d.sync += [self._first[name].eq(job[name]) for name in _PAIR_FIELDS if name != "list"]
                listed = Mux(job.list == layouts.LIST_DENSE, layouts.LIST_DENSE, layouts.LIST_PREVIOUS)
                m.d.sync += self._first.list.eq(listed)
            with m.If(job.list == layouts.LIST_NEW):
                m.d.sync += [
                    self._tabled.eq(1),
                    self.current.eq(~self.current),
                    self._current_count.eq(self._count),
                    self._current_last.eq(self._last_id),
                ]

    def _fill_record(self, m):
        config, request, job, log_slices = self.config, self._request, self._job, self._log_slices
        record = self.accepted.payload
        lanes_log = config.lanes.bit_length() - 1
        per_line = Signal(layouts.lane_count(config))
        m.d.comb += per_line.eq(1)
        for log in range(lanes_log):
            with m.If(log_slices == log):
                m.d.comb += per_line.eq(config.lanes >> log)
        room = ((job.num_keys + per_line - 1) << log_slices) <= config.buffer_slots
        packs = (
            ~job.causal & ~job.generation & (job.num_keys >= per_line) & ((job.num_keys & (per_line - 1)) != 0) & room
        )
        pack, repeat = Signal(reset_less=True), Signal.like(record.repeat, reset_less=True)
        m.d.sync += [pack.eq(packs), repeat.eq(Mux(packs, per_line - 1, 0))]
        m.d.comb += [
            record.pack.eq(pack),
            record.repeat.eq(repeat),
            record.list.eq(self.current ^ (job.list == layouts.LIST_NEW)),
            record.log_slices.eq(log_slices),
            record.layer.eq(request.layer),
            record.rows.eq(self._rows),
            record.listed.eq(job.list != layouts.LIST_DENSE),
            record.progressive.eq(job.key_lsb_bits == LSB_BITS),
        ]
        derived = {"pack", "repeat", "log_slices", "listed", "list", "progressive", "layer", "rows"}
        copied = set(record.shape().members) - derived
        m.d.comb += [record[name].eq(job[name]) for name in sorted(copied)]
