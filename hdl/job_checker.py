"""Checks a job before anything is computed for it, and takes in its list of key ids."""

from __future__ import annotations

from amaranth.hdl import Cat, Const, Module, Mux, Signal
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out

from hdl import layouts
from hdl.config import LSB_BITS, Config

__all__ = ["JobChecker"]

_PLANES = ("query", "key", "key_lsb", "value")


class JobChecker(wiring.Component):
    """Takes jobs one by one; each leaves either as a record or as a refusal with a code of ``layouts.STATUS``.

    Ids of a job with ``list`` = 1 are written to the id list that is not current, when no job in flight uses it; the
    list becomes current only if the job is accepted, so a refused job leaves no trace. About 20 cycles a job, and one
    more for each id.

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
        config = self.config
        request = Signal(layouts.job_request(config), reset_less=True)
        job = request.job
        code = Signal(4)
        rows = Signal(21, reset_less=True)  # of all query heads
        log_slices = Signal(3, reset_less=True)
        current = self.current  # the id list of the last accepted job that brought one, or of the last selection
        current_count = Signal(16)  # its length; 0: there is none
        tabled = Signal()  # TokenImportance holds the current list
        current_last = Signal(16)
        count = Signal(17)
        last_id = Signal(16)
        plane = Signal(range(len(_PLANES)))
        fits = self._plane_fits(m, job, rows, plane)

        def refuse(value):
            return [code.eq(Mux(code == layouts.OK, value, code))]

        with m.FSM():
            with m.State("IDLE"):
                m.d.comb += self.job.ready.eq(1)
                m.d.sync += [request.eq(self.job.payload), code.eq(layouts.OK), count.eq(0), plane.eq(0)]
                with m.If(self.job.valid):
                    m.next = "FIELDS"
            with m.State("FIELDS"):
                m.d.sync += rows.eq(self._product(job.num_queries, job.group))
                with m.If(request.list_only):
                    self._check_list(m, job, refuse)
                    m.next = "LIST"
                with m.Else():
                    self._check_fields(m, job, log_slices, refuse)
                    m.next = "CAPACITY"
            with m.State("CAPACITY"):
                with m.If(rows > config.max_tokens):
                    m.d.sync += refuse(layouts.BAD_COUNT)
                with m.Elif((job.num_keys << log_slices) > config.buffer_slots):
                    m.d.sync += refuse(layouts.BAD_CAPACITY)
                m.next = "PLANE"
            with m.State("PLANE"):  # the size of a plane takes two cycles
                m.next = "PLANE_ROWS"
            with m.State("PLANE_ROWS"):
                m.next = "PLANE_WORDS"
            with m.State("PLANE_WORDS"):
                m.next = "PLANE_CHECK"
            with m.State("PLANE_CHECK"):
                with m.If(~fits):
                    m.d.sync += refuse(layouts.BAD_WINDOW)
                m.d.sync += plane.eq(plane + 1)
                m.next = "PLANE"
                with m.If(plane == len(_PLANES) - 1):
                    m.next = "LIST"
            with m.State("LIST"):
                m.next = "ANSWER"
                with m.If(job.list == layouts.LIST_NEW):
                    m.next = "IDS"
                with m.Elif((job.list == layouts.LIST_PREVIOUS) | (request.list_only & request.match)):
                    fits_list = (current_count == job.num_keys) & (current_last < job.num_rows)
                    with m.If(~fits_list | (request.list_only & ~tabled)):
                        m.d.sync += refuse(layouts.BAD_IDS)
                with m.Elif(job.list != layouts.LIST_DENSE):
                    m.d.sync += refuse(layouts.BAD_IDS)
            with m.State("IDS"):
                self._take_ids(m, job, ~current, count, last_id, refuse)
            with m.State("COUNT"):
                with m.If(count != job.num_keys):
                    m.d.sync += refuse(layouts.BAD_IDS)
                m.next = "ANSWER"
            with m.State("ANSWER"):
                answered = Signal()
                m.d.comb += [
                    self.accepted.valid.eq((code == layouts.OK) & ~request.list_only),
                    self.answer.valid.eq(request.layer & ~self.accepted.valid),
                    self.refused.valid.eq(~request.layer & ~self.accepted.valid),
                    answered.eq(
                        self.answer.valid
                        | (self.accepted.valid & self.accepted.ready)
                        | (self.refused.valid & self.refused.ready)
                    ),
                ]
                with m.If(answered):
                    m.next = "IDLE"
                    with m.If(job.list == layouts.LIST_NEW):
                        m.d.sync += tabled.eq(code == layouts.OK)
                        with m.If(code == layouts.OK):
                            m.d.sync += [current.eq(~current), current_count.eq(count), current_last.eq(last_id)]
        with m.If(self.selected):
            m.d.sync += [current.eq(~current), current_count.eq(self.survivors), current_last.eq(self.last_id)]
        with m.If(self.void):
            m.d.sync += current_count.eq(0)
        for answer in (self.refused, self.answer):
            m.d.comb += [answer.payload.job_id.eq(job.job_id), answer.payload.code.eq(code)]
        self._fill_record(m, request, log_slices, rows, current)
        return m

    @staticmethod
    def _product(value, factor):
        """By shift and add: a multiplier would cost a DSP that the arrays need."""
        return sum((Mux(bit, value << i, 0) for i, bit in enumerate(factor)), start=Const(0))

    def _bad_dim(self, job):
        return ~Cat(job.dim == dim for dim in self.config.dims).any()

    def _bad_keys(self, job):
        return (job.num_keys == 0) | (job.num_rows > self.config.max_tokens) | (job.num_keys > job.num_rows)

    def _check_list(self, m, job, refuse):
        with m.If(self._bad_dim(job)):
            m.d.sync += refuse(layouts.BAD_DIM)
        with m.Elif(self._bad_keys(job)):
            m.d.sync += refuse(layouts.BAD_COUNT)

    def _check_fields(self, m, job, log_slices, refuse):
        """Everything that needs no arithmetic; the first wrong field gives the code."""
        config = self.config
        widths = config.plane_widths
        with m.Switch(job.dim):
            for dim in config.dims:
                with m.Case(dim):
                    m.d.sync += log_slices.eq(config.log_slices(dim))
        split_ok = Cat((job.key_bits == msb) & (job.key_lsb_bits == lsb) for msb, lsb in config.splits).any()
        bad_count = (
            self._bad_keys(job)
            | (job.num_queries == 0)
            | (job.num_queries > config.max_tokens)
            | (job.causal & (job.num_queries > job.num_keys))
            | (job.generation & ((job.num_queries != 1) | (job.group != 1)))
        )
        bad_heads = (job.group == 0) | (job.group > config.max_group) | (job.head + job.group > config.max_heads)
        with m.If(self._bad_dim(job)):
            m.d.sync += refuse(layouts.BAD_DIM)
        with m.Elif(bad_count):
            m.d.sync += refuse(layouts.BAD_COUNT)
        with m.Elif((job.value_keep == 0) | (job.value_keep > job.num_keys)):
            m.d.sync += refuse(layouts.BAD_KEEP)
        with m.Elif(
            ~split_ok
            | ~Cat(job.query_bits == width for width in widths).any()
            | ~Cat(job.value_bits == width for width in widths).any()
        ):
            m.d.sync += refuse(layouts.BAD_WIDTH)
        with m.Elif((job.scale == 0) | (job.shift == 0)):
            m.d.sync += refuse(layouts.BAD_SCALE)
        with m.Elif(bad_heads):
            m.d.sync += refuse(layouts.BAD_HEADS)

    def _plane_fits(self, m, job, query_rows, plane):
        """Whether plane number ``plane`` lies in the window; 3 cycles after ``plane``."""
        config = self.config
        channel_bits = (config.num_channels - 1).bit_length()
        word_bits = (config.channel_width - 1).bit_length()
        base = Signal(config.address_width, reset_less=True)
        width = Signal(5, reset_less=True)
        rows = Signal(16, reset_less=True)
        bits = Signal(26, reset_less=True)
        words = Signal(30, reset_less=True)
        absent = Signal()
        with m.Switch(plane):
            for index, name in enumerate(_PLANES):
                with m.Case(index):
                    lsb = name == "key_lsb"
                    m.d.sync += [
                        base.eq(job[f"{name}_base"]),
                        width.eq(job.key_lsb_bits if lsb else job[f"{name}_bits"]),
                        rows.eq(query_rows if name == "query" else job.num_rows),
                        absent.eq((job.key_lsb_bits == 0) if lsb else 0),
                    ]
        channel_rows = (rows + config.num_channels - 1) >> channel_bits
        m.d.sync += bits.eq(self._product(channel_rows[:13], width))
        # dim is a multiple of 16: bits * dim / channel_width, rounded up
        row_bits = self._product(bits, job.dim[4:]) << 4
        m.d.sync += words.eq((row_bits + config.channel_width - 1) >> word_bits)
        fits = absent | ((base >= self.window_base) & (base + words <= self.window_limit))
        return fits

    def _take_ids(self, m, job, target, count, last_id, refuse):
        """Write ids to list ``target`` while they are right; read on to ``last`` in any case."""
        entry = self.ids.payload
        good = (entry.id < job.num_rows) & ((count == 0) | (entry.id > last_id)) & (count < self.config.max_tokens)
        free = self.list_free.bit_select(target, 1)
        m.d.comb += [
            self.id_write.valid.eq(self.ids.valid & free & good),
            self.ids.ready.eq(free & (self.id_write.ready | ~good)),
            self.id_write.payload.list.eq(target),
            self.id_write.payload.position.eq(count),
            self.id_write.payload.id.eq(entry.id),
            self.id_write.payload.importance.eq(entry.importance),
        ]
        with m.If(self.ids.valid & self.ids.ready):
            m.d.sync += [count.eq(count + 1), last_id.eq(entry.id)]
            with m.If(~good):
                m.d.sync += [refuse(layouts.BAD_IDS), count.eq(count)]
            with m.If(entry.last):
                m.next = "COUNT"

    def _fill_record(self, m, request, log_slices, rows, current):
        config, job = self.config, request.job
        record = self.accepted.payload
        lanes_log = config.lanes.bit_length() - 1
        per_line = Signal(layouts.lane_count(config))
        m.d.comb += per_line.eq(1)
        for log in range(lanes_log):
            with m.If(log_slices == log):
                m.d.comb += per_line.eq(config.lanes >> log)
        room = ((job.num_keys + per_line - 1) << log_slices) <= config.buffer_slots
        pack = Signal()
        m.d.comb += [
            pack.eq(
                ~job.causal
                & ~job.generation
                & (job.num_keys >= per_line)
                & ((job.num_keys & (per_line - 1)) != 0)
                & room
            ),
            record.pack.eq(pack),
            record.repeat.eq(Mux(pack, per_line - 1, 0)),
            record.log_slices.eq(log_slices),
            record.layer.eq(request.layer),
            record.rows.eq(rows),
            record.listed.eq(job.list != layouts.LIST_DENSE),
            record.list.eq(Mux(job.list == layouts.LIST_NEW, ~current, current)),
            record.progressive.eq(job.key_lsb_bits == LSB_BITS),
        ]
        derived = {"pack", "repeat", "log_slices", "listed", "list", "progressive", "layer", "rows"}
        copied = set(record.shape().members) - derived
        m.d.comb += [record[name].eq(job[name]) for name in sorted(copied)]
