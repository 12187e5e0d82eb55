"""Several readers of commands and tables on one port."""

from __future__ import annotations

from amaranth.hdl import Cat, Module, Mux, Signal
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In, Out

from hdl.command.read_port import WORDS_WIDTH, ReadPort, check_word_width, read_request
from hdl.fetch.crossbar import RoundRobin
from hdl.stream.stream_queue import StreamQueue

__all__ = ["ReadMux"]


class ReadMux(wiring.Component):
    """Hands requests on in turn, each for as long as the client has waited least, and words back to who asked.

    Words come in the order of the requests: a client that does not take its own makes the others wait, so that each
    must take them without waiting for another one's. At most ``OPEN`` requests are on their way. Latency 1 for a
    request, 0 for a word.

    Members
    -------
    client : In(ReadPort).array(clients)
    port : Out(ReadPort)
    """

    OPEN = 16

    def __init__(self, *, clients: int, word_width: int):
        check_word_width(word_width)
        if not isinstance(clients, int) or not 1 <= clients <= 16:
            raise ValueError(f"clients must be from 1 to 16, not {clients!r}")
        self.clients = clients
        port = ReadPort(word_width)
        super().__init__({"client": In(port).array(clients), "port": Out(port)})

    def elaborate(self, platform):
        m = Module()
        owner = data.StructLayout({"client": range(self.clients), "words": WORDS_WIDTH})
        m.submodules.owners = owners = StreamQueue(owner, depth=self.OPEN)
        self._requests(m, owners)
        self._words(m, owners)
        return m

    def _requests(self, m, owners):
        """A register for the request on offer."""
        m.submodules.turn = turn = RoundRobin(self.clients)
        request, full = Signal(read_request(), reset_less=True), Signal()
        free, go = Signal(), turn.grant.any()
        m.d.comb += [
            free.eq((~full | self.port.request.ready) & owners.i.ready),
            self.port.request.valid.eq(full),
            self.port.request.payload.eq(request),
            turn.requests.eq(Cat(client.request.valid & free for client in self.client)),
            owners.i.valid.eq(go),
            owners.i.payload.client.eq(turn.index),
        ]
        with m.If(self.port.request.ready):
            m.d.sync += full.eq(0)
        with m.If(go):
            m.d.sync += full.eq(1)
        for index, client in enumerate(self.client):
            m.d.comb += client.request.ready.eq(turn.grant[index])
            with m.If(turn.grant[index]):
                m.d.comb += owners.i.payload.words.eq(client.request.payload.words)
                m.d.sync += request.eq(client.request.payload)

    def _words(self, m, owners):
        """Words of the oldest request to its client."""
        count = Signal(WORDS_WIDTH, init=1)
        last = count == owners.o.payload.words
        word = self.port.word
        with m.Switch(owners.o.payload.client):
            for index, client in enumerate(self.client):
                with m.Case(index):
                    m.d.comb += [
                        client.word.valid.eq(owners.o.valid & word.valid),
                        word.ready.eq(owners.o.valid & client.word.ready),
                    ]
        m.d.comb += [client.word.payload.eq(word.payload) for client in self.client]
        m.d.comb += owners.o.ready.eq(word.valid & word.ready & last)
        with m.If(word.valid & word.ready):
            m.d.sync += count.eq(Mux(last, 1, count + 1))
