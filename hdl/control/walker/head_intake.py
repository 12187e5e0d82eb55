"""Holds the next head of a layer, and compares it with those before it."""

from __future__ import annotations

from amaranth.hdl import Module, Mux, Signal
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out

from hdl.spec import payloads
from hdl.spec.config import Config
from hdl.spec.widths import GROUP_FIELD_WIDTH

__all__ = ["HeadIntake"]


class HeadIntake(wiring.Component):
    """A register for the next head, and flip-flops for what decides on it.

    The head is compared with the one before it in its layer (the first of a layer with K/V head 0). As long as nothing
    is wrong that one is of the group under way; afterwards the comparisons do not matter. ``opens``, ``good`` and
    ``waits`` follow ``weigh`` by a cycle. A head every two cycles: ``weigh``, then ``take``.

    Members
    -------
    heads : In(stream.Signature(head_entry(config)))
    weigh : In(1)                 judge the head in the register with the three inputs below
    group : In(GROUP_FIELD_WIDTH) heads of the group under way; 0: there is none
    final : In(1)                 the next good head is the last of those announced
    fine : In(1)                  nothing is wrong with the layer so far
    take : In(1)                  the head in the register goes
    held : Out(1)                 there is one
    head : Out(head_entry(config))
    opens : Out(1)                it is the first of its group
    good : Out(1)                 it is right, and so is all before it
    waits : Out(1)                it is right, but the group before it has not been sent
    """

    def __init__(self, config: Config):
        self.config = config
        super().__init__(
            {
                "heads": In(stream.Signature(payloads.head_entry(config))),
                "weigh": In(1),
                "group": In(GROUP_FIELD_WIDTH),
                "final": In(1),
                "fine": In(1),
                "take": In(1),
                "held": Out(1),
                "head": Out(payloads.head_entry(config)),
                "opens": Out(1),
                "good": Out(1),
                "waits": Out(1),
            }
        )

    def elaborate(self, platform):
        m = Module()
        head, held = Signal(self.head.shape(), reset_less=True), Signal()
        falls, same = Signal(reset_less=True), Signal(reset_less=True)  # K/V head: less than, equal to the one before
        opens_layer = Signal(init=1)  # the head in the register is the last of its layer, or there was none yet
        entry, before = self.heads.payload, Mux(opens_layer, 0, head.kv_head)
        m.d.comb += [self.heads.ready.eq(~held | self.take), self.held.eq(held), self.head.eq(head)]
        with m.If(self.heads.ready):
            m.d.sync += held.eq(self.heads.valid)
        with m.If(self.heads.valid & self.heads.ready):
            m.d.sync += [
                head.eq(entry),
                falls.eq(entry.kv_head < before),
                same.eq(entry.kv_head == before),
                opens_layer.eq(entry.last),
            ]
        opens = (self.group == 0) | ~same
        bad = falls | (~opens & (self.group == self.config.max_group)) | (head.last != self.final)
        with m.If(self.weigh):
            m.d.sync += [
                self.opens.eq(opens),
                self.good.eq(self.fine & ~bad),
                self.waits.eq(self.fine & ~bad & opens & (self.group != 0)),
            ]
        return m
