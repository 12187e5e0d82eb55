"""When a command's answer may be told, and its record in memory."""

from __future__ import annotations

from amaranth.hdl import Array, Cat, Const, Module, Mux, Signal
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

from hdl.axi.write_manager import TICKET_WIDTH
from hdl.command.command_ring import COUNT_WIDTH
from hdl.command.open_commands import ENTRY_WIDTH, NUM_ENTRIES
from hdl.command.open_table import command_answer
from hdl.result.fence import Fence, reached
from hdl.result.state_writer import survivor_counts
from hdl.result.written_word import ADDRESS_WIDTH, written_word
from hdl.spec.formats import COMPLETION_BYTES, Code, completion
from hdl.spec.widths import bits_for_count
from hdl.stream.stream_queue import StreamQueue

__all__ = ["Completer", "completion_ring"]

_OPEN = 8
"""Answers, and records, that wait for responses of the bus."""


def completion_ring() -> data.StructLayout:
    """What the host sets of a queue's ring of completions; constant while the queue is enabled."""
    return data.StructLayout({"enable": 1, "base": ADDRESS_WIDTH, "log_size": 4})


class Completer(wiring.Component):
    """Lets a command's answer wait until all that the command wrote has its responses, then writes its record.

    1. What had entered the ways to memory when the answer came has left them, and every burst of reads that was asked
       for is over without a fault. 2. The write manager has the responses to all words up to then: the command is
       released. 3. The record is written, and published when it has its response.
    Answers do not wait for each other's responses; each takes 5 cycles beside the waiting.

    Members
    -------
    answer : In(stream.Signature(command_answer))
    enters : In(1).array(2), leaves : In(1).array(2)    output rows, tables of selections: pulses
    reads_over : In(1)         bursts that had been asked for at ``snap`` are over
    snap : Out(1)
    taken, answered : In(TICKET_WIDTH)    of the write manager
    hold : In(1)               no record is begun: the write manager has failed
    abandon : In(8).array(queues)    code of all commands of a queue that are answered now; 0: their own
    fault_address : In(64)     of the fault that is being dealt with, else 0
    outside : In(stream.Signature(ENTRY_WIDTH, always_ready=True))    a word of the command was not written
    entry : Out(ENTRY_WIDTH), counts : In(survivor_counts)    of the state writer
    cycle : In(64)
    ring : In(completion_ring).array(queues)
    record : Out(stream.Signature(written_word)), recorded : In(1)    pulse: its last word is taken
    release : Out(stream.Signature(ENTRY_WIDTH, always_ready=True))
    tail : Out(16).array(queues)          completions published since the queue was enabled
    published : Out(1).array(queues)      pulse
    busy : Out(1)                         an answer or a record is here
    """

    def __init__(self, *, queues: int, word_width: int):
        self.queues, self.word_width = queues, word_width
        super().__init__(
            {
                "answer": In(stream.Signature(command_answer(queues))),
                "enters": In(1).array(2),
                "leaves": In(1).array(2),
                "reads_over": In(1),
                "snap": Out(1),
                "taken": In(TICKET_WIDTH),
                "answered": In(TICKET_WIDTH),
                "hold": In(1),
                "abandon": In(8).array(queues),
                "fault_address": In(ADDRESS_WIDTH),
                "outside": In(stream.Signature(ENTRY_WIDTH, always_ready=True)),
                "entry": Out(ENTRY_WIDTH),
                "counts": In(survivor_counts()),
                "cycle": In(64),
                "ring": In(completion_ring()).array(queues),
                "record": Out(stream.Signature(written_word(word_width))),
                "recorded": In(1),
                "release": Out(stream.Signature(ENTRY_WIDTH, always_ready=True)),
                "tail": Out(COUNT_WIDTH).array(queues),
                "published": Out(1).array(queues),
                "busy": Out(1),
            }
        )

    def elaborate(self, platform):
        m = Module()
        told = data.StructLayout({"answer": command_answer(self.queues), "ticket": TICKET_WIDTH, "address": 64})
        m.submodules.told = waiting = StreamQueue(told, depth=_OPEN)
        written = data.StructLayout({"queue": bits_for_count(self.queues - 1), "ticket": TICKET_WIDTH})
        m.submodules.written = records = StreamQueue(written, depth=_OPEN)
        resting = self._drain(m, waiting)
        idle = self._write(m, waiting, records)
        self._publish(m, records)
        m.d.comb += self.busy.eq(~resting | ~idle | (waiting.level != 0) | (records.level != 0))
        return m

    def _drain(self, m, waiting):
        """Step 1; whether no answer is in it."""
        paths = []
        for index, (enters, leaves) in enumerate(zip(self.enters, self.leaves, strict=True)):
            m.submodules[f"path_{index}"] = path = Fence()
            m.d.comb += [path.enters.eq(enters), path.leaves.eq(leaves), path.snap.eq(self.snap)]
            paths.append(path.gone)
        item, answer = waiting.i.payload, Signal(self.answer.payload.shape(), reset_less=True)
        m.d.comb += [item.answer.eq(answer), item.ticket.eq(self.taken), item.address.eq(self.fault_address)]
        self._code(m, answer, item.answer)
        with m.FSM(name="drain") as fsm:
            with m.State("IDLE"):
                m.d.comb += [self.answer.ready.eq(1), self.snap.eq(self.answer.valid)]
                m.d.sync += answer.eq(self.answer.payload)
                with m.If(self.answer.valid):
                    m.next = "WAIT"
            with m.State("WAIT"):
                with m.If(Cat(paths).all() & self.reads_over):
                    m.next = "SETTLE"
            with m.State("SETTLE"):  # a fault of the last word, and the count of the last one taken, come a cycle later
                m.next = "TELL"
            with m.State("TELL"):
                m.d.comb += waiting.i.valid.eq(1)
                with m.If(waiting.i.ready):
                    m.next = "IDLE"
        return fsm.ongoing("IDLE") & ~self.answer.valid

    def _code(self, m, answer, told):
        """The code of a command may be changed by what happened since the core was done with it."""
        outside, abandon = Signal(NUM_ENTRIES), Array(self.abandon)[answer.queue]
        with m.If(self.release.valid):
            m.d.sync += outside.bit_select(self.release.payload, 1).eq(0)
        with m.If(self.outside.valid):
            m.d.sync += outside.bit_select(self.outside.payload, 1).eq(1)
        with m.If(abandon != 0):
            m.d.comb += told.code.eq(abandon)
        with m.Elif(outside.bit_select(answer.entry, 1) & (answer.code == 0)):
            m.d.comb += told.code.eq(Code.OUTSIDE)

    def _write(self, m, waiting, records):
        """Steps 2 and 3 up to the record's last word; whether no record is in it."""
        head, parts = waiting.o.payload, max(1, 8 * COMPLETION_BYTES // self.word_width)
        part = Signal(bits_for_count(parts - 1))
        count = self._record(m, head, part, parts)
        ready = waiting.o.valid & reached(self.answered, head.ticket) & ~self.hold
        m.d.comb += [
            self.entry.eq(head.answer.entry),
            self.release.payload.eq(head.answer.entry),
            records.i.payload.queue.eq(head.answer.queue),
            records.i.payload.ticket.eq(self.taken),
        ]
        with m.FSM(name="write") as fsm:
            with m.State("IDLE"):
                with m.If(ready):
                    m.d.comb += self.release.valid.eq(1)
                    m.next = "RECORD"
            with m.State("RECORD"):
                m.d.comb += self.record.valid.eq(1)
                with m.If(self.record.ready):
                    m.d.sync += part.eq(Mux(part == parts - 1, 0, part + 1))
                    with m.If(part == parts - 1):
                        m.next = "LEAVE"
            with m.State("LEAVE"):
                with m.If(self.recorded):
                    m.next = "NOTE"  # in which the last word has been counted
            with m.State("NOTE"):
                m.d.comb += records.i.valid.eq(1)
                with m.If(records.i.ready):
                    m.d.comb += [waiting.o.ready.eq(1), count.eq(1)]
                    m.next = "IDLE"
        return fsm.ongoing("IDLE")

    def _record(self, m, head, part, parts):
        """Offers a part of the record; returns the signal that counts it."""
        fields, record, answer = Signal(completion()), self.record.payload, head.answer
        numbers = [Signal(COUNT_WIDTH, name=f"number_{index}") for index in range(self.queues)]
        number, ring, count = Signal(COUNT_WIDTH), Array(self.ring)[answer.queue], Signal()
        mask = Signal(COUNT_WIDTH)
        shift = (8 * COMPLETION_BYTES // self.word_width).bit_length() - 1 if parts > 1 else 0
        values = {name: answer[name] for name in ("tag", "code", "number", "queue", "opcode")}
        values |= {"tokens": self.counts.tokens, "heads": self.counts.heads}
        values |= {"cycle": self.cycle, "address": head.address}
        m.d.comb += [
            number.eq(Array(numbers)[answer.queue]),
            mask.eq((1 << ring.log_size) - 1),
            fields.phase.eq(~number.bit_select(ring.log_size, 1)),
            *(fields[name].eq(value) for name, value in values.items()),
            record.write.word.eq(((ring.base[5:] + (number & mask)) << shift) + part),
            record.write.data.eq(fields.as_value().word_select(part, self.word_width)),
            record.write.strobes.eq(Const(-1, self.word_width // 8)),
            record.entry.eq(answer.entry),
            record.last.eq(part == parts - 1),
        ]
        for index, mine in enumerate(numbers):
            with m.If(count & (answer.queue == index)):
                m.d.sync += mine.eq(mine + 1)
            with m.If(~self.ring[index].enable):
                m.d.sync += mine.eq(0)
        return count

    def _publish(self, m, records):
        """Records whose responses have come."""
        head = records.o.payload
        m.d.comb += records.o.ready.eq(reached(self.answered, head.ticket))
        for index, tail in enumerate(self.tail):
            mine = records.o.valid & records.o.ready & (head.queue == index)
            m.d.comb += self.published[index].eq(mine)
            with m.If(mine):
                m.d.sync += tail.eq(tail + 1)
            with m.If(~self.ring[index].enable):
                m.d.sync += tail.eq(0)
