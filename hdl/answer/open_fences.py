"""FENCE commands that are open, and what they wait for."""

from __future__ import annotations

from amaranth.hdl import Cat, Module, Mux, Signal
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

from hdl.command.open_commands import ENTRY_WIDTH, closed_command
from hdl.spec.widths import bits_for_count

__all__ = ["FENCES", "OpenFences"]

FENCES = 4
"""FENCE commands that can be open at a time."""


def _fence(entries: int) -> data.StructLayout:
    return data.StructLayout(
        {
            "open": 1,
            "closed": 1,
            "answer": closed_command(),
            "ahead": entries,  # commands of its queue that were open before it, and are
        }
    )


class OpenFences(wiring.Component):
    """Lets every FENCE wait until all commands of its queue that were open before it are released.

    Members
    -------
    opened, fence : In(1)      a command begins, and is a FENCE; not when ``FENCES`` are open
    entry : In(ENTRY_WIDTH), queue : In(n)    its number, and queue
    closed : In(stream.Signature(closed_command, always_ready=True))    after ``opened`` of the command
    mine : Out(1)              what is closed now is a FENCE, and will be due
    release : In(stream.Signature(ENTRY_WIDTH, always_ready=True))
    open : Out(entries)        a bit by number: commands that are open
    waiting : Out(n)           FENCEs that are open and not answered
    due : Out(1), answer : Out(closed_command)    one that may be answered now
    told : In(1)               it is taken; not without ``due``
    """

    def __init__(self, *, queues: int, entries: int):
        self.queues, self.entries = queues, entries
        super().__init__(
            {
                **dict.fromkeys(("opened", "fence", "told"), In(1)),
                "entry": In(ENTRY_WIDTH),
                "queue": In(bits_for_count(queues - 1)),
                "closed": In(stream.Signature(closed_command(), always_ready=True)),
                "release": In(stream.Signature(ENTRY_WIDTH, always_ready=True)),
                **dict.fromkeys(("mine", "due"), Out(1)),
                "open": Out(entries),
                "waiting": Out(bits_for_count(FENCES)),
                "answer": Out(closed_command()),
            }
        )

    def elaborate(self, platform):
        m = Module()
        shape, width = _fence(self.entries), bits_for_count(self.entries - 1)
        of = [Signal(self.entries, name=f"of_{index}") for index in range(self.queues)]  # open commands of a queue
        fences = [Signal(shape, name=f"fence_{index}") for index in range(FENCES)]
        m.d.comb += self.open.eq(_any(of))
        for index, mask in enumerate(of):
            with m.If(self.opened & (self.queue == index)):
                m.d.sync += mask.bit_select(self.entry[:width], 1).eq(1)
        self._open(m, fences, of)
        self._close(m, fences)
        self._answer(m, fences)
        with m.If(self.release.valid):
            masks = (*of, *(fence.ahead for fence in fences))
            m.d.sync += [mask.bit_select(self.release.payload[:width], 1).eq(0) for mask in masks]
        begins = self.opened & self.fence
        m.d.sync += self.waiting.eq(self.waiting + begins - self.told)
        return m

    def _open(self, m, fences, of):
        """A FENCE goes to the first free place."""
        ahead = _any(Mux(self.queue == index, mask, 0) for index, mask in enumerate(of))
        before = self.opened & self.fence
        for fence in fences:
            with m.If(before & ~fence.open):
                m.d.sync += [
                    fence.open.eq(1),
                    fence.closed.eq(0),
                    fence.answer.entry.eq(self.entry),
                    fence.ahead.eq(ahead),
                ]
            before = before & fence.open

    def _close(self, m, fences):
        closed, hits = self.closed.payload, []
        for fence in fences:
            hit = self.closed.valid & fence.open & (fence.answer.entry == closed.entry)
            with m.If(hit):
                m.d.sync += [fence.closed.eq(1), fence.answer.code.eq(closed.code)]
            hits.append(hit)
        m.d.comb += self.mine.eq(Cat(hits).any())

    def _answer(self, m, fences):
        """The first that waits for nothing."""
        found = self.told
        for fence in reversed(fences):
            with m.If(fence.open & fence.closed & ~fence.ahead.any()):
                m.d.comb += [self.due.eq(1), self.answer.eq(fence.answer)]
        for fence in fences:
            ready = fence.open & fence.closed & ~fence.ahead.any()
            with m.If(found & ready):
                m.d.sync += fence.open.eq(0)
            found = found & ~ready


def _any(masks):
    """The bits that any of them has."""
    first, *others = masks
    for mask in others:
        first = first | mask
    return first
