"""Checks that a job that goes on with the sums of the job before it may do so."""

from __future__ import annotations

from amaranth.hdl import Cat, Module, Mux, Signal
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In, Out

from hdl.spec import payloads
from hdl.spec.config import Config
from hdl.spec.numerics import CHAIN_KEYS
from hdl.spec.widths import FIELD_WIDTH, GROUP_FIELD_WIDTH, bits_for_count

__all__ = ["ChainCheck"]

_FIELDS = ("dim", "num_queries", "group", "value_bits")
"""Fields in which the jobs of a chain are equal."""


class ChainCheck(wiring.Component):
    """Whether a job breaks a chain: it cannot be part of one, or is not the one that an open chain waits for.

    A chain is open from when a job with ``more`` is taken until one without is. All its jobs have the same rows and no
    LSB plane, count for no importance, and attend at most ``CHAIN_KEYS`` keys together. Latency 1 from ``compare``, as
    ``rows``; a job every two cycles.

    Members
    -------
    request : In(job_request(config))    steady from ``compare`` to ``taken``
    compare : In(1)               pulse: a new request
    rows : In(n)                  after ``compare``: rows of all its query heads
    taken : In(1)                 pulse: the request was accepted
    bad : Out(1)                  after ``compare``: it breaks a chain
    """

    def __init__(self, config: Config):
        self.config = config
        super().__init__(
            {
                "request": In(payloads.job_request(config)),
                "compare": In(1),
                "rows": In(FIELD_WIDTH + GROUP_FIELD_WIDTH),
                "taken": In(1),
                "bad": Out(1),
            }
        )

    def elaborate(self, platform):
        m = Module()
        request, job = self.request, self.request.job
        fields = {name: job.shape().members[name] for name in _FIELDS}
        first = Signal(data.StructLayout(fields), reset_less=True)  # what the jobs that follow must have
        waits = Signal()  # a job with ``more`` has been accepted, the next has not
        keys = Signal(bits_for_count(CHAIN_KEYS), reset_less=True)  # of the chain so far
        total = Signal(range(CHAIN_KEYS + (1 << FIELD_WIDTH)), reset_less=True)
        same, able, chained = Signal(reset_less=True), Signal(reset_less=True), job.joins | job.more
        with m.If(self.compare):
            m.d.sync += [
                total.eq(Mux(waits, keys, 0) + job.num_keys),
                same.eq(Cat(first[name] == job[name] for name in _FIELDS).all()),
                able.eq(
                    ~request.layer & ~request.list_only & (job.pair == 0) & (job.key_lsb_bits == 0) & ~job.accumulate
                ),
            ]
        fits = able & (self.rows <= self.config.chain_rows) & (total <= CHAIN_KEYS)
        m.d.comb += self.bad.eq(Mux(waits, ~(fits & same & job.joins), chained & (job.joins | ~fits)))
        with m.If(self.taken):
            m.d.sync += [waits.eq(job.more), keys.eq(total)]
            m.d.sync += [first[name].eq(job[name]) for name in _FIELDS]
        return m
