"""Answers of jobs and layers to the host."""

from __future__ import annotations

from amaranth.hdl import Const, Module
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out

from hdl.spec import payloads
from hdl.spec.config import Config
from hdl.stream.stream_queue import StreamQueue

__all__ = ["StatusMerge"]


class StatusMerge(wiring.Component):
    """Makes one stream of the answers. Refusals go first, then layers: they are rare, and a completed job can wait.

    Latency that of a :class:`StreamQueue`, initiation interval 1.

    Members
    -------
    refused, layer, job : In(stream.Signature(job_status))    in the order of their priority
    o : Out(stream.Signature(job_status))
    """

    def __init__(self, config: Config):
        self.config = config
        status = stream.Signature(payloads.job_status(config))
        super().__init__({"refused": In(status), "layer": In(status), "job": In(status), "o": Out(status)})

    def elaborate(self, platform):
        m = Module()
        m.submodules.queue = queue = StreamQueue(payloads.job_status(self.config), depth=4)
        earlier = Const(0)
        for source in (self.refused, self.layer, self.job):
            with m.If(source.valid & ~earlier):
                m.d.comb += [queue.i.valid.eq(1), queue.i.payload.eq(source.payload), source.ready.eq(queue.i.ready)]
            earlier = earlier | source.valid
        wiring.connect(m, queue.o, wiring.flipped(self.o))
        return m
