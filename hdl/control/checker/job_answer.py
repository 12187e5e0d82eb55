"""Gives the answer to a request to whom it concerns."""

from __future__ import annotations

from amaranth.hdl import Module, Signal
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out

from hdl.spec import payloads
from hdl.spec.config import Config
from hdl.spec.widths import CODE_WIDTH

__all__ = ["JobAnswer"]


class JobAnswer(wiring.Component):
    """A request leaves as a record, as a refusal to the host, or as an answer to the layer walker.

    A flip-flop for each, so that those who wait for one do not wait for its reason. The answer stands from the cycle
    after ``judge`` until it is taken.

    Members
    -------
    request : In(job_request(config))    steady until ``answered``
    record : In(job_record(config))      of it
    judge : In(1)                 pulse: the verdict is there
    good : In(1)                  with ``judge``: nothing is wrong with the request
    code : In(CODE_WIDTH)         what is, from the cycle after ``judge`` on
    accepted : Out(stream.Signature(job_record(config)))
    refused : Out(stream.Signature(job_status(config)))    of the host's jobs
    answer : Out(stream.Signature(job_status(config), always_ready=True))    list_only requests, and the layer
                                  walker's jobs that are refused
    answered : Out(1)             pulse: the answer leaves
    taken : Out(1)                pulse: and the request was good
    """

    def __init__(self, config: Config):
        self.config = config
        super().__init__(
            {
                "request": In(payloads.job_request(config)),
                "record": In(payloads.job_record(config)),
                "judge": In(1),
                "good": In(1),
                "code": In(CODE_WIDTH),
                "accepted": Out(stream.Signature(payloads.job_record(config))),
                "refused": Out(stream.Signature(payloads.job_status(config))),
                "answer": Out(stream.Signature(payloads.job_status(config), always_ready=True)),
                "answered": Out(1),
                "taken": Out(1),
            }
        )

    def elaborate(self, platform):
        m = Module()
        request = self.request
        takes, accepts, refuses, replies = (Signal(name=name) for name in ("takes", "accepts", "refuses", "replies"))
        accepted = accepts & self.accepted.ready
        m.d.comb += [
            self.accepted.valid.eq(accepts),
            self.accepted.payload.eq(self.record),
            self.refused.valid.eq(refuses),
            self.answer.valid.eq(replies),
            self.answered.eq(replies | accepted | (refuses & self.refused.ready)),
            # Whoever takes refusals lies far away: what is taken does not wait for him.
            self.taken.eq(takes & (replies | accepted)),
        ]
        for answer in (self.refused, self.answer):
            m.d.comb += [answer.payload.job_id.eq(request.job.job_id), answer.payload.code.eq(self.code)]
        head = self.good & ~request.list_only
        with m.If(self.judge):
            m.d.sync += [
                takes.eq(self.good),
                accepts.eq(head),
                replies.eq(request.layer & ~head),
                refuses.eq(~request.layer & ~head),
            ]
        with m.If(self.answered):
            m.d.sync += [flag.eq(0) for flag in (accepts, replies, refuses)]
        return m
