"""The commands that are open, until they are answered."""

from __future__ import annotations

from amaranth.hdl import Array, Cat, Module, Mux, Signal
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

from hdl.command.command_issuer import command_tables
from hdl.command.command_ring import COUNT_WIDTH
from hdl.command.descriptors import is_append, is_layer
from hdl.command.open_commands import ENTRY_WIDTH, closed_command, open_commands, opened_command
from hdl.fetch.crossbar import RoundRobin
from hdl.spec import payloads
from hdl.spec.config import Config
from hdl.spec.formats import Code, Opcode
from hdl.spec.widths import bits_for_count

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


def _entry(queues: int, entries: int) -> data.StructLayout:
    """An open command."""
    answer = dict(command_answer(queues).members)
    del answer["entry"]
    return data.StructLayout(
        {
            **answer,
            "done": 1,  # it may be answered, but for a FENCE with commands in front of it
            "told": 1,  # its answer has been taken
            "failed": 1,  # a word of its tables could not be read
            "works": 1,  # it uses the memory
            "writes": 1,  # it writes its tables
            "alone": 1,  # nothing else that uses the memory begins
            "tables": data.StructLayout({"state": 64, "heads": 64}),
            "ahead": entries,  # a FENCE: commands of its queue that were open before it, and are
        }
    )


class OpenTable(wiring.Component):
    """Numbers for commands, what becomes of each, and when it may be answered.

    A command is open from ``opened`` until ``release``, which follows its answer when all that it wrote can be read.
    It is done by the core's status, or by ``closed``; a table that could not be read counts more than the core's code.
    Answers come in turn, a FENCE's when all commands of its queue that were open before it are released.
    Latency 1 from an event to the answer, an answer a cycle; a number is on offer 2 cycles after its release.

    Members
    -------
    entry : Out(stream.Signature(ENTRY_WIDTH))                a number of which no command is open
    opened : In(stream.Signature(opened_command, always_ready=True))
    closed : In(stream.Signature(closed_command, always_ready=True))
    failed : In(stream.Signature(ENTRY_WIDTH, always_ready=True)).array(2)    of tokens, of heads
    status : In(stream.Signature(job_status, always_ready=True))              of the core
    tables : In(command_tables), busy : Out(1)                an open command makes it wait: one that writes its tables,
                                                              an APPEND, or, if it is one itself, any that works
    working : Out(1)                                          an open command uses the memory
    answer : Out(stream.Signature(command_answer))
    release : In(stream.Signature(ENTRY_WIDTH, always_ready=True))
    open : Out(entries)                                       a bit by number: commands that are open
    """

    def __init__(self, config: Config, *, queues: int = 2):
        self.config, self.queues, self.entries = config, queues, open_commands(config)

        def event(shape):
            return In(stream.Signature(shape, always_ready=True))

        super().__init__(
            {
                "entry": Out(stream.Signature(ENTRY_WIDTH)),
                "opened": event(opened_command(queues)),
                "closed": event(closed_command()),
                "failed": event(ENTRY_WIDTH).array(2),
                "status": event(payloads.job_status(config)),
                "tables": In(command_tables(queues)),
                "busy": Out(1),
                "working": Out(1),
                "answer": Out(stream.Signature(command_answer(queues))),
                "release": event(ENTRY_WIDTH),
                "open": Out(self.entries),
            }
        )

    def elaborate(self, platform):
        m = Module()
        shape = _entry(self.queues, self.entries)
        entries = [Signal(shape, name=f"entry_{i}", reset_less=True) for i in range(self.entries)]
        given = Signal(self.entries)  # numbers that are not free: on offer, or taken
        self._numbers(m, given)
        self._open(m, entries)
        self._events(m, entries)
        self._answers(m, entries)
        same = [
            entry.alone
            | entry.writes & ((entry.tables.state == self.tables.state) | (entry.tables.heads == self.tables.heads))
            for entry in entries
        ]
        m.d.comb += [
            self.busy.eq((Cat(same) & self.open).any() | (self.tables.alone & self.working)),
            self.working.eq((Cat(entry.works for entry in entries) & self.open).any()),
        ]
        released = self.release.payload[: bits_for_count(self.entries - 1)]
        with m.If(self.release.valid):
            m.d.sync += self.open.bit_select(released, 1).eq(0)
            m.d.sync += [entry.ahead.bit_select(released, 1).eq(0) for entry in entries]
        return m

    def _numbers(self, m, given):
        """The lowest free number goes to a register, from which it is taken."""
        number, full = Signal(ENTRY_WIDTH, reset_less=True), Signal()
        m.d.comb += [self.entry.valid.eq(full), self.entry.payload.eq(number)]
        with m.If(self.entry.ready):
            m.d.sync += full.eq(0)
        with m.If(~full | self.entry.ready):
            for index in range(self.entries):
                with m.If(~given[index] & given[:index].all()):
                    m.d.sync += [number.eq(index), full.eq(1), given[index].eq(1)]
        with m.If(self.release.valid):
            m.d.sync += given.bit_select(self.release.payload[: bits_for_count(self.entries - 1)], 1).eq(0)

    def _open(self, m, entries):
        """A command begins: the facts that its answer repeats."""
        opened, fetched = self.opened, self.opened.payload.fetched
        command = fetched.command
        for index, entry in enumerate(entries):
            with m.If(opened.valid & (opened.payload.entry == index)):
                same = Cat(other.queue == fetched.queue for other in entries)
                m.d.sync += [
                    self.open[index].eq(1),
                    *(entry[name].eq(fetched[name]) for name in ("queue", "number")),
                    *(entry[name].eq(command[name]) for name in ("opcode", "tag", "irq")),
                    *(entry[name].eq(0) for name in ("code", "done", "told", "failed")),
                    entry.works.eq(
                        (fetched.code == 0) & (command.opcode != Opcode.NOP) & (command.opcode != Opcode.FENCE)
                    ),
                    entry.writes.eq((fetched.code == 0) & command.flags.write_state & is_layer(command)),
                    entry.alone.eq((fetched.code == 0) & is_append(command)),
                    entry.tables.state.eq(command.state),
                    entry.tables.heads.eq(fetched.plan.heads),
                    entry.ahead.eq(self.open & same),
                ]

    def _events(self, m, entries):
        """How a command ends. One event of each kind a cycle; they are of different commands, or never at once."""
        for index, entry in enumerate(entries):
            for failed in self.failed:
                with m.If(failed.valid & (failed.payload == index)):
                    m.d.sync += entry.failed.eq(1)
            with m.If(self.status.valid & (self.status.payload.job_id == index)):
                m.d.sync += [entry.done.eq(1), entry.code.eq(self.status.payload.code)]
            with m.If(self.closed.valid & (self.closed.payload.entry == index)):
                m.d.sync += [entry.done.eq(1), entry.code.eq(self.closed.payload.code)]

    def _answers(self, m, entries):
        """The next command after the one answered last that is done, in a register."""
        waits = Signal(self.entries)
        for index, entry in enumerate(entries):
            held = (entry.opcode == Opcode.FENCE) & entry.ahead.any()
            m.d.comb += waits[index].eq(self.open[index] & entry.done & ~entry.told & ~held)
        m.submodules.turn = turn = RoundRobin(self.entries)
        answer, full = Signal(self.answer.payload.shape(), reset_less=True), Signal()
        m.d.comb += [self.answer.valid.eq(full), self.answer.payload.eq(answer)]
        with m.If(self.answer.ready):
            m.d.sync += full.eq(0)
        m.d.comb += turn.requests.eq(Mux(~full | self.answer.ready, waits, 0))
        with m.If(turn.grant.any()):
            entry = Array(entries)[turn.index]
            names = ("queue", "number", "opcode", "tag", "irq")
            m.d.sync += [
                full.eq(1),
                answer.entry.eq(turn.index),
                *(answer[name].eq(entry[name]) for name in names),
                answer.code.eq(Mux(entry.failed, Code.READ_ERROR, entry.code)),
            ]
        for each, granted in zip(entries, turn.grant, strict=True):
            with m.If(granted):
                m.d.sync += each.told.eq(1)
