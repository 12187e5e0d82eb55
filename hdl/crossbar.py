"""Slices from the channels to the banks."""

from __future__ import annotations

from amaranth.hdl import Array, Cat, Module, Mux, Signal, Value
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out

from hdl.config import Config
from hdl.fetch_layouts import NUM_BUFFER_LOADS, slice_tag, word_slice
from hdl.layouts import VALUE

__all__ = ["RoundRobin", "SliceCrossbar"]


class RoundRobin(wiring.Component):
    """Grant one of the requests in the same cycle; who was granted last comes last.

    Members
    -------
    requests : In(n)
    grant : Out(n)         one-hot, 0 if there is no request
    index : Out(log2 n)    of the grant
    """

    def __init__(self, count: int):
        self.count = count
        super().__init__({"requests": In(count), "grant": Out(count), "index": Out(range(max(2, count)))})

    def elaborate(self, platform):
        m = Module()
        behind = Signal(self.count)  # those behind the last granted one
        first = Signal(self.count)
        m.d.comb += [
            first.eq(Mux((self.requests & behind).any(), self.requests & behind, self.requests)),
            self.grant.eq(first & (~first + 1)),
        ]
        with m.If(self.grant.any()):
            # All bits above the granted one.
            m.d.sync += behind.eq(~(self.grant | (self.grant - 1)))
        for i in range(len(self.index)):
            m.d.comb += self.index[i].eq(Cat(self.grant[k] for k in range(self.count) if k >> i & 1).any())
        return m


class SliceCrossbar(wiring.Component):
    """Move slices from the channels' queues to their targets, up to one a cycle into each (paper section IV-B).

    A slice of slot s goes to bank s mod lanes of the K or of the V buffer, a slice of a Q row to ``query``; among
    several channels the turn goes round robin. Only the first slice of each channel is looked at. A load's end mark
    is taken at once and goes nowhere. The targets cannot stall. Latency 1.

    Members
    -------
    channels : In(stream.Signature(word_slice)).array(num_channels)
    keys, values : Out(stream.Signature(word_slice, always_ready=True)).array(lanes)    by bank
    query : Out(stream.Signature(word_slice, always_ready=True))
    """

    LATENCY = 1

    def __init__(self, config: Config):
        self.config = config
        shape = word_slice(config, slice_tag(config))
        target = Out(stream.Signature(shape, always_ready=True))
        super().__init__(
            {
                "channels": In(stream.Signature(shape)).array(config.num_channels),
                "keys": target.array(config.lanes),
                "values": target.array(config.lanes),
                "query": target,
            }
        )

    def elaborate(self, platform):
        m = Module()
        config = self.config
        log_lanes = config.lanes.bit_length() - 1
        tags = [channel.payload.tag for channel in self.channels]
        payloads = Array(Value.cast(channel.payload) for channel in self.channels)
        taken = [channel.payload.tag.end for channel in self.channels]
        targets = [(f"key_{b}", port) for b, port in enumerate(self.keys)]
        targets += [(f"value_{b}", port) for b, port in enumerate(self.values)]
        targets.append(("query", self.query))
        wanted = [self.wanted(tag, log_lanes) for tag in tags]
        for t, (name, target) in enumerate(targets):
            m.submodules[f"arbiter_{name}"] = arbiter = RoundRobin(config.num_channels)
            for c, (channel, tag) in enumerate(zip(self.channels, tags, strict=True)):
                m.d.comb += arbiter.requests[c].eq(channel.valid & ~tag.end & wanted[c][t])
                taken[c] = taken[c] | arbiter.grant[c]
            m.d.sync += target.valid.eq(arbiter.grant.any())
            # The targets of a single channel can share one register if it is loaded for all of them.
            with m.If(arbiter.grant.any() if config.num_channels > 1 else self.channels[0].valid):
                m.d.sync += Value.cast(target.payload).eq(payloads[arbiter.index])
        for channel, ready in zip(self.channels, taken, strict=True):
            m.d.comb += channel.ready.eq(ready)
        return m

    def wanted(self, tag, log_lanes):
        """Whether a slice goes to each of the targets."""
        is_query = tag.load >= NUM_BUFFER_LOADS
        is_value = ~is_query & (tag.load[1:] == VALUE)
        is_key = ~is_query & (tag.load[1:] != VALUE)
        bank = [tag.slot[:log_lanes] == b for b in range(self.config.lanes)]
        return [*(is_key & mine for mine in bank), *(is_value & mine for mine in bank), is_query]
