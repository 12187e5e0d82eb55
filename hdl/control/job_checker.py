"""Checks a job before anything is computed for it, and takes in its list of key ids."""

from __future__ import annotations

from amaranth.hdl import Cat, Const, Module, Mux, Signal
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

from hdl.spec import payloads
from hdl.spec.config import Config
from hdl.spec.numerics import LSB_BITS
from hdl.spec.widths import bits_for_count, lane_count
from hdl.stream.stream_skid import StreamSkid

__all__ = ["JobChecker"]

_PLANES = (("key", "query"), ("key_lsb", "value"))
"""Planes that each of the two units checks, one after the other; ``query`` comes second, for its rows are a product."""
_PAIR_FIELDS = ("dim", "num_keys", "num_rows", "key_bits", "key_lsb_bits", "skew", "key_base", "list")
"""Fields in which the jobs of a pair are equal (but that the first may bring the list)."""
_FIELD_CODES = (
    payloads.BAD_DIM,
    payloads.BAD_COUNT,
    payloads.BAD_KEEP,
    payloads.BAD_WIDTH,
    payloads.BAD_SCALE,
    payloads.BAD_HEADS,
)
"""In the order in which fields are found wrong."""


class JobChecker(wiring.Component):
    """Takes jobs one by one; each leaves either as a record or as a refusal with a code of ``payloads.STATUS``.

    Ids of a job with ``list`` = 1 are written to the id list that is not current, when no job in flight uses it; the
    list becomes current only if the job is accepted, so a refused job leaves no trace. Ids of a job that is refused
    already are only read. Between the first and the second job of a pair every other request is refused. 8 cycles a
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
        self._sixteenths = sorted({size // 16 for dim in config.dims for size in (dim, 2 * dim)})  # of a row
        self._widths = sorted({*config.plane_widths, *(width for split in config.splits for width in split)} - {0})
        rows = -(-config.max_tokens // config.num_channels)
        words = -(-rows * self._widths[-1] * self._sixteenths[-1] * 16 // config.channel_width)
        self._word_bits = bits_for_count(words)  # of a plane in a channel
        super().__init__(
            {
                "job": In(stream.Signature(payloads.job_request(config))),
                "ids": In(stream.Signature(payloads.job_id_entry(config))),
                "window_base": In(config.address_width),
                "window_limit": In(config.address_width + 1),
                "list_free": In(2),
                "void": In(1),
                "selected": In(1),
                "survivors": In(config.count_width),
                "last_id": In(16),
                "current": Out(1),
                "accepted": Out(stream.Signature(payloads.job_record(config))),
                "refused": Out(stream.Signature(payloads.job_status(config))),
                "answer": Out(stream.Signature(payloads.job_status(config), always_ready=True)),
                "id_write": Out(stream.Signature(payloads.id_write(config))),
            }
        )

    def elaborate(self, platform):
        m = Module()
        self._request = Signal(payloads.job_request(self.config), reset_less=True)
        self._job = self._request.job
        self._code = Signal(4)
        self._wrong = Signal(len(_FIELD_CODES), reset_less=True)  # of the fields, one bit a code
        self._too_many, self._too_long = Signal(reset_less=True), Signal(reset_less=True)  # rows, keys
        self._heads = Signal(9, reset_less=True)  # up to the last one of the job
        self._same, self._able = Signal(reset_less=True), Signal(reset_less=True)  # what it takes to be of a pair
        self._rows = Signal(21, reset_less=True)  # of all query heads
        self._log_slices = Signal(3, reset_less=True)
        # ``current`` is the id list of the last accepted job that brought one, or of the last selection.
        self._current_count = Signal(16)  # its length; 0: there is none
        self._current_last = Signal(16)
        self._tabled = Signal()  # TokenImportance holds the current list
        self._count = Signal(17)  # ids of the request, and the last of them
        self._last_id = Signal(16)
        self._begun = Signal()  # ids have come
        self._outside = Signal()  # a plane is not in the window; comes before BAD_IDS
        self._ok = Signal()  # nothing is wrong so far
        m.d.comb += self._ok.eq((self._code == payloads.OK) & ~self._outside)
        self._reads = Signal()  # takes ids, in IDS
        self._read = Signal()  # the last of them goes
        self._writes = Signal()  # one waits for the list
        self._accepts, self._refuses, self._replies = Signal(), Signal(), Signal()  # answers, in ANSWER
        self._takes = Signal()  # nothing is wrong with the job, or list
        self._answered = Signal()
        self._known = Signal(reset_less=True)  # there is the list that the job asks for
        self._fits = Signal()  # planes lie in the window, in FIRST and SECOND
        same = {name: self._job.shape().members[name] for name in _PAIR_FIELDS}
        self._first = Signal(data.StructLayout(same), reset_less=True)  # what the second job of a pair must have
        self._open = Signal()  # the first job of a pair has been accepted, the second has not
        with m.FSM() as fsm:
            with m.State("IDLE"):
                m.d.comb += self.job.ready.eq(1)
                m.d.sync += [self._request.eq(self.job.payload), self._code.eq(payloads.OK), self._count.eq(0)]
                m.d.sync += [self._begun.eq(0), self._outside.eq(0)]
                with m.If(self.job.valid):
                    m.next = "FIELDS"
            with m.State("FIELDS"):
                m.d.sync += self._rows.eq(self._count_rows())
                self._check_fields(m)
                self._compare_pair(m)
                m.next = "CAPACITY"
            with m.State("CAPACITY"):
                self._check_capacity(m)
                self._code_fields(m)
                m.next = "WORDS"
            with m.State("WORDS"):
                with m.If(self._too_many):
                    self._refuse(m, payloads.BAD_COUNT)
                with m.Elif(self._too_long):
                    self._refuse(m, payloads.BAD_CAPACITY)
                m.next = "FIRST"
            with m.State("FIRST"):
                self._check_windows(m)
                m.next = "SECOND"
            with m.State("SECOND"):
                self._check_windows(m)
                self._check_list(m)
                m.next = "VERDICT"
                with m.If(self._job.list == payloads.LIST_NEW):
                    m.d.sync += self._reads.eq(1)
                    m.next = "IDS"
            with m.State("IDS"):
                with m.If(self._read):
                    m.next = "COUNT"
            with m.State("COUNT"):
                with m.If(self._count != self._job.num_keys):
                    self._refuse(m, payloads.BAD_IDS)
                with m.If(~self._writes):
                    m.next = "VERDICT"
            with m.State("VERDICT"):
                self._judge(m)
                m.next = "ANSWER"
            with m.State("ANSWER"):
                with m.If(self._answered):
                    m.next = "IDLE"
        self._take_ids(m)
        self._know_list(m)
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
        with m.If(self._code == payloads.OK):
            m.d.sync += self._code.eq(code)

    def _count_rows(self):
        """num_queries * group by shift and add, as a multiplier would cost a DSP that the arrays need.

        The upper bits do not matter: such a count, or group, is refused.
        """
        queries, group = self._job.num_queries[: self.config.count_width], self._job.group
        bits = group[: self.config.max_group.bit_length()]
        return sum((Mux(bit, queries << i, 0) for i, bit in enumerate(bits)), start=Const(0))

    @staticmethod
    def _multiple(value, factor, factors):
        """value * factor, a known one (else the job is refused): most are two powers of two, so one addition."""
        highest, rest = Const(0), Const(0)
        for known in factors:
            top = known.bit_length() - 1
            others = [value << i for i in range(top) if known >> i & 1]
            highest = highest | Mux(factor == known, value << top, 0)
            rest = rest | Mux(factor == known, sum(others, start=Const(0)), 0)
        return highest + rest

    # Fields ----------------------------------------------------------------------------------------------------

    def _check_fields(self, m):
        """Everything that needs no arithmetic."""
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
        bad_heads = (job.group == 0) | (job.group > config.max_group)
        head = ~self._request.list_only  # a list is taken for its own sake
        wrong = {
            payloads.BAD_DIM: ~Cat(job.dim == dim for dim in config.dims).any(),
            payloads.BAD_COUNT: bad_keys | (head & bad_queries),
            payloads.BAD_KEEP: head & ((job.value_keep == 0) | (job.value_keep > job.num_keys)),
            payloads.BAD_WIDTH: head & ~(split_ok & width_ok[0] & width_ok[1]),
            payloads.BAD_SCALE: head & ((job.scale == 0) | (job.shift == 0)),
            payloads.BAD_HEADS: head & bad_heads,
        }
        m.d.sync += self._wrong.eq(Cat(wrong[code] for code in _FIELD_CODES))
        m.d.sync += self._heads.eq(job.head + job.group)

    def _compare_pair(self, m):
        config, request, job, first = self.config, self._request, self._job, self._first
        dims = [dim for dim in config.dims if dim % config.lane_width == 0 and 2 * dim <= config.max_dim]
        m.d.sync += [
            self._same.eq(Cat(first[name] == job[name] for name in first.shape().members).all()),
            self._able.eq(~request.layer & job.generation & (Cat(job.dim == dim for dim in dims).any() if dims else 0)),
        ]

    def _code_fields(self, m):
        """The first wrong field gives the code, over what the capacity says; the pair comes before all."""
        job, able = self._job, self._able
        # It cannot be part of a pair, or is not the one that the open pair waits for.
        bad_pair = Mux(self._open, ~(able & self._same & (job.pair == 2)), (job.pair != 0) & ~(able & (job.pair == 1)))
        with m.If(~self._request.list_only & (self._heads > self.config.max_heads)):
            m.d.sync += self._code.eq(payloads.BAD_HEADS)  # the last of the codes of fields
        for index, code in reversed(list(enumerate(_FIELD_CODES))):
            with m.If(self._wrong[index]):
                m.d.sync += self._code.eq(code)
        with m.If(bad_pair):
            m.d.sync += self._code.eq(payloads.BAD_PAIR)

    def _check_capacity(self, m):
        config, job = self.config, self._job
        slots = job.num_keys << self._log_slices
        # Both regions of a pair begin at a multiple of the banks.
        half = config.key_slots // 2 // config.key_banks * config.key_banks
        head = ~self._request.list_only
        m.d.sync += [
            self._too_many.eq(head & (self._rows > config.max_tokens)),
            self._too_long.eq(head & ((slots > config.buffer_slots) | ((job.pair != 0) & (slots > half)))),
        ]

    # Planes ----------------------------------------------------------------------------------------------------

    def _check_planes(self, m, fsm):
        """Two units, a plane a cycle each: operands, bits, words, and in FIRST and SECOND the comparison."""
        job, fits = self._job, []
        for unit, names in enumerate(_PLANES):
            # The plane's place in the window is compared before its words are known: only they are left to compare,
            # and only as many bits as a plane that nothing else is wrong with can have.
            inside, wide = Signal(name=f"inside_{unit}", reset_less=True), Signal(name=f"wide_{unit}", reset_less=True)
            room = Signal(self._word_bits, name=f"room_{unit}", reset_less=True)
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
                    base = job[f"{name}_base"]
                    behind = self.window_limit - base
                    m.d.sync += [
                        inside.eq((base >= self.window_base) & (behind >= 0)),
                        wide.eq(behind[self._word_bits : -1].any()),
                        room.eq(behind),
                    ]
            words = self._plane_words(m, unit, rows, width, sixteenths)
            absent = fsm.ongoing("FIRST") & (job.key_lsb_bits == 0) if names[0] == "key_lsb" else 0
            fits.append(absent | (inside & (wide | (words[: self._word_bits] <= room))))
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
        row_bits = self._multiple(bits, dim, self._sixteenths) << 4
        m.d.sync += [
            bits.eq(self._multiple(channel_rows[:13], width, self._widths)),
            dim.eq(sixteenths),
            words.eq((row_bits + config.channel_width - 1) >> word_bits),
        ]
        return words

    def _check_windows(self, m):
        with m.If(~self._request.list_only & ~self._fits):
            m.d.sync += self._outside.eq(1)

    # Lists -----------------------------------------------------------------------------------------------------

    def _know_list(self, m):
        """Whether there is the list that the job asks for, a cycle late: nothing of this changes in a request."""
        request, job = self._request, self._job
        previous = (job.list == payloads.LIST_PREVIOUS) | (request.list_only & request.match)
        held = (self._current_count == job.num_keys) & (self._current_last < job.num_rows)
        held = held & (self._tabled | ~request.list_only)
        m.d.sync += self._known.eq(Mux(previous, held, job.list == payloads.LIST_DENSE))

    def _check_list(self, m):
        with m.If(~self._known & (self._job.list != payloads.LIST_NEW)):
            self._refuse(m, payloads.BAD_IDS)

    def _take_ids(self, m):
        """Write beats of ids to the other list while all is well; read on to ``last`` in any case.

        What can refuse a beat stands in flip-flops, and so does whether the list can be written.
        """
        config, job, entry = self.config, self._job, self.ids.payload
        beat = Signal(payloads.id_write(config), reset_less=True)
        target = ~self.current
        held, last = Signal(), Signal(reset_less=True)  # a beat, compared
        whole = Signal(reset_less=True)
        rises, inside = Signal(config.lanes, reset_less=True), Signal(config.lanes, reset_less=True)
        good = whole & (rises & inside).all()
        word = Signal(config.position_width)
        wanted, moves = Signal(), Signal()
        # A list that is free stays free until a job is accepted.
        free, fine = Signal(), Signal()
        m.d.sync += [free.eq(self.list_free.bit_select(target, 1)), fine.eq(self._ok)]
        m.submodules.skid = skid = StreamSkid(payloads.id_write(config))
        wiring.connect(m, skid.o, wiring.flipped(self.id_write))
        m.d.comb += [
            wanted.eq(good & fine),
            skid.i.valid.eq(held & wanted & free),
            moves.eq(held & (~wanted | (free & skid.i.ready))),
            self.ids.ready.eq(self._reads & (~held | (moves & ~last))),
            self._read.eq(moves & last),
            self._writes.eq(skid.held_valid),
        ]
        with m.If(moves):
            m.d.sync += [held.eq(0), word.eq(word + 1)]
            with m.If(~good):
                self._refuse(m, payloads.BAD_IDS)
                m.d.sync += fine.eq(0)
            with m.If(last):
                m.d.sync += [word.eq(0), self._reads.eq(0)]
        with m.If(skid.i.valid & skid.i.ready):
            m.d.sync += self._tabled.eq(0)
        present = [lane < entry.count for lane in range(config.lanes)]
        before = [self._last_id, *entry.ids]
        rising = [entry.ids[lane] > before[lane] for lane in range(config.lanes)]
        rising[0] = rising[0] | ~self._begun
        with m.If(self.ids.valid & self.ids.ready):
            m.d.sync += [
                held.eq(1),
                rises.eq(Cat(~there | more for there, more in zip(present, rising, strict=True))),
                inside.eq(Cat(~there | (item < job.num_rows) for there, item in zip(present, entry.ids, strict=True))),
                whole.eq(
                    (entry.count == config.lanes) | (entry.last & (entry.count != 0) & (entry.count < config.lanes))
                ),
                last.eq(entry.last),
                beat.mask.eq(Cat(present)),
                *(beat.ids[lane].eq(entry.ids[lane]) for lane in range(config.lanes)),
                beat.importance.eq(entry.importance),
                self._count.eq(self._count + entry.count),
                self._begun.eq(1),
            ]
            for lane in range(config.lanes):
                with m.If(present[lane]):
                    m.d.sync += self._last_id.eq(entry.ids[lane])
        write = skid.i.payload
        m.d.comb += [write.eq(beat), write.list.eq(target), write.first.eq(word == 0), write.word.eq(word)]

    # Answer ----------------------------------------------------------------------------------------------------

    def _judge(self, m):
        """A flip-flop for each answer, so that those who wait for one do not wait for its reason."""
        request = self._request
        head = self._ok & ~request.list_only
        m.d.sync += [
            self._takes.eq(self._ok),
            self._accepts.eq(head),
            self._replies.eq(request.layer & ~head),
            self._refuses.eq(~request.layer & ~head),
        ]
        with m.If(self._outside & ((self._code == payloads.OK) | (self._code == payloads.BAD_IDS))):
            m.d.sync += self._code.eq(payloads.BAD_WINDOW)

    def _answer(self, m):
        job = self._job
        m.d.comb += [
            self.accepted.valid.eq(self._accepts),
            self.answer.valid.eq(self._replies),
            self.refused.valid.eq(self._refuses),
            self._answered.eq(
                self._replies | (self._accepts & self.accepted.ready) | (self._refuses & self.refused.ready)
            ),
        ]
        for answer in (self.refused, self.answer):
            m.d.comb += [answer.payload.job_id.eq(job.job_id), answer.payload.code.eq(self._code)]
        with m.If(self._answered):
            m.d.sync += [flag.eq(0) for flag in (self._accepts, self._replies, self._refuses)]
        # Whoever takes refusals lies far away: what is taken does not wait for him.
        with m.If(self._takes & (self._replies | (self._accepts & self.accepted.ready))):
            m.d.sync += self._open.eq(job.pair == 1)
            with m.If(job.pair == 1):
                m.d.sync += [self._first[name].eq(job[name]) for name in _PAIR_FIELDS if name != "list"]
                listed = Mux(job.list == payloads.LIST_DENSE, payloads.LIST_DENSE, payloads.LIST_PREVIOUS)
                m.d.sync += self._first.list.eq(listed)
            with m.If(job.list == payloads.LIST_NEW):
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
        per_line = Signal(lane_count(config))
        m.d.comb += per_line.eq(1)
        for log in range(lanes_log):
            with m.If(log_slices == log):
                m.d.comb += per_line.eq(config.lanes >> log)
        room, full, uneven = (Signal(name=name, reset_less=True) for name in ("room", "full", "uneven"))
        stored = Signal(config.count_width + 1, reset_less=True)
        m.d.sync += [
            stored.eq(job.num_keys + per_line - 1),
            room.eq((stored << log_slices) <= config.buffer_slots),
            full.eq(job.num_keys >= per_line),
            uneven.eq((job.num_keys & (per_line - 1)) != 0),
        ]
        packs = ~job.causal & ~job.generation & full & uneven & room & config.packing
        pack, repeat = Signal(reset_less=True), Signal.like(record.repeat, reset_less=True)
        m.d.sync += [pack.eq(packs), repeat.eq(Mux(packs, per_line - 1, 0))]
        m.d.comb += [
            record.pack.eq(pack),
            record.repeat.eq(repeat),
            record.list.eq(self.current ^ (job.list == payloads.LIST_NEW)),
            record.log_slices.eq(log_slices),
            record.layer.eq(request.layer),
            record.rows.eq(self._rows),
            record.listed.eq(job.list != payloads.LIST_DENSE),
            record.progressive.eq(job.key_lsb_bits == LSB_BITS),
        ]
        derived = {"pack", "repeat", "log_slices", "listed", "list", "progressive", "layer", "rows"}
        copied = set(record.shape().members) - derived
        m.d.comb += [record[name].eq(job[name]) for name in sorted(copied)]
