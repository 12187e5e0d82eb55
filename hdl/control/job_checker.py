"""Checks a job before anything is computed for it, and takes in its list of key ids."""

from __future__ import annotations

from amaranth.hdl import Module, Signal, Value
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out, connect, flipped

from hdl.control.checker.chain_check import ChainCheck
from hdl.control.checker.current_list import CurrentList
from hdl.control.checker.field_check import FieldCheck
from hdl.control.checker.id_intake import IdIntake
from hdl.control.checker.job_answer import JobAnswer
from hdl.control.checker.job_recorder import JobRecorder
from hdl.control.checker.pair_check import PairCheck
from hdl.control.checker.plane_check import PlaneCheck
from hdl.spec import payloads
from hdl.spec.config import Config
from hdl.spec.widths import CODE_WIDTH, ID_WIDTH

__all__ = ["JobChecker"]

_STEPS = ("IDLE", "FIELDS", "CAPACITY", "WORDS", "FIRST", "SECOND", "IDS", "COUNT", "VERDICT", "ANSWER")
"""States of a request, in order; IDS and COUNT only with a new list."""


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
    window_limit : In(address_width + 1)         first word beyond the window
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
                "job": In(stream.Signature(payloads.job_request(config))),
                "ids": In(stream.Signature(payloads.job_id_entry(config))),
                "window_base": In(config.address_width),
                "window_limit": In(config.address_width + 1),
                "list_free": In(2),
                "void": In(1),
                "selected": In(1),
                "survivors": In(config.count_width),
                "last_id": In(ID_WIDTH),
                "current": Out(1),
                "accepted": Out(stream.Signature(payloads.job_record(config))),
                "refused": Out(stream.Signature(payloads.job_status(config))),
                "answer": Out(stream.Signature(payloads.job_status(config), always_ready=True)),
                "id_write": Out(stream.Signature(payloads.id_write(config))),
            }
        )

    def elaborate(self, platform):
        m = Module()
        request = Signal(payloads.job_request(self.config), reset_less=True)
        code = Signal(CODE_WIDTH)
        outside = Signal()  # a plane is not in the window; comes before BAD_IDS
        fine = Signal()  # nothing is wrong so far
        m.d.comb += fine.eq((code == payloads.OK) & ~outside)
        step = {name: Signal(name=name.lower()) for name in _STEPS}  # the request is in this state

        m.submodules.fields = fields = FieldCheck(self.config)
        m.submodules.pair = pair = PairCheck(self.config)
        m.submodules.lists = lists = CurrentList(self.config)
        m.submodules.intake = intake = IdIntake(self.config)
        m.submodules.recorder = recorder = JobRecorder(self.config)
        m.submodules.reply = reply = JobAnswer(self.config)
        for block in (fields, pair, lists, recorder, reply):
            m.d.comb += block.request.eq(request)
        alone = self._check_place(m, request, fields, pair, reply, step)
        fits = self._check_planes(m, request.job, fields, step)
        new = request.job.list == payloads.LIST_NEW
        m.d.comb += [
            intake.start.eq(step["SECOND"] & new),
            intake.clear.eq(step["IDLE"]),
            intake.num_rows.eq(request.job.num_rows),
            intake.fine.eq(fine),
            recorder.current.eq(lists.current),
            reply.judge.eq(step["VERDICT"]),
            reply.good.eq(fine),
            reply.code.eq(code),
        ]
        self._connect_lists(m, lists, intake, reply.taken & new)
        self._connect_answer(m, recorder, reply, fields)
        self._walk(m, request, step, intake, reply.answered)
        self._judge(m, request, step, code, outside, fits, (fields, alone, lists, intake))
        return m

    def _check_place(
        self, m: Module, request: Signal, fields: FieldCheck, pair: PairCheck, reply: JobAnswer, step: dict[str, Signal]
    ) -> Value:
        """Whether the job breaks a pair or a chain; the fields are compared in the same step."""
        m.d.comb += [
            fields.compare.eq(step["FIELDS"]),
            fields.measure.eq(step["CAPACITY"]),
            pair.compare.eq(step["FIELDS"]),
            pair.taken.eq(reply.taken),
        ]
        if not self.config.chained:
            return pair.bad
        m.submodules.chain = chain = ChainCheck(self.config)
        m.d.comb += [
            chain.request.eq(request),
            chain.compare.eq(step["FIELDS"]),
            chain.rows.eq(fields.rows),
            chain.taken.eq(reply.taken),
        ]
        return pair.bad | chain.bad

    def _check_planes(self, m: Module, job: Value, fields: FieldCheck, step: dict[str, Signal]) -> Value:
        """Two units, a plane a cycle each; returns whether the planes compared in FIRST and SECOND lie in the window.

        ``query`` comes second in its unit, since its rows are a product.
        """
        fits = []
        for number, planes in enumerate((("key", "query"), ("key_lsb", "value"))):
            m.submodules[f"planes_{number}"] = unit = PlaneCheck(self.config, planes)
            m.d.comb += [
                unit.job.eq(job),
                unit.rows.eq(fields.rows),
                unit.window_base.eq(self.window_base),
                unit.window_limit.eq(self.window_limit),
                unit.load[0].eq(step["FIELDS"]),
                unit.load[1].eq(step["CAPACITY"]),
                unit.place[0].eq(step["WORDS"]),
                unit.place[1].eq(step["FIRST"]),
            ]
            fits.append(unit.fits)
        absent = step["FIRST"] & (job.key_lsb_bits == 0)
        return fits[0] & (fits[1] | absent)

    def _connect_lists(self, m: Module, lists: CurrentList, intake: IdIntake, taken: Value) -> None:
        """Ids go to the list that is not current; it becomes current with its request, or with a selection."""
        connect(m, flipped(self.ids), intake.ids)
        connect(m, intake.id_write, flipped(self.id_write))
        m.d.comb += [
            intake.target.eq(~lists.current),
            intake.free.eq(self.list_free),
            lists.written.eq(intake.written),
            lists.taken.eq(taken),
            lists.count.eq(intake.count),
            lists.last_id.eq(intake.last_id),
            lists.selected.eq(self.selected),
            lists.survivors.eq(self.survivors),
            lists.survivor_id.eq(self.last_id),
            lists.void.eq(self.void),
            self.current.eq(lists.current),
        ]

    def _connect_answer(self, m: Module, recorder: JobRecorder, reply: JobAnswer, fields: FieldCheck) -> None:
        m.d.comb += [
            recorder.log_slices.eq(fields.log_slices),
            recorder.rows.eq(fields.rows),
            reply.record.eq(recorder.record),
        ]
        for name in ("accepted", "refused", "answer"):
            connect(m, getattr(reply, name), flipped(getattr(self, name)))

    def _walk(self, m: Module, request: Signal, step: dict[str, Signal], intake: IdIntake, answered: Value) -> None:
        """The way of a request through its states."""
        ends = {
            "IDLE": self.job.valid,
            "IDS": intake.done,
            "COUNT": ~intake.writing,
            "ANSWER": answered,
        }
        m.d.comb += self.job.ready.eq(step["IDLE"])
        with m.If(step["IDLE"]):
            m.d.sync += request.eq(self.job.payload)
        with m.FSM():
            for name, following in zip(_STEPS, (*_STEPS[1:], _STEPS[0]), strict=True):
                with m.State(name):
                    m.d.comb += step[name].eq(1)
                    with m.If(ends.get(name, 1)):
                        m.next = following
                        if name == "SECOND":
                            with m.If(request.job.list != payloads.LIST_NEW):
                                m.next = "VERDICT"

    @staticmethod
    def _judge(m: Module, request: Signal, step: dict[str, Signal], code: Signal, outside: Signal, fits: Value, blocks):
        """The code of a request: the first refusal stands, but that a plane outside comes before what its ids say."""
        fields, alone, lists, intake = blocks
        job, head = request.job, ~request.list_only
        finds = (  # step, whether something is wrong, code
            ("CAPACITY", alone, payloads.BAD_PAIR),
            ("CAPACITY", 1, fields.code),
            ("WORDS", fields.too_many, payloads.BAD_COUNT),
            ("WORDS", fields.too_long, payloads.BAD_CAPACITY),
            ("SECOND", ~lists.known & (job.list != payloads.LIST_NEW), payloads.BAD_IDS),
            ("IDS", intake.bad, payloads.BAD_IDS),
            ("COUNT", intake.count != job.num_keys, payloads.BAD_IDS),
        )
        for name, wrong, found in reversed(finds):  # of several of a step the first counts
            with m.If(step[name] & wrong & (code == payloads.OK)):
                m.d.sync += code.eq(found)
        with m.If((step["FIRST"] | step["SECOND"]) & head & ~fits):
            m.d.sync += outside.eq(1)
        with m.If(step["VERDICT"] & outside & ((code == payloads.OK) | (code == payloads.BAD_IDS))):
            m.d.sync += code.eq(payloads.BAD_WINDOW)
        with m.If(step["IDLE"]):
            m.d.sync += [code.eq(payloads.OK), outside.eq(0)]
