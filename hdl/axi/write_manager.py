"""Words to memory on an AXI4 bus."""

from __future__ import annotations

from amaranth.hdl import Module, Mux, Signal
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

from hdl.axi.axi4 import BEATS_WIDTH, INCR, AXI4Write, BusFault, bus_fault, check_bus
from hdl.axi.burst_merger import BurstMerger
from hdl.axi.bus_guard import BurstCredit, BusGuard
from hdl.axi.write_beats import WriteAnswers, WriteBeats, write_beat
from hdl.spec.widths import bits_for_count

__all__ = ["TICKET_WIDTH", "WriteManager", "word_write"]

TICKET_WIDTH = 16
"""Bits of a count of words: more than twice as many as can be in flight."""


def word_write(address_width: int, data_width: int) -> data.StructLayout:
    """A word, or some of its bytes, to write."""
    log_bytes = (data_width // 8).bit_length() - 1
    return data.StructLayout(
        {"word": address_width - log_bytes, **write_beat(data_width).members}
    )  # byte address / bytes


class WriteManager(wiring.Component):
    """Writes words over AXI4 in bursts, and tells which of them have their responses; see docs/axi.md.

    Windows, faults, time-outs and stops are as of :class:`hdl.axi.read_manager.ReadManager`: what comes after a fault
    is taken and not written, and every burst that was begun on the bus is ended there with the words it was made for.

    ``taken`` and ``answered`` are counts of words, modulo 2**TICKET_WIDTH. All words up to one are in memory when
    ``answered`` has reached what ``taken`` was after it: the sign bit of answered − ticket is 0. After a fault
    ``answered`` follows ``taken``, so that nobody waits for ever; then look at ``fault`` first.

    Latency 4 + BurstMerger.PATIENCE from ``i`` to WVALID, 1 less to AWVALID, for a word alone; one word a cycle.

    Members
    -------
    i : In(stream.Signature(word_write))
    window_base : In(word_width)        number of the first word that the item on offer may write (byte address / bytes)
    window_limit : In(word_width + 1)   first word after those
    taken, answered : Out(TICKET_WIDTH)
    bus : Out(AXI4Write)
    cache : In(4)               AWCACHE; changes only while ``idle``, as the next three
    prot : In(3)                AWPROT
    max_burst : In(9)           most beats of a burst, 1…256; it gets at most as many as ``words``
    max_outstanding : In(n)     most bursts that are begun and have no response, 1…depth
    tick : In(1)
    stop : In(1)                high for a cycle or more
    idle : Out(1)               nothing waits here, and the bus owes nothing
    fault : Out(bus_fault)      number of the word; code is 0 if there is none
    hung : Out(1)               a stop or fault waits for the bus, which is silent for a time-out
    """

    def __init__(self, *, data_width: int, address_width: int = 64, depth: int = 8, words: int = 32):
        """``depth``: most bursts in flight. ``words``: most that wait for their burst or for the bus."""
        check_bus(address_width, data_width)
        if not isinstance(depth, int) or not 1 <= depth <= 64:
            raise ValueError(f"depth must be an integer from 1 to 64, not {depth!r}")
        if not isinstance(words, int) or not 3 <= words <= 256:
            raise ValueError(f"words must be an integer from 3 to 256, not {words!r}")
        self.data_width, self.address_width, self.depth, self.words = data_width, address_width, depth, words
        item = word_write(address_width, data_width)
        self.word_width = item["word"].width
        super().__init__(
            {
                "i": In(stream.Signature(item)),
                "window_base": In(self.word_width),
                "window_limit": In(self.word_width + 1),
                "taken": Out(TICKET_WIDTH),
                "answered": Out(TICKET_WIDTH),
                "bus": Out(AXI4Write(address_width=address_width, data_width=data_width)),
                "cache": In(4),
                "prot": In(3),
                "max_burst": In(BEATS_WIDTH + 1),
                "max_outstanding": In(bits_for_count(depth)),
                "tick": In(1),
                "stop": In(1),
                "idle": Out(1),
                "fault": Out(bus_fault(self.word_width)),
                "hung": Out(1),
            }
        )

    def elaborate(self, platform):
        m = Module()
        width, data_width = self.word_width, self.data_width
        m.submodules.merger = BurstMerger(address_width=self.address_width, data_width=data_width, word_width=width)
        m.submodules.beats = WriteBeats(data_width=data_width, word_width=width, depth=self.words, bursts=self.depth)
        m.submodules.answers = WriteAnswers(word_width=width, depth=self.depth)
        m.submodules.credit = BurstCredit(self.depth)
        m.submodules.guard = BusGuard(width, codes=(BusFault.RESPONSE, BusFault.SURPLUS, BusFault.WINDOW))
        outside = self._take(m)
        self._requests(m)
        ahead = self._beats(m)
        self._guard(m, outside, ahead)
        return m

    def _take(self, m):
        """Each word's number to the merger, its data to the queue; or neither. Whether the last one was outside."""
        merger, beats, guard = m.submodules.merger, m.submodules.beats, m.submodules.guard
        answers, word = m.submodules.answers, self.i.payload.word
        taken, outside = Signal(), Signal()
        m.d.comb += [
            self.i.ready.eq(~guard.stopped & (guard.failed | (merger.i.ready & beats.i.ready))),
            taken.eq(self.i.valid & self.i.ready),
            merger.i.valid.eq(self.i.valid & beats.i.ready & ~guard.drop),
            merger.i.payload.eq(word),
            beats.i.valid.eq(self.i.valid & merger.i.ready & ~guard.drop),
            beats.i.payload.data.eq(self.i.payload.data),
            beats.i.payload.strobes.eq(self.i.payload.strobes),
            # The last word taken needs two cycles to the bus, its fault one.
            merger.discard.eq(guard.drop),
            beats.discard.eq(guard.drop),
        ]
        m.d.sync += outside.eq(taken & ((word < self.window_base) | (word >= self.window_limit)))
        m.d.sync += self.taken.eq(self.taken + taken)
        with m.If(guard.drop):
            m.d.sync += self.answered.eq(self.taken + taken)
        with m.Elif(answers.ended & ~answers.response):
            m.d.sync += self.answered.eq(self.answered + answers.oldest.beats + 1)
        return outside

    def _requests(self, m):
        merger, beats, credit, answers = (getattr(m.submodules, n) for n in ("merger", "beats", "credit", "answers"))
        bus, asked, issued = self.bus, merger.o, Signal()
        m.d.sync += issued.eq(merger.issued)
        m.d.comb += [
            merger.max_burst.eq(self.max_burst),
            merger.allow.eq(credit.allow),
            bus.awvalid.eq(asked.valid),
            bus.awaddr.eq(asked.payload.address),
            bus.awlen.eq(asked.payload.beats),
            bus.awsize.eq(merger.log_bytes),
            bus.awburst.eq(INCR),
            bus.awcache.eq(self.cache),
            bus.awprot.eq(self.prot),
            asked.ready.eq(bus.awready),
            beats.burst.valid.eq(issued),
            beats.burst.payload.word.eq(asked.payload.word),
            beats.burst.payload.beats.eq(asked.payload.beats),
            credit.most.eq(self.max_outstanding),
            credit.issued.eq(merger.issued),
            credit.ended.eq(answers.ended),
        ]

    def _beats(self, m):
        """Words to the bus. A burst is begun when both its request and its last word are taken, in any order."""
        beats, answers, bus, asked = m.submodules.beats, m.submodules.answers, self.bus, m.submodules.merger.o
        ahead = Signal()  # the words of the request that waits are all taken
        ends, late = Signal(), Signal()
        m.d.comb += [
            bus.wvalid.eq(beats.o.valid),
            bus.wdata.eq(beats.o.payload.data),
            bus.wstrb.eq(beats.o.payload.strobes),
            bus.wlast.eq(beats.last),
            beats.o.ready.eq(bus.wready),
            ends.eq(beats.o.valid & beats.o.ready & beats.last),
            late.eq(asked.valid & ~asked.ready & beats.alone),
            bus.bready.eq(1),
            answers.answer.valid.eq(bus.bvalid),
            answers.answer.payload.eq(bus.bresp),
            answers.burst.valid.eq(Mux(ahead, asked.ready, ends & ~late)),
            answers.burst.payload.eq(beats.ended),
        ]
        with m.If(ahead):
            m.d.comb += [
                answers.burst.payload.word.eq(asked.payload.word),
                answers.burst.payload.beats.eq(asked.payload.beats),
            ]
            m.d.sync += ahead.eq(~asked.ready)
        with m.Else():
            m.d.sync += ahead.eq(ends & late)
        return ahead

    def _guard(self, m, outside, ahead):
        merger, beats, answers, guard = (getattr(m.submodules, n) for n in ("merger", "beats", "answers", "guard"))
        bus, asked = self.bus, merger.o
        moves = (asked.valid & asked.ready) | (bus.wvalid & bus.wready) | answers.seen
        m.d.comb += [
            self.idle.eq(~merger.busy & ~beats.busy & ~answers.busy),
            guard.tick.eq(self.tick),
            guard.waiting.eq(asked.valid | bus.wvalid | answers.busy),
            guard.progress.eq(moves),
            guard.oldest.eq(Mux(answers.known, answers.oldest.word, Mux(ahead, asked.payload.word, beats.ended.word))),
            guard.stop.eq(self.stop),
            guard.idle.eq(self.idle),
            self.fault.eq(guard.fault),
            self.hung.eq(guard.hung),
        ]
        seen = (answers.response, answers.surplus, outside)
        places = (answers.oldest.word, 0, merger.taken_word)
        m.d.comb += [mine.eq(hit) for mine, hit in zip(guard.hit, seen, strict=True)]
        m.d.comb += [mine.eq(place) for mine, place in zip(guard.address, places, strict=True)]
