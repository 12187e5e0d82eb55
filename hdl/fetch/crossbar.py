"""Slices from the channels to the banks."""

from __future__ import annotations

from amaranth.hdl import Array, Cat, Module, Mux, Signal, Value
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

from hdl.fetch.fetch_layouts import kind_of, slice_tag, word_slice
from hdl.spec.config import Config
from hdl.spec.payloads import KEY, KEY_LSB, QUERY, VALUE
from hdl.stream.stream_queue import StreamQueue

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
        later = Signal(self.count)  # those after the last granted one
        first = Signal(self.count)
        m.d.comb += [
            first.eq(Mux((self.requests & later).any(), self.requests & later, self.requests)),
            self.grant.eq(first & (~first + 1)),
        ]
        with m.If(self.grant.any()):
            # All bits above the granted one.
            m.d.sync += later.eq(~(self.grant | (self.grant - 1)))
        for i in range(len(self.index)):
            m.d.comb += self.index[i].eq(Cat(self.grant[k] for k in range(self.count) if k >> i & 1).any())
        return m


class SliceCrossbar(wiring.Component):
    """Move slices from the channels' queues to their targets, up to one a cycle into each (paper section IV-B).

    A slice of slot s goes to bank s mod key_banks of the K buffer or s mod lanes of the V buffer, a slice of a Q row to
    ``query``; among several channels the turn goes round robin. With more than one channel each has two queues, of the
    slices for even banks and of those for odd banks (with Q), so that one that waits holds up only half of the banks.
    Slices of a channel for the same target keep their order. A load's end mark passes through all queues of its channel
    and goes nowhere. The targets cannot stall. Latency 1, 3 with queues.

    ``heads`` shows how far each queue has come: the oldest slice in it, or if it is empty the one that its channel
    offers, which may go to the other queue. All slices before it of that queue are written or are being written.

    Members
    -------
    channels : In(stream.Signature(word_slice)).array(num_channels)
    keys : Out(stream.Signature(word_slice, always_ready=True)).array(key_banks)    by bank
    values : Out(stream.Signature(word_slice, always_ready=True)).array(lanes)    by bank
    query : Out(stream.Signature(word_slice, always_ready=True))
    heads : Out(stream.Signature(struct, always_ready=True)).array(num_heads)
        ``tag`` of that slice, and whether it is ``accepted``: leaves its queue in this cycle; an end mark does once
    """

    def __init__(self, config: Config):
        self.config = config
        shape = word_slice(config, slice_tag(config))
        target = Out(stream.Signature(shape, always_ready=True))
        watched = data.StructLayout({"tag": slice_tag(config), "accepted": 1})
        super().__init__(
            {
                "channels": In(stream.Signature(shape)).array(config.num_channels),
                "keys": target.array(config.key_banks),
                "values": target.array(config.lanes),
                "query": target,
                "heads": Out(stream.Signature(watched, always_ready=True)).array(self.num_heads(config)),
            }
        )

    @staticmethod
    def num_groups(config: Config) -> int:
        """Queues of a channel."""
        return 2 if config.num_channels > 1 and config.key_banks > 1 else 1

    @staticmethod
    def num_heads(config: Config) -> int:
        return SliceCrossbar.num_groups(config) * config.num_channels

    @staticmethod
    def latency(config: Config) -> int:
        return 1 if SliceCrossbar.num_groups(config) == 1 else 3

    def elaborate(self, platform):
        m = Module()
        config = self.config
        groups = self.num_groups(config)
        sources = [self.split(m, c) if groups > 1 else [channel] for c, channel in enumerate(self.channels)]
        taken = [[source.payload.tag.end for source in queues] for queues in sources]
        targets = [(f"key_{b}", port, KEY, b) for b, port in enumerate(self.keys)]
        targets += [(f"value_{b}", port, VALUE, b) for b, port in enumerate(self.values)]
        targets.append(("query", self.query, QUERY, 0))
        for name, target, kind, bank in targets:
            group = bank % groups
            m.submodules[f"arbiter_{name}"] = arbiter = RoundRobin(config.num_channels)
            for c, queues in enumerate(sources):
                source = queues[group]
                wanted = self.wanted(source.payload.tag, kind, bank)
                m.d.comb += arbiter.requests[c].eq(source.valid & ~source.payload.tag.end & wanted)
                taken[c][group] = taken[c][group] | arbiter.grant[c]
            m.d.sync += target.valid.eq(arbiter.grant.any())
            # The targets of a single channel can share one register if it is loaded for all of them.
            with m.If(arbiter.grant.any() if config.num_channels > 1 else self.channels[0].valid):
                payloads = Array(Value.cast(queues[group].payload) for queues in sources)
                m.d.sync += Value.cast(target.payload).eq(payloads[arbiter.index])
        for queues, readies in zip(sources, taken, strict=True):
            for source, ready in zip(queues, readies, strict=True):
                m.d.comb += source.ready.eq(ready)
        if groups == 1:
            for channel, head in zip(self.channels, self.heads, strict=True):
                self.show(m, head, channel)
        return m

    def split(self, m, c):
        """The queues of a channel."""
        config = self.config
        channel = self.channels[c]
        tag = channel.payload.tag
        groups = self.num_groups(config)
        queues = []
        for group in range(groups):
            queue = StreamQueue(channel.payload.shape(), depth=max(3, config.slice_queue // groups))
            m.submodules[f"queue_{c}_{group}"] = queue
            queues.append(queue)
        room = Cat(queue.i.ready for queue in queues)
        group = Signal(name=f"group_{c}")
        m.d.comb += [
            group.eq(Mux(self.is_kind(tag, QUERY) | ((config.lanes == 1) & self.is_kind(tag, VALUE)), 0, tag.slot[0])),
            channel.ready.eq(Mux(tag.end, room.all(), room.bit_select(group, 1))),
        ]
        for i, queue in enumerate(queues):
            head = self.heads[groups * c + i]
            m.d.comb += [
                queue.i.payload.eq(channel.payload),
                queue.i.valid.eq(channel.valid & Mux(tag.end, room.all(), group == i)),
            ]
            with m.If(queue.level == 0):
                m.d.comb += [head.valid.eq(channel.valid), head.payload.tag.eq(tag)]
            with m.Else():
                self.show(m, head, queue.o)
        return [queue.o for queue in queues]

    def show(self, m, head, source):
        m.d.comb += [
            head.valid.eq(source.valid),
            head.payload.tag.eq(source.payload.tag),
            head.payload.accepted.eq(source.valid & source.ready),
        ]

    def wanted(self, tag, kind, bank):
        """Whether a slice goes to this target."""
        if kind == QUERY:
            return self.is_kind(tag, QUERY)
        banks = self.config.key_banks if kind == KEY else self.config.lanes
        return self.is_kind(tag, kind) & (tag.slot[: banks.bit_length() - 1] == bank)

    def is_kind(self, tag, kind):
        """KEY means KEY_LSB too."""
        kinds = (KEY, KEY_LSB) if kind == KEY else (kind,)
        return Cat(kind_of(tag.load) == k for k in kinds).any()
