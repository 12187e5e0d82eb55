"""The first step from an answer to its record."""

from __future__ import annotations

from amaranth.hdl import Array, Cat, Module, Signal
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out, connect, flipped

from hdl.answer.fence import Fence
from hdl.answer.open_table import command_answer
from hdl.command.open_commands import ENTRY_WIDTH
from hdl.result.written_word import ADDRESS_WIDTH
from hdl.spec.formats import Code
from hdl.spec.widths import bits_for_count
from hdl.stream.stream_queue import StreamQueue

__all__ = ["WAYS", "AnswerDrain", "drained_answer"]

WAYS = 4
"""Ways from the writers of results to memory."""


def drained_answer(queues: int) -> data.StructLayout:
    """An answer all of whose words have been taken by the write manager; the address of a fault, else 0."""
    return data.StructLayout({"answer": command_answer(queues), "address": ADDRESS_WIDTH})


class AnswerDrain(wiring.Component):
    """Lets an answer wait until what had entered the ways to memory when it came has left them, and its reads are over.

    Answers that come while others wait for a ``snap`` gather, and wait for the next one together: so they come at any
    rate, whatever the latency of reads is. What follows a snap passes in the order of the answers, one a cycle, from 2
    cycles after its end on. The code of an answer is changed by what happened since the core was done with it.

    Members
    -------
    answer : In(stream.Signature(command_answer))    at most ``entries`` of them are open
    enters, leaves : In(1).array(WAYS)    as the next four of :class:`hdl.answer.completer.Completer`
    at_work : In(entries)
    reads_over : In(1)
    snap : Out(1)
    outside : In(stream.Signature(ENTRY_WIDTH, always_ready=True))
    release : In(stream.Signature(ENTRY_WIDTH, always_ready=True))    the number is given again
    abandon : In(8).array(queues)
    fault_address : In(64)
    o : Out(stream.Signature(drained_answer))
    """

    def __init__(self, *, queues: int, entries: int):
        """``entries``: most open commands, a power of two from 8 on."""
        self.queues, self.entries = queues, entries
        number = In(stream.Signature(ENTRY_WIDTH, always_ready=True))
        super().__init__(
            {
                "answer": In(stream.Signature(command_answer(queues))),
                **dict.fromkeys(("enters", "leaves"), In(1).array(WAYS)),
                "at_work": In(entries),
                "reads_over": In(1),
                "snap": Out(1),
                **dict.fromkeys(("outside", "release"), number),
                "abandon": In(8).array(queues),
                "fault_address": In(ADDRESS_WIDTH),
                "o": Out(stream.Signature(drained_answer(queues))),
            }
        )

    def elaborate(self, platform):
        m = Module()
        m.submodules.arrived = arrived = StreamQueue(self.answer.payload.shape(), depth=self.entries)
        connect(m, flipped(self.answer), arrived.i)
        drained = self._ways(m)
        came, passes = self.answer.valid & self.answer.ready, self.o.valid & self.o.ready
        later = Signal(range(self.entries + 1))  # answers that no snap is behind of
        batch, gathered = Signal.like(later), Signal.like(later)  # those of the snap at hand
        m.d.comb += gathered.eq(later + came)
        m.d.sync += later.eq(gathered)
        self._code(m, arrived.o.payload)
        with m.FSM(name="drain"):
            with m.State("IDLE"):
                with m.If(gathered != 0):
                    m.d.comb += self.snap.eq(1)
                    m.d.sync += [batch.eq(gathered), later.eq(0)]
                    m.next = "WAIT"
            with m.State("WAIT"):
                with m.If(drained):
                    m.next = "SETTLE"
            with m.State("SETTLE"):  # a fault of the last word, and the count of the last one taken, come a cycle later
                m.next = "PASS"
            with m.State("PASS"):
                still = self.at_work.bit_select(self._place(arrived.o.payload.entry), 1)
                m.d.comb += [
                    self.o.valid.eq(arrived.o.valid & ~still),
                    arrived.o.ready.eq(self.o.ready & ~still),
                ]
                with m.If(passes):
                    m.d.sync += batch.eq(batch - 1)
                    with m.If(batch == 1):
                        m.next = "IDLE"
        return m

    def _place(self, entry):
        """Of a number in a mask."""
        return entry[: bits_for_count(self.entries - 1)]

    def _ways(self, m):
        """Whether what had entered at the last snap has left, from the cycle after it on."""
        gone = []
        for index, (enters, leaves) in enumerate(zip(self.enters, self.leaves, strict=True)):
            m.submodules[f"way_{index}"] = way = Fence()
            m.d.comb += [way.enters.eq(enters), way.leaves.eq(leaves), way.snap.eq(self.snap)]
            gone.append(way.gone)
        return Cat(gone).all() & self.reads_over

    def _code(self, m, answer):
        """The answer on offer, with its code of now."""
        outside, abandon, told = Signal(self.entries), Array(self.abandon)[answer.queue], self.o.payload
        with m.If(self.release.valid):
            m.d.sync += outside.bit_select(self._place(self.release.payload), 1).eq(0)
        with m.If(self.outside.valid):
            m.d.sync += outside.bit_select(self._place(self.outside.payload), 1).eq(1)
        m.d.comb += [told.answer.eq(answer), told.address.eq(self.fault_address)]
        with m.If(abandon != 0):
            m.d.comb += told.answer.code.eq(abandon)
        with m.Elif(outside.bit_select(self._place(answer.entry), 1) & (answer.code == 0)):
            m.d.comb += told.answer.code.eq(Code.OUTSIDE)
