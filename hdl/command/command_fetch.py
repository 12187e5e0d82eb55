"""Plans of commands, read ahead, what is wrong with them, and when their tables of heads are asked for."""

from __future__ import annotations

from amaranth.hdl import Array, Module, Mux, Signal, Value
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out, connect, flipped

from hdl.command.command_check import LATENCY, PlanCheck, window
from hdl.command.command_chooser import chosen_command
from hdl.command.command_ring import COUNT_WIDTH
from hdl.command.descriptors import is_append, is_layer
from hdl.command.head_reader import head_request
from hdl.command.read_port import ReadPort, check_word_width
from hdl.command.record_reader import RecordFetcher
from hdl.spec.config import Config
from hdl.spec.formats import PLAN_BYTES, layer_command, plan
from hdl.spec.widths import HEAD_FIELD_WIDTH, bits_for_count
from hdl.stream.stream_queue import StreamQueue

__all__ = ["CommandFetch", "fetched_command"]


def fetched_command(queues: int) -> data.StructLayout:
    """A command that can go on, or whose code says why not."""
    return data.StructLayout(
        {
            "queue": bits_for_count(queues - 1),
            "number": COUNT_WIDTH,  # of the command in its queue
            "code": 8,  # 0: as far as can be told without its tables it is right
            "pair": 2,  # as of chosen_command
            "heads": 1,  # the entries of its table of heads have been asked for
            "command": layer_command(),
            "plan": plan(),  # undefined if the command has none
        }
    )


def _table() -> data.StructLayout:
    """What is to be asked for a command's heads; a ``count`` of 0: nothing."""
    return data.StructLayout({**head_request().members, "writes": 1})


def _writes(item) -> Value:
    """Whether a fetched command writes its tables."""
    return (item.code == 0) & is_layer(item.command) & item.command.flags.write_state


class CommandFetch(wiring.Component):
    """Reads the plan of a command, checks it, and asks for its heads, several commands ahead, all in their order.

    At most ``AHEAD`` commands are here, so that each that comes from memory has its place. Heads are asked for when no
    command in front of theirs may yet write a table of heads: none that has not been opened, and none that is open with
    this table (``conflict``). A command leaves when its heads have been asked for.
    Latency about 6 without a plan, with one that of a check + 8, and what its reading takes; a plan in that of a check
    + 4 + its words.

    Members
    -------
    i : In(stream.Signature(chosen_command))
    readable : In(window).array(queues)     what commands of the queue may read; constant while it is enabled
    port : Out(ReadPort)
    head_request : Out(stream.Signature(head_request))
    table : Out(64), conflict : In(1)       of the request on offer; whether an open command writes it, combinational
    opened : In(1)                          pulse: the command on offer is open, and ``conflict`` knows it from the
                                            next cycle on; it comes once for each command
    reading : Out(1)                        a plan has been asked for, and is not here or not checked
    o : Out(stream.Signature(fetched_command))
    """

    AHEAD = 16

    def __init__(self, config: Config, *, queues: int, word_width: int):
        self.config, self.queues, self.word_width = config, queues, check_word_width(word_width)
        super().__init__(
            {
                "i": In(stream.Signature(chosen_command(queues))),
                "readable": In(window()).array(queues),
                "port": Out(ReadPort(word_width)),
                "head_request": Out(stream.Signature(head_request())),
                "table": Out(64),
                "conflict": In(1),
                "opened": In(1),
                "reading": Out(1),
                "o": Out(stream.Signature(fetched_command(queues))),
            }
        )

    def elaborate(self, platform):
        m = Module()
        m.submodules.fetcher = fetcher = RecordFetcher(plan(), word_width=self.word_width, ahead=self.AHEAD)
        m.submodules.waiting = StreamQueue(chosen_command(self.queues), depth=self.AHEAD)
        m.submodules.judged = StreamQueue(fetched_command(self.queues), depth=self.AHEAD)
        m.submodules.tables = StreamQueue(_table(), depth=self.AHEAD)
        connect(m, fetcher.port, flipped(self.port))
        self._ask(m)
        self._judge(m)
        self._tables(m)
        return m

    def _ask(self, m):
        """A command comes in, and its plan is asked for, if there is a place for both."""
        fetcher, waiting, chosen = m.submodules.fetcher, m.submodules.waiting, self.i.payload
        inside, room, go = Signal(range(self.AHEAD + 1)), Signal(), Signal()
        leave = self.o.valid & self.o.ready
        m.d.comb += [
            room.eq((inside != self.AHEAD) & waiting.i.ready),
            fetcher.request.valid.eq(self.i.valid & chosen.planned & room),
            fetcher.request.payload.address.eq(chosen.command.plan),
            fetcher.request.payload.words.eq(8 * PLAN_BYTES // self.word_width),
            fetcher.request.payload.records.eq(1),
            self.i.ready.eq(room & (~chosen.planned | fetcher.request.ready)),
            go.eq(self.i.valid & self.i.ready),
            waiting.i.valid.eq(go),
            waiting.i.payload.eq(chosen),
            self.reading.eq(waiting.level != 0),
        ]
        with m.If(go != leave):
            m.d.sync += inside.eq(inside + Mux(go, 1, -1))

    def _judge(self, m):
        """The oldest command with its plan, which both stay on offer until the check has told its code."""
        fetcher, waiting, judged = m.submodules.fetcher, m.submodules.waiting, m.submodules.judged
        m.submodules.check = check = PlanCheck(self.config)
        chosen, read, done = waiting.o.payload, fetcher.o, Signal()
        cycles = Signal(range(LATENCY + 1))
        m.d.comb += [
            check.command.eq(chosen.command),
            check.plan.eq(read.payload.record),
            check.error.eq(read.payload.error),
            check.readable.eq(Array(self.readable)[chosen.queue]),
            done.eq(waiting.o.valid & (~chosen.planned | (read.valid & (cycles == LATENCY)))),
            judged.i.valid.eq(done),
            *(judged.i.payload[name].eq(chosen[name]) for name in ("queue", "number", "pair", "command")),
            judged.i.payload.code.eq(Mux(chosen.planned, check.code, chosen.code)),
            judged.i.payload.plan.eq(read.payload.record),
            waiting.o.ready.eq(done & judged.i.ready),
            read.ready.eq(done & chosen.planned & judged.i.ready),
        ]
        with m.If(waiting.o.valid & chosen.planned & read.valid):
            m.d.sync += cycles.eq(Mux(done, Mux(judged.i.ready, 0, cycles), cycles + 1))
        self._table_of(m, judged)

    def _table_of(self, m, judged):
        """The table of the command that is judged, beside it."""
        item, tables = judged.i.payload, m.submodules.tables
        command, table = item.command, tables.i.payload
        used = (item.code == 0) & ~is_append(command) & m.submodules.waiting.o.payload.planned
        m.d.comb += [
            item.heads.eq(table.count != 0),
            tables.i.valid.eq(judged.i.valid & judged.i.ready),
            table.address.eq(item.plan.heads),
            table.first.eq(Mux(is_layer(command), 0, command.head_keep)),
            table.count.eq(Mux(used, command.num_heads[:HEAD_FIELD_WIDTH], 0)),
            table.writes.eq(_writes(item)),
        ]

    def _tables(self, m):
        """Requests for heads; a command whose request has gone out may leave."""
        judged, table = m.submodules.judged, m.submodules.tables.o
        asked, go, writers = Signal(range(self.AHEAD + 1)), Signal(), Signal(range(self.AHEAD + 1))
        some, leave = table.payload.count != 0, self.o.valid & self.o.ready
        free = (writers == 0) & ~self.conflict
        request = self.head_request
        m.d.comb += [
            request.valid.eq(table.valid & some & free),
            *(request.payload[name].eq(table.payload[name]) for name in head_request().members),
            self.table.eq(table.payload.address),
            table.ready.eq(~some | (free & request.ready)),
            go.eq(table.valid & table.ready),
            self.o.valid.eq(judged.o.valid & (asked != 0)),
            self.o.payload.eq(judged.o.payload),
            judged.o.ready.eq(self.o.ready & (asked != 0)),
        ]
        # Those that write tables, from their own request on until they are open.
        writing, begun = Signal(), Signal()
        m.d.comb += [writing.eq(go & table.payload.writes), begun.eq(self.opened & _writes(self.o.payload))]
        with m.If(go != leave):
            m.d.sync += asked.eq(asked + Mux(go, 1, -1))
        with m.If(writing != begun):
            m.d.sync += writers.eq(writers + Mux(writing, 1, -1))
