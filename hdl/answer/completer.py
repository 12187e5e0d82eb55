"""When a command's answer may be told, and its record in memory."""

from __future__ import annotations

from amaranth.hdl import Module
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out, connect, flipped

from hdl.answer.answer_drain import WAYS, AnswerDrain
from hdl.answer.completion_records import CompletionRecords, completion_ring, told_counts
from hdl.answer.open_table import command_answer
from hdl.axi.write_manager import TICKET_WIDTH
from hdl.command.command_ring import COUNT_WIDTH
from hdl.command.open_commands import ENTRY_WIDTH
from hdl.result.written_word import ADDRESS_WIDTH, written_word

__all__ = ["Completer"]

_DRAIN = ("at_work", "reads_over", "fault_address")
_RECORDS = ("taken", "answered", "hold", "fault_address", "counts", "cycle", "recorded")
"""Members of the parts as those of the whole."""


class Completer(wiring.Component):
    """Lets a command's answer wait until all that the command wrote has its responses, then writes its record.

    First, what had entered the ways to memory when the answer came has left them, and every burst of reads that was
    asked for is over without a fault (:class:`hdl.answer.answer_drain.AnswerDrain`). Second, the write manager has the
    responses to all words up to then: the command is released. Third, the record is written, and published when it has
    its response (:class:`hdl.answer.completion_records.CompletionRecords`). If the write manager fails meanwhile, the
    records that are not published are written once more when it works again.
    Answers go through these steps in order, without waiting for those before them to be through: as many as are open
    may be on the way, one a cycle, and their records take a cycle a word. What an answer finds abandoned at its record
    has that code, whatever its own was.

    Members
    -------
    answer : In(stream.Signature(command_answer))
    enters, leaves : In(1).array(WAYS)    pulses of the ways to memory, in any order
    at_work : In(entries)      a bit by number: commands that write outside of these ways, until all of it has left
    reads_over : In(1)         bursts that had been asked for at ``snap`` are over
    snap : Out(1)
    taken, answered : In(TICKET_WIDTH)    of the write manager
    hold : In(1)               the write manager has failed: no record is begun, and those on their way may be lost
    abandon : In(8).array(queues)    code of all commands of a queue that are answered now; 0: their own
    fault_address : In(64)     of the fault that is being dealt with, else 0
    outside : In(stream.Signature(ENTRY_WIDTH, always_ready=True))    a word of the command was not written
    entry : Out(ENTRY_WIDTH), counts : In(told_counts)    of an open command
    cycle : In(64)
    ring : In(completion_ring).array(queues)
    record : Out(stream.Signature(written_word)), recorded : In(1)    pulse: the last word of one is taken
    release : Out(stream.Signature(ENTRY_WIDTH, always_ready=True))
    tail : Out(16).array(queues)          completions published since the queue was enabled
    published : Out(1).array(queues)      pulse
    urgent : Out(1)                       with it: its command asks for an interrupt
    """

    def __init__(self, *, queues: int, word_width: int, entries: int):
        """``entries``: most open commands, a power of two from 8 on."""
        self.queues, self.word_width, self.entries = queues, word_width, entries
        number = stream.Signature(ENTRY_WIDTH, always_ready=True)
        super().__init__(
            {
                "answer": In(stream.Signature(command_answer(queues))),
                **dict.fromkeys(("enters", "leaves"), In(1).array(WAYS)),
                "at_work": In(entries),
                "reads_over": In(1),
                "snap": Out(1),
                **dict.fromkeys(("taken", "answered"), In(TICKET_WIDTH)),
                "hold": In(1),
                "abandon": In(8).array(queues),
                "fault_address": In(ADDRESS_WIDTH),
                "outside": In(number),
                "entry": Out(ENTRY_WIDTH),
                "counts": In(told_counts()),
                "cycle": In(64),
                "ring": In(completion_ring()).array(queues),
                "record": Out(stream.Signature(written_word(word_width))),
                "recorded": In(1),
                "release": Out(number),
                "tail": Out(COUNT_WIDTH).array(queues),
                "published": Out(1).array(queues),
                "urgent": Out(1),
            }
        )

    def elaborate(self, platform):
        m = Module()
        m.submodules.drain = drain = AnswerDrain(queues=self.queues, entries=self.entries)
        m.submodules.records = records = CompletionRecords(
            queues=self.queues, word_width=self.word_width, entries=self.entries
        )
        connect(m, flipped(self.answer), drain.answer)
        connect(m, drain.o, records.i)
        connect(m, records.record, flipped(self.record))
        connect(m, records.release, flipped(self.release))
        connect(m, flipped(self.outside), drain.outside)
        m.d.comb += [
            drain.release.valid.eq(records.release.valid),
            drain.release.payload.eq(records.release.payload),
            *(getattr(drain, name).eq(getattr(self, name)) for name in _DRAIN),
            *(getattr(records, name).eq(getattr(self, name)) for name in _RECORDS),
            *(getattr(self, name).eq(getattr(records, name)) for name in ("entry", "urgent")),
            self.snap.eq(drain.snap),
        ]
        arrays = [(getattr(drain, name), getattr(self, name)) for name in ("enters", "leaves", "abandon")]
        arrays += [(getattr(records, name), getattr(self, name)) for name in ("abandon", "ring")]
        arrays += [(getattr(self, name), getattr(records, name)) for name in ("tail", "published")]
        m.d.comb += [mine.eq(other) for pair in arrays for mine, other in zip(*pair, strict=True)]
        return m
