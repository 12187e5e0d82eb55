"""Checks that the second job of a pair follows the first, and is its partner."""

from __future__ import annotations

from amaranth.hdl import Cat, Module, Mux, Signal
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In, Out

from hdl.spec import payloads
from hdl.spec.config import Config

__all__ = ["PairCheck"]

_FIELDS = ("dim", "num_keys", "num_rows", "key_bits", "key_lsb_bits", "skew", "key_base", "list")
"""Fields in which the jobs of a pair are equal (but that the first may bring the list)."""


class PairCheck(wiring.Component):
    """Whether a job breaks a pair: it cannot be part of one, or is not the one that an open pair waits for.

    A pair is open from when its first job is taken until its second is. Latency 1 from ``compare``; a job every two
    cycles.

    Members
    -------
    request : In(job_request(config))    steady from ``compare`` to ``taken``
    compare : In(1)               pulse: a new request
    taken : In(1)                 pulse: the request was accepted
    bad : Out(1)                  after ``compare``: it breaks a pair
    """

    def __init__(self, config: Config):
        self.config = config
        super().__init__(
            {
                "request": In(payloads.job_request(config)),
                "compare": In(1),
                "taken": In(1),
                "bad": Out(1),
            }
        )

    def elaborate(self, platform):
        m = Module()
        config, request, job = self.config, self.request, self.request.job
        fields = {name: job.shape().members[name] for name in _FIELDS}
        first = Signal(data.StructLayout(fields), reset_less=True)  # what the second job must have
        waits = Signal()  # the first job of a pair has been accepted, the second has not
        same, able = Signal(reset_less=True), Signal(reset_less=True)
        dims = [dim for dim in config.dims if dim % config.lane_width == 0 and 2 * dim <= config.max_dim]
        with m.If(self.compare):
            m.d.sync += [
                same.eq(Cat(first[name] == job[name] for name in _FIELDS).all()),
                able.eq(~request.layer & job.generation & (Cat(job.dim == dim for dim in dims).any() if dims else 0)),
            ]
        m.d.comb += self.bad.eq(
            Mux(waits, ~(able & same & (job.pair == 2)), (job.pair != 0) & ~(able & (job.pair == 1)))
        )
        with m.If(self.taken):
            m.d.sync += waits.eq(job.pair == 1)
            with m.If(job.pair == 1):
                m.d.sync += [first[name].eq(job[name]) for name in _FIELDS if name != "list"]
                listed = Mux(job.list == payloads.LIST_DENSE, payloads.LIST_DENSE, payloads.LIST_PREVIOUS)
                m.d.sync += first.list.eq(listed)
        return m
