"""A stand-in with the ports of the accelerator and a simple made-up function, to test engines without the real top.

For query q of a job it reads word ``query_base + q // C`` of channel q mod C and gives rows
``values[i] = low bits of the word + i`` (abs_sum = the word's low bits); probability of key p: ``p + 1 + q``.
Layers are never taken. Jobs whose dimension is not served get code 1. Id lists are swallowed and counted.
"""

from amaranth.hdl import Array, Module, Signal
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

from hdl.spec.payloads import (
    LIST_NEW,
    MemoryPort,
    head_entry,
    job_descriptor,
    job_id_entry,
    job_output,
    job_probs,
    job_status,
    layer_descriptor,
    survivor,
)


class StandIn(wiring.Component):
    def __init__(self, config):
        self.config = config
        self.counters_shape = data.StructLayout({"cycles": 32, "rows": 16, "ids": 16})
        super().__init__(
            {
                "job": In(stream.Signature(job_descriptor(config))),
                "layer": In(stream.Signature(layer_descriptor(config))),
                "heads": In(stream.Signature(head_entry(config))),
                "survivor": Out(stream.Signature(survivor(config))),
                "ids": In(stream.Signature(job_id_entry(config))),
                "status": Out(stream.Signature(job_status(config))),
                "out": Out(stream.Signature(job_output(config))),
                "prob": Out(stream.Signature(job_probs(config))),
                "memory": Out(MemoryPort(config)).array(config.num_channels),
                "window_base": In(config.address_width),
                "window_limit": In(config.address_width + 1),
                "counters": Out(self.counters_shape),
                "counters_clear": In(1),
            }
        )

    def elaborate(self, platform):
        m = Module()
        config = self.config
        job = Signal(job_descriptor(config), reset_less=True)
        query, beat, key = Signal(16), Signal(8), Signal(16)
        word = Signal(config.channel_width)
        channels = config.num_channels
        channel, row = query % channels, query // channels
        dim_ok = Signal()
        left = Signal(16)
        count = Signal(8)
        m.d.sync += self.counters.cycles.eq(self.counters.cycles + 1)
        m.d.comb += [
            left.eq(job.num_keys - key),
            count.eq(config.lanes),
            self.out.payload.second.eq(query[15]),
            self.out.payload.job_id.eq(job.job_id),
            self.out.payload.head.eq(job.head),
            self.out.payload.query.eq(query),
            self.out.payload.abs_sum.eq(word),
            self.out.payload.last.eq((beat + 1) * config.norm_lanes >= job.dim),
            self.prob.payload.job_id.eq(job.job_id),
            self.prob.payload.head.eq(job.head),
            self.prob.payload.a_query.eq(query),
            self.prob.payload.start.eq(key),
            self.prob.payload.a_count.eq(count),
            self.status.payload.job_id.eq(job.job_id),
            self.status.payload.code.eq(~dim_ok),
        ]
        with m.If(left < config.lanes):
            m.d.comb += count.eq(left)
        for i in range(config.norm_lanes):
            element = beat * config.norm_lanes + i
            with m.If(element < job.dim):
                m.d.comb += self.out.payload.values[i].eq((word[:12].as_signed() + element)[:12].as_signed())
        for i in range(config.lanes):
            m.d.comb += self.prob.payload.probs[i].eq(key + i + 1 + query)
        for dim in config.dims:
            with m.If(job.dim == dim):
                m.d.comb += dim_ok.eq(1)
        requests = Array([port.request.ready for port in self.memory])
        valids = Array([port.response.valid for port in self.memory])
        words = Array([port.response.payload for port in self.memory])
        with m.FSM():
            with m.State("JOB"):
                m.d.comb += self.job.ready.eq(1)
                with m.If(self.job.valid):
                    m.d.sync += [job.eq(self.job.payload), query.eq(0)]
                    m.next = "LIST"
            with m.State("LIST"):
                m.d.comb += self.ids.ready.eq(job.list == LIST_NEW)
                with m.If(job.list != LIST_NEW):
                    m.next = "CHECK"
                with m.Elif(self.ids.valid):
                    m.d.sync += self.counters.ids.eq(self.counters.ids + 1)
                    with m.If(self.ids.payload.last):
                        m.next = "CHECK"
            with m.State("CHECK"):
                m.next = "STATUS"
                with m.If(dim_ok):
                    m.next = "REQUEST"
            with m.State("REQUEST"):
                for index, port in enumerate(self.memory):
                    m.d.comb += port.request.valid.eq(channel == index)
                    m.d.comb += port.request.payload.eq(job.query_base + row)
                with m.If(requests[channel]):
                    m.next = "RESPONSE"
            with m.State("RESPONSE"):
                for index, port in enumerate(self.memory):
                    m.d.comb += port.response.ready.eq(channel == index)
                with m.If(valids[channel]):
                    m.d.sync += [word.eq(words[channel]), beat.eq(0), key.eq(0)]
                    m.next = "OUT"
            with m.State("OUT"):
                m.d.comb += self.out.valid.eq(1)
                with m.If(self.out.ready):
                    m.d.sync += beat.eq(beat + 1)
                    with m.If(self.out.payload.last):
                        m.next = "PROB"
            with m.State("PROB"):
                m.d.comb += self.prob.valid.eq(1)
                with m.If(self.prob.ready):
                    m.d.sync += key.eq(key + config.lanes)
                    with m.If(left <= config.lanes):
                        m.d.sync += [query.eq(query + 1), self.counters.rows.eq(self.counters.rows + 1)]
                        m.next = "REQUEST"
                        with m.If(query == job.num_queries - 1):
                            m.next = "STATUS"
            with m.State("STATUS"):
                m.d.comb += self.status.valid.eq(1)
                with m.If(self.status.ready):
                    m.next = "JOB"
        with m.If(self.counters_clear):
            m.d.sync += self.counters.eq(0)
        return m
