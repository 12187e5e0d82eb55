"""From commands in memory to the streams of the core."""

from __future__ import annotations

from amaranth.hdl import Module, Signal
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out, connect, flipped

from hdl.command.command_check import window
from hdl.command.command_chooser import CommandChooser
from hdl.command.command_fetch import CommandFetch
from hdl.command.command_issuer import CommandIssuer, command_tables
from hdl.command.command_ring import COUNT_WIDTH, CommandRing
from hdl.command.head_reader import HeadReader
from hdl.command.open_commands import ENTRY_WIDTH, closed_command, open_append, open_head, opened_command
from hdl.command.read_mux import ReadMux
from hdl.command.read_port import ReadPort, check_word_width
from hdl.command.token_reader import TokenReader
from hdl.spec import payloads
from hdl.spec.config import Config

__all__ = ["RING_SETTINGS", "CommandUnit", "queue_settings"]


def queue_settings() -> data.StructLayout:
    """What is set of a queue; ``base``, sizes and ``readable`` are constant while it is enabled or not idle."""
    return data.StructLayout(
        {
            "enable": 1,
            "run": 1,  # commands are read
            "flush": 1,  # answers need no room in the ring of completions
            "pause": 1,  # no other command begins, but for the second one of a pair
            "cancel": 8,  # 0, or the code of the commands that have not begun: none of them does
            "base": 64,  # byte address of slot 0
            "log_size": 4,  # slots, 2**log_size
            "tail": COUNT_WIDTH,  # commands written since it was enabled
            "log_completions": 4,  # entries of the ring of completions
            "completion_head": COUNT_WIDTH,  # completions that the host has read
            "readable": window(),
        }
    )


RING_SETTINGS = ("enable", "run", "flush", "base", "log_size", "tail", "log_completions", "completion_head")
"""Of a queue, as its ring's members of these names."""


class CommandUnit(wiring.Component):
    """The rings of all queues, their commands' plans and tables, and what the core gets of them.

    One command after the other, queues in turn; those that follow, their plans and heads are read meanwhile, each when
    there is a place for it, so that no word waits at the port for another one. Nothing outside the window of a queue is
    asked for by its commands; its ring itself may lie anywhere.

    Members
    -------
    queue : In(queue_settings).array(queues)
    head : Out(COUNT_WIDTH).array(queues)             commands whose slots may be written again
    begun : Out(COUNT_WIDTH).array(queues)            commands that have been opened; each is answered
    idle : Out(1).array(queues)                       none has been read that has not begun, and none is being read
    reading : Out(1).array(queues)                    one is being read, or its plan or heads, or it is on its way to
                                                      begin; 0 when ``pause`` has come into force
    pair_open : Out(1)                                the first job of a pair waits for the second
    port : Out(ReadPort)
    append_port : In(ReadPort)                        another reader, who takes its words without waiting for others
    table : Out(64), conflict : In(1)                 as of :class:`CommandFetch`
    entry : In(stream.Signature(ENTRY_WIDTH))         this and the next ten as of :class:`CommandIssuer`
    tables : Out(command_tables)
    busy : In(1)
    opened : Out(stream.Signature(opened_command))
    closed : Out(stream.Signature(closed_command))
    open_head : Out(stream.Signature(open_head))
    append : Out(stream.Signature(open_append))
    append_code : In(8)
    layer : Out(stream.Signature(layer_descriptor))
    job : Out(stream.Signature(job_descriptor))
    heads : Out(stream.Signature(head_entry))
    ids : Out(stream.Signature(job_id_entry))         this and the next as of :class:`TokenReader`
    failed : Out(stream.Signature(ENTRY_WIDTH, always_ready=True))
    """

    def __init__(self, config: Config, *, queues: int = 2, word_width: int = 64):
        if not isinstance(queues, int) or not 1 <= queues <= 12:
            raise ValueError(f"queues must be from 1 to 12, not {queues!r}")
        self.config, self.queues, self.word_width = config, queues, check_word_width(word_width)
        super().__init__(
            {
                "queue": In(queue_settings()).array(queues),
                "head": Out(COUNT_WIDTH).array(queues),
                "begun": Out(COUNT_WIDTH).array(queues),
                **dict.fromkeys(("idle", "reading"), Out(1).array(queues)),
                "pair_open": Out(1),
                "port": Out(ReadPort(word_width)),
                "append_port": In(ReadPort(word_width)),
                "table": Out(64),
                "conflict": In(1),
                "entry": In(stream.Signature(ENTRY_WIDTH)),
                "tables": Out(command_tables(queues)),
                "busy": In(1),
                "opened": Out(stream.Signature(opened_command(queues))),
                "closed": Out(stream.Signature(closed_command())),
                "open_head": Out(stream.Signature(open_head())),
                "append": Out(stream.Signature(open_append())),
                "append_code": In(8),
                "failed": Out(stream.Signature(ENTRY_WIDTH, always_ready=True)),
                "layer": Out(stream.Signature(payloads.layer_descriptor(config))),
                "job": Out(stream.Signature(payloads.job_descriptor(config))),
                "heads": Out(stream.Signature(payloads.head_entry(config))),
                "ids": Out(stream.Signature(payloads.job_id_entry(config))),
            }
        )

    def elaborate(self, platform):
        m = Module()
        width = self.word_width
        m.submodules.chooser = chooser = CommandChooser(queues=self.queues)
        m.submodules.fetch = fetch = CommandFetch(self.config, queues=self.queues, word_width=width)
        m.submodules.issuer = issuer = CommandIssuer(self.config, queues=self.queues)
        m.submodules.head_reader = heads = HeadReader(self.config, word_width=width)
        m.submodules.token_reader = tokens = TokenReader(self.config, word_width=width)
        rings = self._rings(m, chooser)
        clients = [heads.port, tokens.port, flipped(self.append_port), fetch.port, *(ring.port for ring in rings)]
        m.submodules.mux = mux = ReadMux(clients=len(clients), word_width=width)
        for client, port in zip(mux.client, clients, strict=True):
            connect(m, port, client)
        connect(m, mux.port, flipped(self.port))
        self._progress(m, rings, fetch, heads, self.opened.valid & self.opened.ready)
        connect(m, chooser.o, fetch.i)
        connect(m, fetch.o, issuer.i)
        connect(m, fetch.head_request, heads.request)
        connect(m, heads.o, issuer.head)
        connect(m, issuer.token_request, tokens.request)
        connect(m, tokens.ids, flipped(self.ids))
        connect(m, tokens.failed, flipped(self.failed))
        connect(m, flipped(self.entry), issuer.entry)
        for name in ("opened", "closed", "open_head", "append", "layer", "job", "heads"):
            connect(m, getattr(issuer, name), flipped(getattr(self, name)))
        m.d.comb += [
            self.tables.eq(issuer.tables),
            self.table.eq(fetch.table),
            fetch.conflict.eq(self.conflict),
            fetch.opened.eq(issuer.opened.valid & issuer.opened.ready),
            *(mine.eq(settings.readable) for mine, settings in zip(fetch.readable, self.queue, strict=True)),
            self.pair_open.eq(issuer.pair_open),
            issuer.busy.eq(self.busy),
            issuer.append_code.eq(self.append_code),
            *(issuer.cancel[index].eq(settings.cancel) for index, settings in enumerate(self.queue)),
            *(issuer.pause[index].eq(settings.pause) for index, settings in enumerate(self.queue)),
        ]
        return m

    def _rings(self, m, chooser):
        """A ring for each queue."""
        rings = []
        for index, settings in enumerate(self.queue):
            m.submodules[f"ring_{index}"] = ring = CommandRing(word_width=self.word_width)
            connect(m, ring.o, chooser.slot[index])
            m.d.comb += [
                *(getattr(ring, name).eq(settings[name]) for name in RING_SETTINGS),
                *(getattr(chooser, name)[index].eq(settings[name]) for name in ("readable", "pause", "cancel")),
                chooser.spare[index].eq(ring.spare),
                self.head[index].eq(ring.head),
            ]
            rings.append(ring)
        return rings

    def _progress(self, m, rings, fetch, heads, opened):
        """How far the commands of each queue are."""
        reads = fetch.reading | heads.reading
        for index, (ring, begun) in enumerate(zip(rings, self.begun, strict=True)):
            between = Signal(name=f"between_{index}")  # commands have left the ring, and have not begun
            m.d.comb += [
                between.eq(ring.number != begun),
                self.idle[index].eq(ring.idle & ~between),
                self.reading[index].eq(ring.reading | (between & (reads | ~self.queue[index].pause))),
            ]
            with m.If(opened & (self.opened.payload.fetched.queue == index)):
                m.d.sync += begun.eq(begun + 1)
            with m.Elif(~self.queue[index].enable & ring.idle & ~between):
                m.d.sync += begun.eq(0)
