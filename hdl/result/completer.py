"""When a command's answer may be told, and its record in memory."""

from __future__ import annotations

from amaranth.hdl import Array, Cat, Const, Module, Mux, Signal
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

from hdl.axi.write_manager import TICKET_WIDTH
from hdl.command.command_ring import COUNT_WIDTH
from hdl.command.open_commands import ENTRY_WIDTH
from hdl.command.open_table import command_answer
from hdl.result.fence import Fence, reached
from hdl.result.written_word import ADDRESS_WIDTH, written_word
from hdl.spec.formats import COMPLETION_BYTES, Code, completion
from hdl.spec.widths import bits_for_count
from hdl.stream.stream_queue import StreamQueue

__all__ = ["Completer", "completion_ring", "told_counts"]

_OPEN = 8
"""Answers that wait for responses of the bus."""


def completion_ring() -> data.StructLayout:
    """What the host sets of a queue's ring of completions; constant while the queue is enabled."""
    return data.StructLayout(
        {
            "enable": 1,
            "written": 1,  # completions are written; without it they are only counted
            "base": ADDRESS_WIDTH,
            "log_size": 4,
        }
    )


def told_counts() -> data.StructLayout:
    """Fields of a record: survivors of a selection; of an APPEND ``tokens`` counts the elements that saturated."""
    return data.StructLayout({name: completion()[name].shape for name in ("tokens", "heads")})


def _fate() -> data.StructLayout:
    """What a record tells of its command's end."""
    return data.StructLayout({"code": 8, "cycle": 64, "address": 64})


class Completer(wiring.Component):
    """Lets a command's answer wait until all that the command wrote has its responses, then writes its record.

    First, what had entered the ways to memory when the answer came has left them, and every burst of reads that was
    asked for is over without a fault. Second, the write manager has the responses to all words up to then: the command
    is released. Third, the record is written, and published when it has its response; then comes the next one. If the
    write manager fails meanwhile, the record is written once more when it works again.
    The waiting of the first two steps of one answer goes on during that of others. What an answer finds abandoned at
    its record has that code, whatever its own was.

    Members
    -------
    answer : In(stream.Signature(command_answer))
    enters, leaves : In(1).array(WAYS)    pulses of the ways to memory, in any order
    at_work : In(entries)      a bit by number: commands that write outside of these ways, until all of it has left
    reads_over : In(1)         bursts that had been asked for at ``snap`` are over
    snap : Out(1)
    taken, answered : In(TICKET_WIDTH)    of the write manager
    hold : In(1)               the write manager has failed: no record is begun, and one on its way may be lost
    abandon : In(8).array(queues)    code of all commands of a queue that are answered now; 0: their own
    fault_address : In(64)     of the fault that is being dealt with, else 0
    outside : In(stream.Signature(ENTRY_WIDTH, always_ready=True))    a word of the command was not written
    entry : Out(ENTRY_WIDTH), counts : In(told_counts)    of an open command
    cycle : In(64)
    ring : In(completion_ring).array(queues)
    record : Out(stream.Signature(written_word)), recorded : In(1)    pulse: its last word is taken
    release : Out(stream.Signature(ENTRY_WIDTH, always_ready=True))
    tail : Out(16).array(queues)          completions published since the queue was enabled
    published : Out(1).array(queues)      pulse
    urgent : Out(1)                       with it: its command asks for an interrupt
    """

    WAYS = 4

    def __init__(self, *, queues: int, word_width: int, entries: int):
        """``entries``: most open commands, a power of two."""
        self.queues, self.word_width, self.entries = queues, word_width, entries
        self.width = bits_for_count(entries - 1)  # of a number in masks
        super().__init__(
            {
                "answer": In(stream.Signature(command_answer(queues))),
                **dict.fromkeys(("enters", "leaves"), In(1).array(self.WAYS)),
                "at_work": In(entries),
                "reads_over": In(1),
                "snap": Out(1),
                "taken": In(TICKET_WIDTH),
                "answered": In(TICKET_WIDTH),
                "hold": In(1),
                "abandon": In(8).array(queues),
                "fault_address": In(ADDRESS_WIDTH),
                "outside": In(stream.Signature(ENTRY_WIDTH, always_ready=True)),
                "entry": Out(ENTRY_WIDTH),
                "counts": In(told_counts()),
                "cycle": In(64),
                "ring": In(completion_ring()).array(queues),
                "record": Out(stream.Signature(written_word(word_width))),
                "recorded": In(1),
                "release": Out(stream.Signature(ENTRY_WIDTH, always_ready=True)),
                "tail": Out(COUNT_WIDTH).array(queues),
                "published": Out(1).array(queues),
                "urgent": Out(1),
            }
        )

    def elaborate(self, platform):
        m = Module()
        told = data.StructLayout({"answer": command_answer(self.queues), "ticket": TICKET_WIDTH, "address": 64})
        m.submodules.told = waiting = StreamQueue(told, depth=_OPEN)
        self._drain(m, waiting)
        publish = self._write(m, waiting)
        self._publish(m, waiting, publish)
        return m

    def _drain(self, m, waiting):
        """Step 1."""
        paths = []
        for index, (enters, leaves) in enumerate(zip(self.enters, self.leaves, strict=True)):
            m.submodules[f"path_{index}"] = path = Fence()
            m.d.comb += [path.enters.eq(enters), path.leaves.eq(leaves), path.snap.eq(self.snap)]
            paths.append(path.gone)
        item, answer = waiting.i.payload, Signal(self.answer.payload.shape(), reset_less=True)
        m.d.comb += [item.answer.eq(answer), item.ticket.eq(self.taken), item.address.eq(self.fault_address)]
        self._code(m, answer, item.answer)
        with m.FSM(name="drain"):
            with m.State("IDLE"):
                m.d.comb += [self.answer.ready.eq(1), self.snap.eq(self.answer.valid)]
                m.d.sync += answer.eq(self.answer.payload)
                with m.If(self.answer.valid):
                    m.next = "WAIT"
            with m.State("WAIT"):
                with m.If(Cat(paths).all() & ~self.at_work.bit_select(answer.entry[: self.width], 1) & self.reads_over):
                    m.next = "SETTLE"
            with m.State("SETTLE"):  # a fault of the last word, and the count of the last one taken, come a cycle later
                m.next = "TELL"
            with m.State("TELL"):
                m.d.comb += waiting.i.valid.eq(1)
                with m.If(waiting.i.ready):
                    m.next = "IDLE"

    def _code(self, m, answer, told):
        """The code of a command may be changed by what happened since the core was done with it."""
        outside, abandon = Signal(self.entries), Array(self.abandon)[answer.queue]
        with m.If(self.release.valid):
            m.d.sync += outside.bit_select(self.release.payload[: self.width], 1).eq(0)
        with m.If(self.outside.valid):
            m.d.sync += outside.bit_select(self.outside.payload[: self.width], 1).eq(1)
        with m.If(abandon != 0):
            m.d.comb += told.code.eq(abandon)
        with m.Elif(outside.bit_select(answer.entry[: self.width], 1) & (answer.code == 0)):
            m.d.comb += told.code.eq(Code.OUTSIDE)

    def _write(self, m, waiting):
        """Steps 2 and 3; the signal that an answer is published."""
        head, parts = waiting.o.payload, max(1, 8 * COMPLETION_BYTES // self.word_width)
        part, ticket = Signal(bits_for_count(parts - 1)), Signal(TICKET_WIDTH, reset_less=True)
        fate, counts = Signal(_fate(), reset_less=True), Signal(told_counts(), reset_less=True)
        lost, again, publish = Signal(), Signal(), Signal()
        void = Signal()  # a part was lost: those after it are given without a byte, since the record is written anew
        self._record(m, head, part, parts, fate, counts, void)
        m.d.comb += [self.entry.eq(head.answer.entry), self.release.payload.eq(head.answer.entry)]
        with m.If(self.hold):
            m.d.sync += lost.eq(1)
        with m.If(self.record.ready):
            m.d.sync += void.eq(self.record.valid & (lost | self.hold) & (part != parts - 1))
        with m.FSM(name="write"):
            with m.State("IDLE"):
                m.d.sync += [counts.eq(self.counts), again.eq(0)]
                with m.If(waiting.o.valid & reached(self.answered, head.ticket) & ~self.hold):
                    m.d.comb += self.release.valid.eq(1)
                    with m.If(Array(self.ring)[head.answer.queue].written):
                        self._begin(m, head, fate, lost)
                    with m.Else():
                        m.d.comb += publish.eq(1)
            self._give(m, part, parts, ticket)
            with m.State("AWAIT"):
                with m.If(lost & ~again & ~self.hold):
                    m.d.sync += again.eq(1)
                    self._begin(m, head, fate, lost)
                with m.Elif(reached(self.answered, ticket) & ~self.hold):
                    m.d.comb += publish.eq(1)
                    m.next = "IDLE"
        return publish

    def _begin(self, m, head, fate, lost):
        """The record begins, with what is known now."""
        abandon = Array(self.abandon)[head.answer.queue]
        m.d.sync += [
            lost.eq(0),
            fate.cycle.eq(self.cycle),
            fate.code.eq(Mux(abandon != 0, abandon, head.answer.code)),
            fate.address.eq(Mux(abandon != 0, self.fault_address, head.address)),
        ]
        m.next = "RECORD"

    def _give(self, m, part, parts, ticket):
        """The record goes to the write manager, word by word; its ticket."""
        with m.State("RECORD"):
            m.d.comb += self.record.valid.eq(1)
            with m.If(self.record.ready):
                m.d.sync += part.eq(Mux(part == parts - 1, 0, part + 1))
                with m.If(part == parts - 1):
                    m.next = "LEAVE"
        with m.State("LEAVE"):
            with m.If(self.recorded):
                m.next = "NOTE"
        with m.State("NOTE"):  # in which the last word has been counted
            m.d.sync += ticket.eq(self.taken)
            m.next = "AWAIT"

    def _record(self, m, head, part, parts, fate, counts, void):
        """Offers a part of the record."""
        fields, record, answer = Signal(completion()), self.record.payload, head.answer
        number, ring = Array(self.tail)[answer.queue], Array(self.ring)[answer.queue]
        mask = Signal(COUNT_WIDTH)
        shift = (8 * COMPLETION_BYTES // self.word_width).bit_length() - 1 if parts > 1 else 0
        values = {name: answer[name] for name in ("tag", "number", "queue", "opcode")}
        values |= {name: fate[name] for name in fate.shape().members}
        values |= {"tokens": counts.tokens, "heads": counts.heads}
        m.d.comb += [
            mask.eq((1 << ring.log_size) - 1),
            fields.phase.eq(~(number >> ring.log_size)[0]),
            *(fields[name].eq(value) for name, value in values.items()),
            record.write.word.eq(((ring.base[5:] + (number & mask)) << shift) + part),
            record.write.data.eq(fields.as_value().word_select(part, self.word_width)),
            record.write.strobes.eq(Mux(void, 0, Const(-1, self.word_width // 8))),
            record.entry.eq(answer.entry),
            record.last.eq(part == parts - 1),
        ]

    def _publish(self, m, waiting, publish):
        """The record at hand has its response, or is not written."""
        answer = waiting.o.payload.answer
        m.d.comb += [waiting.o.ready.eq(publish), self.urgent.eq(answer.irq)]
        for index, tail in enumerate(self.tail):
            m.d.comb += self.published[index].eq(publish & (answer.queue == index))
            with m.If(self.published[index]):
                m.d.sync += tail.eq(tail + 1)
            with m.If(~self.ring[index].enable):
                m.d.sync += tail.eq(0)
