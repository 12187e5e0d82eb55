"""The commands that are open, until they are answered."""

from __future__ import annotations

from amaranth.hdl import Module, Mux, Signal
from amaranth.lib import data, stream, wiring
from amaranth.lib.memory import Memory
from amaranth.lib.wiring import In, Out

from hdl.answer.open_fences import FENCES, OpenFences
from hdl.answer.open_writers import OpenWriters
from hdl.command.command_issuer import command_tables
from hdl.command.command_ring import COUNT_WIDTH
from hdl.command.descriptors import is_append, is_layer, is_plain
from hdl.command.open_commands import ENTRY_WIDTH, closed_command, open_commands, opened_command
from hdl.spec import payloads
from hdl.spec.config import Config
from hdl.spec.formats import Code, Opcode
from hdl.spec.widths import bits_for_count
from hdl.stream.stream_queue import StreamQueue

__all__ = ["OpenTable", "command_answer"]


def command_answer(queues: int) -> data.StructLayout:
    """What is to be told of a command, when all that it did has left the core."""
    return data.StructLayout(
        {
            "entry": ENTRY_WIDTH,
            "queue": bits_for_count(queues - 1),
            "number": COUNT_WIDTH,
            "opcode": 8,
            "tag": 16,
            "irq": 1,
            "code": 8,  # 0, of ``payloads.STATUS``, or of :class:`hdl.spec.formats.Code`
        }
    )


def _facts(queues: int) -> data.StructLayout:
    """What an answer repeats."""
    answer = command_answer(queues)
    return data.StructLayout({name: answer[name].shape for name in ("queue", "number", "opcode", "tag", "irq")})


class OpenTable(wiring.Component):
    """Numbers for commands, what becomes of each, and when it may be answered.

    A command is open from ``opened`` until ``release``, which follows its answer when all that it wrote can be read.
    It is done by the core's status, and if it selects by ``selected``, for survivors may come after the status; or by
    ``closed``. A table that could not be read counts more than the core's code.
    Answers come in the order of these events, those of the core after others, but a FENCE's when all commands of its
    queue that were open before it are released.
    Latency 3 from an event to the answer, 2 of a FENCE; an answer a cycle. A number is on offer 3 cycles after its
    release, one a cycle; but of at most ``FENCES`` numbers the command is not opened, or is a FENCE that waits.

    Members
    -------
    entry : Out(stream.Signature(ENTRY_WIDTH))                a number of which no command is open
    opened : In(stream.Signature(opened_command, always_ready=True))          one that works not while ``busy``
    closed : In(stream.Signature(closed_command, always_ready=True))          after ``opened`` of the command
    failed : In(stream.Signature(ENTRY_WIDTH, always_ready=True)).array(2)    of tokens, of heads
    status : In(stream.Signature(job_status, always_ready=True))              of the core
    selected : In(stream.Signature(ENTRY_WIDTH, always_ready=True))           its last survivor was taken
    tables : In(command_tables), busy : Out(1)                an open command makes it wait: one that writes its tables,
                                                              an APPEND, or, if it is one itself, any that works;
                                                              or ``WRITERS`` open commands write tables
    prefetch : In(64), prefetch_busy : Out(1)                 an open command writes the table of heads at this address
    working : Out(1)                                          an open command uses the memory
    answer : Out(stream.Signature(command_answer))
    release : In(stream.Signature(ENTRY_WIDTH, always_ready=True))
    open : Out(entries)                                       a bit by number: commands that are open
    """

    def __init__(self, config: Config, *, queues: int = 2):
        self.config, self.queues, self.entries = config, queues, open_commands(config)
        self.width = bits_for_count(self.entries - 1)  # of a number in masks

        def event(shape):
            return In(stream.Signature(shape, always_ready=True))

        super().__init__(
            {
                "entry": Out(stream.Signature(ENTRY_WIDTH)),
                "opened": event(opened_command(queues)),
                "closed": event(closed_command()),
                "failed": event(ENTRY_WIDTH).array(2),
                "status": event(payloads.job_status(config)),
                "selected": event(ENTRY_WIDTH),
                "tables": In(command_tables(queues)),
                "prefetch": In(64),
                **dict.fromkeys(("busy", "prefetch_busy", "working"), Out(1)),
                "answer": Out(stream.Signature(command_answer(queues))),
                "release": event(ENTRY_WIDTH),
                "open": Out(self.entries),
            }
        )

    def elaborate(self, platform):
        m = Module()
        m.submodules.fences = fences = OpenFences(queues=self.queues, entries=self.entries)
        m.submodules.writers = writers = OpenWriters()
        for block in (fences, writers):
            m.d.comb += [
                block.entry.eq(self.opened.payload.entry),
                block.release.valid.eq(self.release.valid),
                block.release.payload.eq(self.release.payload),
            ]
        self._numbers(m, fences)
        works, alone, failed, selects = Signal(self.entries), Signal(), Signal(self.entries), Signal(self.entries)
        self._open(m, fences, writers, works, alone)
        m.d.comb += [
            self.open.eq(fences.open),
            *(writers.tables[name].eq(self.tables[name]) for name in ("state", "heads")),
            writers.prefetch.eq(self.prefetch),
            self.prefetch_busy.eq(writers.prefetch_busy),
            self.working.eq(works.any()),
            self.busy.eq(writers.busy | writers.full | alone | (self.tables.alone & self.working)),
        ]
        self._events(m, fences)
        self._failures(m, failed)
        self._selections(m, selects)
        self._answers(m, fences, failed, selects)
        return m

    def _numbers(self, m, fences):
        """A number that was released, or has never been given, goes to a register, from which it is taken."""
        m.submodules.free = free = StreamQueue(ENTRY_WIDTH, depth=self.entries)
        number, full = Signal(ENTRY_WIDTH, reset_less=True), Signal()
        given = Signal(range(self.entries + 1))  # numbers up to here have been given
        promised = Signal(range(2 * FENCES))  # numbers on offer, or taken, whose command is not open
        load, fresh = Signal(), given != self.entries
        m.d.comb += [
            free.i.valid.eq(self.release.valid),
            free.i.payload.eq(self.release.payload),
            self.entry.valid.eq(full),
            self.entry.payload.eq(number),
            load.eq((~full | self.entry.ready) & (promised + fences.waiting < FENCES) & (free.o.valid | fresh)),
            free.o.ready.eq(load),
        ]
        m.d.sync += [
            full.eq(load | (full & ~self.entry.ready)),
            promised.eq(promised + load - self.opened.valid),
        ]
        with m.If(load):
            m.d.sync += number.eq(Mux(free.o.valid, free.o.payload, given))
        with m.If(load & ~free.o.valid):
            m.d.sync += given.eq(given + 1)

    def _open(self, m, fences, writers, works, alone):
        """A command begins: whom it makes wait, and what its answer repeats."""
        m.submodules.facts = facts = Memory(
            shape=_facts(self.queues), depth=self.entries, init=[], attrs={"ram_style": "distributed"}
        )
        fetched, entry = self.opened.payload.fetched, self.opened.payload.entry
        command, write, right = fetched.command, facts.write_port(), fetched.code == 0
        plain = is_plain(command)
        last = Signal(ENTRY_WIDTH, reset_less=True)  # the APPEND, of which one at most is open
        m.d.comb += [
            fences.opened.eq(self.opened.valid),
            fences.fence.eq(command.opcode == Opcode.FENCE),
            fences.queue.eq(fetched.queue),
            writers.opened.eq(self.opened.valid & right & command.flags.write_state & is_layer(command)),
            writers.written.state.eq(command.state),
            writers.written.heads.eq(fetched.plan.heads),
            write.en.eq(self.opened.valid),
            write.addr.eq(entry),
            *(write.data[name].eq(fetched[name]) for name in ("queue", "number")),
            *(write.data[name].eq(command[name]) for name in ("opcode", "tag", "irq")),
        ]
        with m.If(self.release.valid):
            m.d.sync += works.bit_select(self.release.payload[: self.width], 1).eq(0)
            with m.If(self.release.payload == last):
                m.d.sync += alone.eq(0)
        with m.If(self.opened.valid & right & ~plain):
            m.d.sync += works.bit_select(entry[: self.width], 1).eq(1)
            with m.If(is_append(command)):
                m.d.sync += [alone.eq(1), last.eq(entry)]

    def _events(self, m, fences):
        """How a command ends: two queues, which have room for all that are open."""
        closed, status = self.closed, self.status
        for name, valid, entry, code in (
            ("closings", closed.valid & ~fences.mine, closed.payload.entry, closed.payload.code),
            ("statuses", status.valid, status.payload.job_id, status.payload.code),
        ):
            m.submodules[name] = queue = StreamQueue(closed_command(), depth=self.entries)
            m.d.comb += [queue.i.valid.eq(valid), queue.i.payload.entry.eq(entry), queue.i.payload.code.eq(code)]
        m.d.comb += [fences.closed.valid.eq(closed.valid), fences.closed.payload.eq(closed.payload)]

    def _failures(self, m, failed):
        """Words of tables that could not be read; those of a command that begins are to come."""
        with m.If(self.opened.valid):
            m.d.sync += failed.bit_select(self.opened.payload.entry[: self.width], 1).eq(0)
        for source in self.failed:
            with m.If(source.valid):
                m.d.sync += failed.bit_select(source.payload[: self.width], 1).eq(1)

    def _selections(self, m, selects):
        """Commands whose survivors are to come, if the core does not refuse them."""
        with m.If(self.opened.valid):
            mine = selects.bit_select(self.opened.payload.entry[: self.width], 1)
            m.d.sync += mine.eq(self.opened.payload.fetched.command.flags.select)
        with m.If(self.selected.valid):
            m.d.sync += selects.bit_select(self.selected.payload[: self.width], 1).eq(0)

    def _answers(self, m, fences, failed, selects):
        """The next command that is done, in a register: a FENCE, one that was closed, or one of the core."""
        closings, statuses = m.submodules.closings.o, m.submodules.statuses.o
        answer, full, event = Signal(self.answer.payload.shape(), reset_less=True), Signal(), Signal(closed_command())
        read, free = m.submodules.facts.read_port(domain="comb"), ~full | self.answer.ready
        done = Signal()  # the oldest status is one of a command that has nothing to come
        waits = selects.bit_select(statuses.payload.entry[: self.width], 1) & (statuses.payload.code == 0)
        m.d.comb += done.eq(statuses.valid & ~waits)
        m.d.comb += [
            self.answer.valid.eq(full),
            self.answer.payload.eq(answer),
            fences.told.eq(fences.due & free),
            closings.ready.eq(free & ~fences.due),
            statuses.ready.eq(free & ~fences.due & ~closings.valid & done),
            event.eq(Mux(fences.due, fences.answer, Mux(closings.valid, closings.payload, statuses.payload))),
            read.addr.eq(event.entry),
        ]
        with m.If(free):
            m.d.sync += [
                full.eq(fences.due | closings.valid | done),
                answer.entry.eq(event.entry),
                *(answer[name].eq(read.data[name]) for name in _facts(self.queues).members),
                answer.code.eq(Mux(failed.bit_select(event.entry[: self.width], 1), Code.READ_ERROR, event.code)),
            ]
