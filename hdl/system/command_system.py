"""From rings in memory to the core, and from the core to memory."""

from __future__ import annotations

from amaranth.hdl import Module
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out, connect, flipped

from hdl.answer.completer import Completer
from hdl.answer.completion_records import completion_ring
from hdl.answer.open_table import OpenTable
from hdl.axi.write_manager import TICKET_WIDTH, word_write
from hdl.command.command_ring import COUNT_WIDTH
from hdl.command.command_unit import CommandUnit, queue_settings
from hdl.command.open_commands import open_commands
from hdl.result.probability_writer import ProbabilityWriter
from hdl.result.result_writer import ResultWriter
from hdl.result.state_writer import StateWriter
from hdl.result.write_gate import WriteGate
from hdl.result.written_word import ADDRESS_WIDTH
from hdl.result.zero_writer import ZeroWriter
from hdl.spec import payloads
from hdl.spec.config import Config
from hdl.spec.widths import bits_for_count
from hdl.system.append_stage import AppendStage
from hdl.system.port_reader import PortReader
from hdl.system.queue_windows import QueueWindows, queue_window, word_window

__all__ = ["CommandSystem"]


class CommandSystem(wiring.Component):
    """Commands of all queues, the core's streams, results, tables and completions; all but buses and registers.

    Members
    -------
    queue : In(queue_settings).array(queues)
    ring : In(completion_ring).array(queues)
    window : In(queue_window).array(queues)
    abandon : In(8).array(queues)           code of all commands that are answered now; 0: their own
    base : In(64).array(channels)           byte address of word 0 of each channel
    head, begun, tail : Out(16).array(queues)     commands copied, commands begun, completions published
    idle, reading : Out(1).array(queues)          no command is on its way here; one is being read
    published : Out(1).array(queues), urgent : Out(1)    pulse: a completion; its command asks for an interrupt
    pair_open : Out(1)                      the first job of a pair waits for the second
    current : Out(n)                        queue whose windows are set
    channel : Out(word_window).array(channels), all : Out(word_window)
    layer, job, heads, ids : Out            to the core, as its members of these names
    status, survivor, out, prob : In        of the core
    request, response, failed : as of :class:`hdl.system.port_reader.PortReader`
    write : Out(stream.Signature(word_write)), taken, answered : In(TICKET_WIDTH)    of a write manager
    snap : Out(1), reads_over : In(1)       bursts of reads that had been asked for at ``snap`` are over
    drop : In(1)                            results are thrown away
    hold : In(1)                            no completion is begun
    fault_address : In(64)
    cycle : In(64)
    """

    def __init__(self, config: Config, *, queues: int = 2, word_width: int = 64):
        self.config, self.queues, self.word_width = config, queues, word_width
        word = In(stream.Signature(word_width, always_ready=True))
        number = ADDRESS_WIDTH - (word_width // 8).bit_length() + 1
        counts, flags = Out(COUNT_WIDTH).array(queues), Out(1).array(queues)
        super().__init__(
            {
                "queue": In(queue_settings()).array(queues),
                "ring": In(completion_ring()).array(queues),
                "window": In(queue_window()).array(queues),
                "abandon": In(8).array(queues),
                "base": In(ADDRESS_WIDTH).array(config.num_channels),
                **dict.fromkeys(("head", "begun", "tail"), counts),
                **dict.fromkeys(("idle", "reading", "published"), flags),
                **dict.fromkeys(("urgent", "pair_open"), Out(1)),
                "current": Out(bits_for_count(queues - 1)),
                "channel": Out(word_window(config)).array(config.num_channels),
                "all": Out(word_window(config)),
                **_core_streams(config),
                "request": Out(stream.Signature(number)),
                "response": word,
                "write": Out(stream.Signature(word_write(ADDRESS_WIDTH, word_width))),
                **dict.fromkeys(("taken", "answered"), In(TICKET_WIDTH)),
                "snap": Out(1),
                **dict.fromkeys(("failed", "reads_over", "drop", "hold"), In(1)),
                **dict.fromkeys(("fault_address", "cycle"), In(64)),
            }
        )

    def elaborate(self, platform):
        m = Module()
        sizes = {"queues": self.queues, "word_width": self.word_width}
        m.submodules.commands = commands = CommandUnit(self.config, **sizes)
        m.submodules.open_table = open_ = OpenTable(self.config, queues=self.queues)
        m.submodules.results = results = ResultWriter(self.config, **sizes)
        m.submodules.probabilities = probabilities = ProbabilityWriter(self.config, **sizes)
        m.submodules.zeros = zeros = ZeroWriter(self.config, **sizes)
        m.submodules.state = state = StateWriter(self.config, **sizes)
        m.submodules.windows = windows = QueueWindows(self.config, queues=self.queues)
        m.submodules.completer = completer = Completer(**sizes, entries=open_commands(self.config))
        m.submodules.append = append = AppendStage(self.config, word_width=self.word_width)
        # Words to memory, those of the first source before those of the others.
        sources = {"completions": completer.record, "tables": state.o, "rows": results.o, "append": append.o}
        sources |= {"probabilities": probabilities.o, "zeros": zeros.o}
        m.submodules.gate = gate = WriteGate(sources=len(sources), word_width=self.word_width)
        m.submodules.reader = reader = PortReader(word_width=self.word_width)
        for name in ("layer", "job", "heads", "ids"):
            connect(m, getattr(commands, name), flipped(getattr(self, name)))
        connect(m, commands.port, reader.port)
        connect(m, reader.request, flipped(self.request))
        connect(m, flipped(self.response), reader.response)
        connect(m, flipped(self.out), results.out)
        connect(m, flipped(self.prob), probabilities.prob)
        connect(m, flipped(self.survivor), state.survivor)
        for source, item in zip(sources.values(), gate.i, strict=True):
            connect(m, source, item)
        connect(m, gate.o, flipped(self.write))
        m.d.comb += reader.failed.eq(self.failed)
        self._queues(m, commands, windows, completer)
        self._open(m, commands, open_, windows, (results, probabilities, zeros, state))
        self._answers(m, open_, completer, gate, state)
        self._append(m, commands, append, completer)
        self._ways(m, completer, dict(zip(sources, gate.left, strict=True)))
        return m

    def _append(self, m, commands, append, completer):
        """Rows that are appended, beside the core."""
        connect(m, commands.append, append.i)
        connect(m, append.port, commands.append_port)
        m.d.comb += [
            commands.append_code.eq(append.code),
            append.readable.eq(m.submodules.windows.readable),
            *(mine.eq(base) for mine, base in zip(append.base, self.base, strict=True)),
            append.opened.valid.eq(commands.opened.valid),
            append.opened.payload.eq(commands.opened.payload.entry),
            append.entry.eq(completer.entry),
        ]

    def _queues(self, m, commands, windows, completer):
        """What the host sets of each queue, and what it is told."""
        for index in range(self.queues):
            m.d.comb += [
                commands.queue[index].eq(self.queue[index]),
                windows.queue[index].eq(self.window[index]),
                completer.ring[index].eq(self.ring[index]),
                completer.abandon[index].eq(self.abandon[index]),
                self.head[index].eq(commands.head[index]),
                self.begun[index].eq(commands.begun[index]),
                self.idle[index].eq(commands.idle[index]),
                self.reading[index].eq(commands.reading[index]),
                self.tail[index].eq(completer.tail[index]),
                self.published[index].eq(completer.published[index]),
            ]
        m.d.comb += [
            *(mine.eq(base) for mine, base in zip(windows.base, self.base, strict=True)),
            *(mine.eq(found) for mine, found in zip(self.channel, windows.channel, strict=True)),
            self.all.eq(windows.all),
            self.current.eq(windows.current),
            self.urgent.eq(completer.urgent),
            self.pair_open.eq(commands.pair_open),
        ]

    def _open(self, m, commands, open_, windows, writers):
        """Who is told of a command that begins."""
        connect(m, open_.entry, commands.entry)
        for stream_, member in ((commands.opened, "opened"), (commands.open_head, "head")):
            m.d.comb += stream_.ready.eq(1)
            for writer in writers:
                port = getattr(writer, member)
                m.d.comb += [port.valid.eq(stream_.valid), port.payload.eq(stream_.payload)]
        head = commands.open_head
        m.d.comb += [
            open_.opened.valid.eq(commands.opened.valid),
            open_.opened.payload.eq(commands.opened.payload),
            commands.closed.ready.eq(1),
            open_.closed.valid.eq(commands.closed.valid),
            open_.closed.payload.eq(commands.closed.payload),
            open_.failed[0].valid.eq(commands.failed.valid),
            open_.failed[0].payload.eq(commands.failed.payload),
            open_.failed[1].valid.eq(head.valid & head.payload.error),
            open_.failed[1].payload.eq(head.payload.entry),
            open_.tables.eq(commands.tables),
            open_.prefetch.eq(commands.table),
            commands.conflict.eq(open_.prefetch_busy),
            windows.wanted.eq(commands.tables.queue),
            windows.working.eq(open_.working),
            commands.busy.eq(open_.busy | ~windows.ready | m.submodules.zeros.busy),
        ]

    def _answers(self, m, open_, completer, gate, state):
        """From the core's status to the completion in memory."""
        connect(m, open_.answer, completer.answer)
        m.d.comb += [
            self.status.ready.eq(1),
            open_.status.valid.eq(self.status.valid),
            open_.status.payload.eq(self.status.payload),
            open_.selected.valid.eq(state.selected.valid),
            open_.selected.payload.eq(state.selected.payload),
            open_.release.valid.eq(completer.release.valid),
            open_.release.payload.eq(completer.release.payload),
            completer.outside.valid.eq(gate.outside.valid),
            completer.outside.payload.eq(gate.outside.payload),
            state.entry.eq(completer.entry),
            # A command has at most one of these.
            completer.counts.tokens.eq(state.counts.tokens | m.submodules.append.saturated),
            completer.counts.heads.eq(state.counts.heads),
            *(
                getattr(completer, name).eq(getattr(self, name))
                for name in ("reads_over", "taken", "answered", "hold", "fault_address", "cycle")
            ),
            self.snap.eq(completer.snap),
            gate.drop.eq(self.drop),
            gate.hold.eq(self.hold),
            gate.writable.eq(m.submodules.windows.writable),
        ]

    def _ways(self, m, completer, left):
        """What enters the ways to memory, and leaves them. left: of each source a pulse, as of the gate."""
        zeros = m.submodules.zeros
        enters = {
            "tables": m.submodules.state.written,
            "rows": m.submodules.results.row,
            "append": m.submodules.append.word,
            "probabilities": m.submodules.probabilities.line,
        }
        for (name, entering), enter, leave in zip(enters.items(), completer.enters, completer.leaves, strict=True):
            m.d.comb += [enter.eq(entering), leave.eq(left[name])]
        m.d.comb += [
            completer.recorded.eq(left["completions"]),
            zeros.left.eq(left["zeros"]),
            zeros.drop.eq(self.drop),
            completer.at_work.eq(zeros.at_work),
        ]


def _core_streams(config: Config) -> dict[str, wiring.Member]:
    """The core's streams, as seen from here."""
    to_core = {
        "layer": payloads.layer_descriptor,
        "job": payloads.job_descriptor,
        "heads": payloads.head_entry,
        "ids": payloads.job_id_entry,
    }
    of_core = {
        "status": payloads.job_status,
        "survivor": payloads.survivor,
        "out": payloads.job_output,
        "prob": payloads.job_probs,
    }
    return {name: Out(stream.Signature(shape(config))) for name, shape in to_core.items()} | {
        name: In(stream.Signature(shape(config))) for name, shape in of_core.items()
    }
