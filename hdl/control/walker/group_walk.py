"""Puts the heads of a layer together to groups, one for each K/V head that a surviving query head uses."""

from __future__ import annotations

from amaranth.hdl import Module, Signal
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out, connect, flipped

from hdl.cascade.head_importance import head_slot
from hdl.control.walker.base_walk import BaseWalk
from hdl.control.walker.head_intake import HeadIntake
from hdl.spec import numerics as N
from hdl.spec import payloads
from hdl.spec.config import Config
from hdl.spec.planes import PLANES
from hdl.spec.widths import CODE_WIDTH, GROUP_FIELD_WIDTH, HEAD_FIELD_WIDTH, SKEW_FIELD_WIDTH

__all__ = ["GroupWalk", "head_group"]


def head_group(config: Config) -> data.StructLayout:
    """What the job of a group has of its own: the other fields are the layer's."""
    return data.StructLayout(
        {
            "group": GROUP_FIELD_WIDTH,  # query heads
            "head": HEAD_FIELD_WIDTH,  # rank of the first of them
            "scale": N.SCALE_WIDTH,
            "shift": N.SHIFT_WIDTH,
            "skew": SKEW_FIELD_WIDTH,
            **{f"{name}_base": config.address_width for name in PLANES},
        }
    )


class GroupWalk(wiring.Component):
    """Read the heads of a layer up to ``last``; hand out each complete group, while nothing is wrong.

    Heads are wrong if a K/V head is less than the one before it, a group is too large, or they are not as many as
    announced; then no more leave. A group waits until the bases of its planes are there. 6 cycles a group, 2 more
    for each further head, and one for each K/V head passed over.

    Members
    -------
    heads : In(stream.Signature(head_entry(config)))
    layer : In(layer_descriptor(config))    taken with ``load``
    load : In(1)                  no layer is under way
    start : In(1)                 pulse: read its heads, of which there are some
    fine : In(1)                  nothing is wrong with the layer so far; low from the cycle after ``fail`` on
    fail : Out(1)                 pulse: something is
    code : Out(CODE_WIDTH)        what, with ``fail``
    head_entry : Out(stream.Signature(head_slot(config), always_ready=True))    each head that is right
    group : Out(stream.Signature(head_group(config)))
    done : Out(1)                 pulse: the last head was read, and its group has left or never will
    """

    def __init__(self, config: Config):
        self.config = config
        super().__init__(
            {
                "heads": In(stream.Signature(payloads.head_entry(config))),
                "layer": In(payloads.layer_descriptor(config)),
                "load": In(1),
                "start": In(1),
                "fine": In(1),
                "fail": Out(1),
                "code": Out(CODE_WIDTH),
                "head_entry": Out(stream.Signature(head_slot(config), always_ready=True)),
                "group": Out(stream.Signature(head_group(config))),
                "done": Out(1),
            }
        )

    def elaborate(self, platform):
        m = Module()
        m.submodules.intake = intake = HeadIntake(self.config)
        m.submodules.bases = bases = BaseWalk(self.config)
        self._connect(m, intake, bases)
        group = Signal(head_group(self.config), reset_less=True)  # but for its places, which ``bases`` has
        rank = Signal(self.config.head_width)  # of the next head
        kv_head = Signal(HEAD_FIELD_WIDTH)  # of the group
        ended = Signal()  # the last head was read
        with m.FSM() as fsm:
            with m.State("IDLE"):
                with m.If(self.start):
                    m.d.sync += group.group.eq(0)
                    m.next = "HEAD"
            with m.State("HEAD"):
                with m.If(intake.held):
                    m.next = "TAKE"
            with m.State("TAKE"):
                self._take(m, intake, group, rank, kv_head, ended)
            with m.State("BASES"):
                self._await_bases(m, bases, ended)
            with m.State("GROUP"):
                m.d.comb += self.group.valid.eq(1)
                with m.If(self.group.ready):
                    m.d.sync += group.group.eq(0)
                    self._go_on(m, ended)
        m.d.comb += [
            intake.weigh.eq(fsm.ongoing("HEAD")),
            intake.group.eq(group.group),
            bases.kv_head.eq(kv_head),
        ]
        m.d.comb += [self.group.payload[name].eq(group[name]) for name in ("group", "head", "scale", "shift")]
        self._count(m, intake, rank)
        with m.If(self.load):
            m.d.sync += [rank.eq(0), kv_head.eq(0), ended.eq(0)]
        return m

    def _connect(self, m: Module, intake: HeadIntake, bases: BaseWalk) -> None:
        connect(m, flipped(self.heads), intake.heads)
        m.d.comb += [
            intake.fine.eq(self.fine),
            bases.layer.eq(self.layer),
            bases.load.eq(self.load),
            self.group.payload.skew.eq(bases.skew),
            *(self.group.payload[f"{name}_base"].eq(bases.bases[name]) for name in PLANES),
        ]

    def _count(self, m: Module, intake: HeadIntake, rank: Signal) -> None:
        """Every good head to the table; whether the next one is the last of those announced, in a flip-flop."""
        slot = self.head_entry.payload
        m.d.sync += [self.head_entry.valid.eq(intake.take & intake.good), slot.rank.eq(rank)]
        m.d.sync += [slot[name].eq(intake.head[name]) for name in ("head", "weight", "importance")]
        final, announced = Signal(), Signal(HEAD_FIELD_WIDTH, reset_less=True)
        m.d.comb += intake.final.eq(final)
        with m.If(self.load):
            m.d.sync += [announced.eq(self.layer.num_heads), final.eq(self.layer.num_heads == 1)]
        with m.Elif(intake.take & intake.good):
            m.d.sync += final.eq(rank + 2 == announced)

    def _take(self, m: Module, intake: HeadIntake, group, rank: Signal, kv_head: Signal, ended: Signal) -> None:
        """Adds a head to the group, or leaves it where it is until the group before has been sent."""
        entry = intake.head
        m.d.comb += intake.take.eq(~intake.waits)
        with m.If(intake.waits):
            m.next = "BASES"
        with m.Else():
            m.d.sync += ended.eq(entry.last)
            m.next = "HEAD"
            with m.If(intake.good):
                m.d.sync += [rank.eq(rank + 1), kv_head.eq(entry.kv_head), group.group.eq(group.group + 1)]
                with m.If(intake.opens):
                    m.d.sync += [group.head.eq(rank), group.scale.eq(entry.scale), group.shift.eq(entry.shift)]
                with m.If(entry.last):
                    m.next = "BASES"
            with m.Else():
                m.d.comb += [self.fail.eq(1), self.code.eq(payloads.BAD_HEADS)]
                with m.If(entry.last):
                    m.d.comb += self.done.eq(1)
                    m.next = "IDLE"

    def _await_bases(self, m: Module, bases: BaseWalk, ended: Signal) -> None:
        """The complete group is sent when the bases have arrived, unless a job was refused meanwhile."""
        with m.If(~self.fine):
            self._go_on(m, ended)
        with m.Elif(bases.arrived):
            m.next = "GROUP"
            with m.If(bases.wrapped):
                m.d.comb += [self.fail.eq(1), self.code.eq(payloads.BAD_WINDOW)]
                self._go_on(m, ended)

    def _go_on(self, m: Module, ended: Signal) -> None:
        m.next = "HEAD"
        with m.If(ended):
            m.d.comb += self.done.eq(1)
            m.next = "IDLE"
