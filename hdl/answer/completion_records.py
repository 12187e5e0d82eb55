"""From answers whose words are on their way to the records that tell them."""

from __future__ import annotations

from amaranth.hdl import Array, Const, Module, Mux, Signal
from amaranth.lib import data, stream, wiring
from amaranth.lib.memory import Memory
from amaranth.lib.wiring import In, Out

from hdl.answer.answer_drain import drained_answer
from hdl.answer.fence import reached
from hdl.axi.write_manager import TICKET_WIDTH
from hdl.command.command_ring import COUNT_WIDTH
from hdl.command.open_commands import ENTRY_WIDTH
from hdl.result.written_word import ADDRESS_WIDTH, written_word
from hdl.spec.formats import COMPLETION_BYTES, completion
from hdl.spec.widths import bits_for_count
from hdl.stream.stream_queue import StreamQueue

__all__ = ["CompletionRecords", "completion_ring", "told_counts"]

_FACTS = ("queue", "number", "opcode", "tag", "irq", "code")


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


def _kept(queues: int) -> data.StructLayout:
    """What is kept of an answer until it is published."""
    answer = drained_answer(queues)["answer"].shape
    return data.StructLayout({**{name: answer[name].shape for name in _FACTS}, "address": ADDRESS_WIDTH})


def _record(queues: int) -> data.StructLayout:
    """The record at hand."""
    return data.StructLayout(
        {
            "fact": _kept(queues),
            "counts": told_counts(),
            "cycle": 64,
            "slot": COUNT_WIDTH,  # completions of the queue before it
            "silent": 1,  # it is not written
        }
    )


class CompletionRecords(wiring.Component):
    """Writes a record for every answer, and publishes it when it is in memory; both in the order of the answers.

    A command is released when the write manager has the responses to all words up to its answer, one a cycle. Its
    record follows at once, back to back with others, a word a cycle, without waiting for those before it. If the write
    manager fails, every record that is not published is written once more when it works again, in order.

    Members
    -------
    i : In(stream.Signature(drained_answer))
    taken, answered : In(TICKET_WIDTH)    these and all others as of :class:`hdl.answer.completer.Completer`
    hold : In(1)
    abandon : In(8).array(queues)
    fault_address : In(64)
    entry : Out(ENTRY_WIDTH), counts : In(told_counts)    those of the command that may be released
    cycle : In(64)
    ring : In(completion_ring).array(queues)
    record : Out(stream.Signature(written_word))    ``entry`` is of no matter
    recorded : In(1)
    release : Out(stream.Signature(ENTRY_WIDTH, always_ready=True))
    tail : Out(16).array(queues)
    published : Out(1).array(queues), urgent : Out(1)
    """

    def __init__(self, *, queues: int, word_width: int, entries: int):
        """``entries``: answers that are kept until they are published, a power of two from 8 on."""
        self.queues, self.word_width, self.entries = queues, word_width, entries
        self.parts = max(1, 8 * COMPLETION_BYTES // word_width)
        super().__init__(
            {
                "i": In(stream.Signature(drained_answer(queues))),
                **dict.fromkeys(("taken", "answered"), In(TICKET_WIDTH)),
                "hold": In(1),
                "abandon": In(8).array(queues),
                "fault_address": In(ADDRESS_WIDTH),
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
        # Answers, modulo twice their places, that came, were released, given as records, taken as such, and published.
        names = ("came", "freed", "given", "noted", "told")
        came, freed, given, noted, told = (Signal(range(2 * self.entries), name=name) for name in names)
        slots = Array(Signal(COUNT_WIDTH, name=f"slot_{index}") for index in range(self.queues))  # of the next record
        lost = Signal()  # the write manager has failed since the records that are not published were given
        self._keep(m, came, told)
        self._free(m, freed)
        item, busy, done = self._load(m, freed, given, slots, lost)
        alone = (noted + 1)[: len(given)] == given
        note = self._give(m, item, lost, busy, done, alone)
        m.d.sync += noted.eq(noted + note)
        again, none = self._publish(m, told, lost, note)
        over = lost & ~self.hold & ~busy & (noted == given) & none
        self._repeat(m, lost, over, again, given, noted, told, slots)
        return m

    def _keep(self, m, came, told):
        """Answers to their memory, and their numbers to the queue of those that wait for responses."""
        m.submodules.answers = answers = _memory(_kept(self.queues), self.entries)
        due = data.StructLayout({"entry": ENTRY_WIDTH, "ticket": TICKET_WIDTH})
        m.submodules.due = due = StreamQueue(due, depth=self.entries)
        write, answer, full = answers.write_port(), self.i.payload.answer, Signal()
        m.d.comb += [
            full.eq((came - told)[: len(came)] == self.entries),
            due.i.valid.eq(self.i.valid & ~full),
            self.i.ready.eq(due.i.ready & ~full),
            due.i.payload.entry.eq(answer.entry),
            due.i.payload.ticket.eq(self.taken),
            write.en.eq(self.i.valid & self.i.ready),
            write.addr.eq(came[:-1]),
            *(write.data[name].eq(answer[name]) for name in _FACTS),
            write.data.address.eq(self.i.payload.address),
        ]
        m.d.sync += came.eq(came + write.en)

    def _free(self, m, freed):
        """A command whose words are in memory is released, and its counts are kept."""
        m.submodules.counted = counted = _memory(told_counts(), self.entries)
        due, write = m.submodules.due.o, counted.write_port()
        m.d.comb += [
            due.ready.eq(reached(self.answered, due.payload.ticket) & ~self.hold),
            self.entry.eq(due.payload.entry),
            self.release.payload.eq(due.payload.entry),
            self.release.valid.eq(due.valid & due.ready),
            write.en.eq(self.release.valid),
            write.addr.eq(freed[:-1]),
            write.data.eq(self.counts),
        ]
        m.d.sync += freed.eq(freed + write.en)

    def _load(self, m, freed, given, slots, lost):
        """(the next record, with what is known now, whether it is at hand, and whether it leaves)."""
        item, busy, done = Signal(_record(self.queues), reset_less=True), Signal(), Signal()
        facts, counts = (m.submodules[name].read_port(domain="comb") for name in ("answers", "counted"))
        queue, load = facts.data.queue, Signal()
        abandon = Array(self.abandon)[queue]
        m.d.comb += [
            *(port.addr.eq(given[:-1]) for port in (facts, counts)),
            load.eq((given != freed) & ~lost & ~self.hold & (~busy | done)),
        ]
        m.d.sync += [busy.eq(load | (busy & ~done)), given.eq(given + load)]
        with m.If(load):
            m.d.sync += [
                item.fact.eq(facts.data),
                item.counts.eq(counts.data),
                item.cycle.eq(self.cycle),
                item.slot.eq(slots[queue]),
                item.silent.eq(~Array(self.ring)[queue].written),
                slots[queue].eq(slots[queue] + 1),
            ]
            with m.If(abandon != 0):
                m.d.sync += [item.fact.code.eq(abandon), item.fact.address.eq(self.fault_address)]
        return item, busy, done

    def _give(self, m, item, lost, busy, done, alone):
        """The record goes to the write manager, word by word; its ticket when its last word has been counted.

        One of a queue without records has its ticket when those before it have theirs (``alone``).
        """
        part, void, noted, silent = Signal(bits_for_count(self.parts - 1)), Signal(), Signal(), Signal()
        last = part == self.parts - 1
        _write(m, self.record, item, Array(self.ring)[item.fact.queue], part, self.parts)
        m.d.sync += noted.eq(self.recorded)
        m.d.comb += [
            silent.eq(busy & item.silent & alone),
            self.record.valid.eq(busy & ~item.silent),
            done.eq(silent | (self.record.valid & self.record.ready & last)),
        ]
        # When a part is lost, those after it are given without a byte, since the record is written anew.
        with m.If(self.record.valid & self.record.ready):
            m.d.sync += [part.eq(Mux(last, 0, part + 1)), void.eq((lost | self.hold) & ~last)]
        with m.If(void):
            m.d.comb += self.record.payload.write.strobes.eq(0)
        return noted | silent

    def _publish(self, m, told, lost, note):
        """A record whose response is here is told; returns whether none waits for its response.

        After a failure that is so of those which had been given once more already.
        """
        m.submodules.tickets = tickets = StreamQueue(TICKET_WIDTH, depth=self.entries)
        again = Signal.like(told)  # so many of those that are not published have been given before
        read, publish = m.submodules.answers.read_port(domain="comb"), Signal()
        m.d.comb += [
            tickets.i.valid.eq(note),
            tickets.i.payload.eq(self.taken),
            read.addr.eq(told[:-1]),
            self.urgent.eq(read.data.irq),
            publish.eq(
                tickets.o.valid & reached(self.answered, tickets.o.payload) & ~self.hold & (~lost | (again != 0))
            ),
            tickets.o.ready.eq(publish | (lost & (again == 0))),
        ]
        m.d.sync += told.eq(told + publish)
        with m.If(publish & (again != 0)):
            m.d.sync += again.eq(again - 1)
        for index, tail in enumerate(self.tail):
            m.d.comb += self.published[index].eq(publish & (read.data.queue == index))
            with m.If(~self.ring[index].enable):
                m.d.sync += tail.eq(0)
            with m.Elif(self.published[index]):
                m.d.sync += tail.eq(tail + 1)
        return again, tickets.level == 0

    def _repeat(self, m, lost, over, again, given, noted, told, slots):
        """After a failure, and when nothing of them is on its way any more, the records are given from the first on."""
        m.d.sync += lost.eq(self.hold | (lost & ~over))
        with m.If(over):
            m.d.sync += [given.eq(told), noted.eq(told)]
            m.d.sync += [slot.eq(tail) for slot, tail in zip(slots, self.tail, strict=True)]
            with m.If(again == 0):
                m.d.sync += again.eq(given - told)
        for slot, ring in zip(slots, self.ring, strict=True):
            with m.If(~ring.enable):
                m.d.sync += slot.eq(0)


def _memory(shape, depth):
    return Memory(shape=shape, depth=depth, init=[], attrs={"ram_style": "distributed"})


def _write(m, record, item, ring, part, parts):
    """Offers a part of a record."""
    fields, mask, word_width = Signal(completion()), Signal(COUNT_WIDTH), record.payload.write.data.shape().width
    values = {name: item.fact[name] for name in (*_FACTS, "address") if name != "irq"}
    values |= {"cycle": item.cycle, "tokens": item.counts.tokens, "heads": item.counts.heads}
    m.d.comb += [
        mask.eq((1 << ring.log_size) - 1),
        fields.phase.eq(~(item.slot >> ring.log_size)[0]),
        *(fields[name].eq(value) for name, value in values.items()),
        record.payload.write.word.eq(((ring.base[5:] + (item.slot & mask)) << parts.bit_length() - 1) + part),
        record.payload.write.data.eq(fields.as_value().word_select(part, word_width)),
        record.payload.write.strobes.eq(Const(-1, word_width // 8)),
        record.payload.last.eq(part == parts - 1),
    ]
