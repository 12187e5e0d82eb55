"""The jobs in flight."""

from __future__ import annotations

from amaranth.hdl import Cat, Module, Signal
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out

from hdl.spec import payloads
from hdl.spec.config import Config

__all__ = ["ContextTable"]


class ContextTable(wiring.Component):
    """Keeps the records of up to ``config.contexts`` jobs: a new job takes the next context, and the oldest ends first.

    Between two jobs a context is free for two cycles at least, in which every block clears what it knows of the first.
    Latency 1 from ``job`` to ``record``, initiation interval 2.

    Members
    -------
    job : In(stream.Signature(job_record))
    end : In(1)                                     the oldest job ends
    oldest : Out(n)                                 context of the oldest job
    record : Out(job_record).array(contexts)        of the job in the context, or of the last one
    valid : Out(contexts)                           a job is in the context
    accumulate : Out(contexts)                      it adds to the importance of tokens and heads
    list_free : Out(2)                              this id list, and the importance of tokens, may be written, as of
                                                    the cycle before
    active : Out(1)                                 a job is in flight
    """

    def __init__(self, config: Config):
        self.config = config
        super().__init__(
            {
                "job": In(stream.Signature(payloads.job_record(config))),
                "end": In(1),
                "oldest": Out(config.context_width),
                "record": Out(payloads.job_record(config)).array(config.contexts),
                "valid": Out(config.contexts),
                "accumulate": Out(config.contexts),
                "list_free": Out(2),
                "active": Out(1),
            }
        )

    def elaborate(self, platform):
        m = Module()
        tail, room = Signal(self.config.context_width), Signal()  # next context, which is free
        m.d.comb += self.job.ready.eq(room)
        m.d.sync += room.eq(~self.valid.bit_select(tail, 1))
        with m.If(self.job.valid & self.job.ready):
            m.d.sync += [tail.eq(tail + 1), room.eq(0)]
            for index, record in enumerate(self.record):
                with m.If(tail == index):
                    m.d.sync += [record.eq(self.job.payload), self.valid[index].eq(1)]
        with m.If(self.end):
            m.d.sync += [self.oldest.eq(self.oldest + 1), self.valid.bit_select(self.oldest, 1).eq(0)]
        for index in range(2):
            uses = Cat(
                valid & record.listed & (record.list == index)
                for valid, record in zip(self.valid, self.record, strict=True)
            )
            m.d.sync += self.list_free[index].eq(~uses.any() & ~self.accumulate.any())
        m.d.comb += [
            self.accumulate.eq(self.valid & Cat(record.accumulate for record in self.record)),
            self.active.eq(self.valid.any()),
        ]
        return m
