"""One memory channel of the core on an AXI4 bus."""

from __future__ import annotations

from amaranth.hdl import Module, Mux, Signal
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out

from hdl.axi.axi4 import BEATS_WIDTH, INCR, AXI4Read, BusFault, bus_fault
from hdl.axi.burst_merger import BurstMerger
from hdl.axi.bus_guard import BurstCredit, BusGuard
from hdl.axi.read_answers import ReadAnswers
from hdl.spec.config import Config
from hdl.spec.widths import bits_for_count

__all__ = ["ReadManager"]


def _check(depth, words):
    if not isinstance(depth, int) or not 1 <= depth <= 256:
        raise ValueError(f"depth must be an integer from 1 to 256, not {depth!r}")
    if not isinstance(words, int) or words < 1:
        raise ValueError(f"words must be a positive integer, not {words!r}")


class ReadManager(wiring.Component):
    """Reads words over AXI4 in bursts, and gives them in the order of the requests; see docs/axi.md.

    It belongs outside the core's reset. Whoever asks takes every word at once: it asks only for what it has room for.
    A word outside the window, and every fault of the bus, sets ``fault``; from then on nothing new goes to the bus, and
    every word asked for is 0, until a stop. ``stop`` forgets what was asked for: no word comes after it. ``arvalid``
    still stays until ``arready``, and beats are taken and dropped until none is owed; then ``idle`` rises, and so late
    is ``fault`` cleared and are requests taken again. Latency beside the bus's 4 + BurstMerger.PATIENCE for a word
    alone; one word a cycle.

    Members
    -------
    request : In(stream.Signature(word_width))              word number in the channel
    window_base : In(word_width)                    first word that the request on offer may read
    window_limit : In(word_width + 1)               first word after those
    response : Out(stream.Signature(data_width, always_ready=True))
    bus : Out(AXI4Read)
    base : In(address_width)    byte address of word 0, a multiple of 4096; this and the next 4 change while idle
    cache : In(4)               ARCACHE
    prot : In(3)                ARPROT
    max_burst : In(9)           most beats of a burst, 1…256
    max_outstanding : In(n)     most bursts that are asked for and not over, 1…depth
    tick : In(1)                time-outs: see :class:`hdl.axi.bus_guard.SilenceTimer`
    stop : In(1)                high for a cycle or more
    idle : Out(1)               nothing is asked for, and the bus owes nothing
    fault : Out(bus_fault)      code is 0 if there is none
    hung : Out(1)               a stop or fault waits for the bus, which is silent for a time-out
    dropped : Out(1)            a beat is thrown away: late or surplus
    issued : Out(1)             pulse: a burst is asked for; every word given is of a burst that was
    ended : Out(1)              pulse: a burst is over, or forgotten
    """

    def __init__(
        self,
        config: Config,
        *,
        address_width: int = 64,
        depth: int = 16,
        words: int | None = None,
        data_width: int | None = None,
        word_width: int | None = None,
    ):
        """``depth``: most bursts in flight. ``words``: most words in flight that are asked for (``outstanding``).

        ``data_width``: of a word, and ``word_width``: of its number; by default those of the configuration's channels.
        """
        self.address_width, self.depth = address_width, depth
        self.data_width = config.channel_width if data_width is None else data_width
        self.word_width = width = config.address_width if word_width is None else word_width
        self.words = config.outstanding if words is None else words
        _check(depth, self.words)
        super().__init__(
            {
                "request": In(stream.Signature(width)),
                "window_base": In(width),
                "window_limit": In(width + 1),
                "response": Out(stream.Signature(self.data_width, always_ready=True)),
                "bus": Out(AXI4Read(address_width=address_width, data_width=self.data_width)),
                "base": In(address_width),
                "cache": In(4),
                "prot": In(3),
                "max_burst": In(BEATS_WIDTH + 1),
                "max_outstanding": In(bits_for_count(depth)),
                "tick": In(1),
                "stop": In(1),
                "idle": Out(1),
                "fault": Out(bus_fault(width)),
                **dict.fromkeys(("hung", "dropped", "issued", "ended"), Out(1)),
            }
        )

    def elaborate(self, platform):
        m = Module()
        width, data_width = self.word_width, self.data_width
        m.submodules.merger = BurstMerger(address_width=self.address_width, data_width=data_width, word_width=width)
        m.submodules.answers = ReadAnswers(data_width=data_width, word_width=width, depth=self.depth)
        m.submodules.credit = BurstCredit(self.depth)
        m.submodules.guard = BusGuard(
            width, codes=(BusFault.RESPONSE, BusFault.LAST, BusFault.SURPLUS, BusFault.WINDOW)
        )
        outside = self._ask(m)
        self._bus(m)
        self._guard(m, outside)
        return m

    def _ask(self, m):
        """Requests to the merger, or to nowhere; words to those who asked. Whether the last request was outside."""
        answers, merger, guard = m.submodules.answers, m.submodules.merger, m.submodules.guard
        owed = Signal(bits_for_count(self.words))  # words asked for that did not come
        room, some = Signal(init=1), Signal()
        taken, outside = Signal(), Signal()
        word = self.request.payload
        m.d.comb += [
            taken.eq(self.request.valid & self.request.ready),
            self.request.ready.eq(room & ~guard.stopped & (guard.failed | merger.i.ready)),
            merger.i.valid.eq(self.request.valid & room & ~guard.stopped),
            merger.i.payload.eq(word),
            # The last word taken needs two cycles to the bus, its fault one.
            merger.discard.eq(guard.drop),
            answers.drop.eq(guard.drop),
            some.eq(owed != 0),
            self.response.valid.eq(answers.o.valid | (guard.failed & some & ~guard.stopped)),
            self.response.payload.eq(answers.o.payload),
            self.idle.eq(~merger.busy & ~answers.busy & ~some),
        ]
        m.d.sync += [
            outside.eq(taken & ((word < self.window_base) | (word >= self.window_limit))),
            # As of the new number: the request shall not go through an adder.
            room.eq(self.response.valid | guard.stopped | (room & ~(taken & (owed == self.words - 1)))),
        ]
        with m.If(guard.stopped):
            m.d.sync += owed.eq(0)
        with m.Elif(taken != self.response.valid):
            m.d.sync += owed.eq(owed + Mux(taken, 1, -1))
        return outside

    def _bus(self, m):
        answers, merger, credit = m.submodules.answers, m.submodules.merger, m.submodules.credit
        bus, asked = self.bus, merger.o
        m.d.comb += [
            merger.base.eq(self.base),
            merger.max_burst.eq(self.max_burst),
            bus.arvalid.eq(asked.valid),
            bus.araddr.eq(asked.payload.address),
            bus.arlen.eq(asked.payload.beats),
            bus.arsize.eq(merger.log_bytes),
            bus.arburst.eq(INCR),
            bus.arcache.eq(self.cache),
            bus.arprot.eq(self.prot),
            bus.rready.eq(1),
            asked.ready.eq(bus.arready),
            answers.burst.valid.eq(asked.valid & asked.ready),
            answers.burst.payload.word.eq(asked.payload.word),
            answers.burst.payload.beats.eq(asked.payload.beats),
            answers.beat.valid.eq(bus.rvalid),
            answers.beat.payload.data.eq(bus.rdata),
            answers.beat.payload.resp.eq(bus.rresp),
            answers.beat.payload.last.eq(bus.rlast),
            credit.most.eq(self.max_outstanding),
            credit.issued.eq(merger.issued),
            credit.ended.eq(answers.ended),
            merger.allow.eq(credit.allow),
            merger.eager.eq(credit.none & ~merger.issued),
            self.issued.eq(merger.issued),
            self.ended.eq(answers.ended),
        ]

    def _guard(self, m, outside):
        answers, guard, merger = m.submodules.answers, m.submodules.guard, m.submodules.merger
        asked, giving_up = merger.o, Signal()
        m.d.comb += [
            guard.tick.eq(self.tick),
            guard.waiting.eq(asked.valid | answers.busy),
            guard.progress.eq((asked.valid & asked.ready) | answers.seen),
            guard.oldest.eq(Mux(answers.known, answers.word, asked.payload.word)),
            guard.countless.eq(answers.lost & ~asked.valid),
            guard.stop.eq(self.stop),
            guard.idle.eq(self.idle),
            answers.give_up.eq(giving_up),
            self.dropped.eq(answers.dropped),
            self.hung.eq(guard.hung),
            self.fault.eq(guard.fault),
        ]
        m.d.sync += giving_up.eq(guard.forget | (giving_up & answers.lost))
        seen = (answers.response, answers.last, answers.surplus, outside)
        places = (answers.word, answers.word, 0, merger.taken_word)
        m.d.comb += [mine.eq(hit) for mine, hit in zip(guard.hit, seen, strict=True)]
        m.d.comb += [mine.eq(place) for mine, place in zip(guard.address, places, strict=True)]
