"""Requests for single words to bursts."""

from __future__ import annotations

from amaranth.hdl import Module, Signal
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

from hdl.axi.axi4 import BEATS_WIDTH, PAGE_BYTES, check_bus

__all__ = ["BurstMerger", "burst"]


def burst(address_width: int, word_width: int) -> data.StructLayout:
    """A request to the bus."""
    return data.StructLayout(
        {
            "address": address_width,  # AxADDR: byte address of its first word
            "beats": BEATS_WIDTH,  # AxLEN: words after the first
            "word": word_width,  # the first word, as it was asked for
        }
    )


class BurstMerger(wiring.Component):
    """Joins requests for words that follow each other to bursts.

    A burst ends before a word that is not the next one, with ``max_burst`` words, at a page of 4 KiB, and when no
    request comes for more than ``PATIENCE`` cycles: nothing waits for a request that may never come. While the request
    before waits for the bus, or ``allow`` is low, it goes on growing. Latency 3 + PATIENCE for a word alone, one word a
    cycle.

    Members
    -------
    i : In(stream.Signature(word_width))    word numbers
    base : In(address_width)     byte address of word 0, a multiple of 4096 (lower bits count as 0); quasi-static
    max_burst : In(9)            most words of a burst, 1…256, 0 counts as 256; quasi-static
    allow : In(1)                a burst may go to ``o``
    eager : In(1)                nothing is on the bus: words go as they are, since waiting for others costs their time
    discard : In(1)              forget every word that is not in ``o``
    taken_word : Out(word_width)    the last word taken
    issued : Out(1)              a burst goes to ``o``, from where nothing removes it
    busy : Out(1)                words are inside
    o : Out(stream.Signature(burst))
    """

    PATIENCE = 2

    def __init__(self, *, address_width: int, data_width: int, word_width: int):
        check_bus(address_width, data_width)
        self.log_bytes = (data_width // 8).bit_length() - 1
        self.page_bits = (PAGE_BYTES * 8 // data_width).bit_length() - 1  # of a word number, within its page
        super().__init__(
            {
                "i": In(stream.Signature(word_width)),
                "base": In(address_width),
                "max_burst": In(BEATS_WIDTH + 1),
                **dict.fromkeys(("allow", "eager"), In(1)),
                "discard": In(1),
                "taken_word": Out(word_width),
                "issued": Out(1),
                "busy": Out(1),
                "o": Out(stream.Signature(burst(address_width, word_width))),
            }
        )

    def elaborate(self, platform):
        m = Module()
        # The word taken last, and whether it follows the one before it in the same page.
        word, held, follows = self.taken_word, Signal(), Signal()
        following = Signal.like(word, reset_less=True)
        # The burst that grows: its first word, the words after it, and how many more may come.
        opened, first = Signal(), Signal.like(word, reset_less=True)
        beats, left = Signal(BEATS_WIDTH, reset_less=True), Signal(BEATS_WIDTH, reset_less=True)
        full, extends, moves = Signal(), Signal(), Signal()
        m.d.comb += [
            full.eq(left == 0),
            extends.eq(held & follows & opened & ~full),
            moves.eq(held & (extends | ~opened | self.issued)),
            self.i.ready.eq(~held | moves),
            self.busy.eq(held | opened | self.o.valid),
        ]
        with m.If(self.i.ready):
            m.d.sync += held.eq(self.i.valid)
        with m.If(self.i.valid & self.i.ready):
            m.d.sync += [
                word.eq(self.i.payload),
                following.eq(self.i.payload + 1),
                follows.eq((self.i.payload == following) & (self.i.payload[: self.page_bits] != 0)),
            ]
        with m.If(self.issued):
            m.d.sync += opened.eq(0)
        with m.If(extends):
            m.d.sync += [beats.eq(beats + 1), left.eq(left - 1)]
        with m.Elif(moves):
            m.d.sync += [opened.eq(1), first.eq(word), beats.eq(0), left.eq(self.max_burst - 1)]
        with m.If(self.eager):
            m.d.sync += left.eq(0)
        with m.If(self.discard):
            m.d.sync += [held.eq(0), opened.eq(0)]
        self._issue(m, held, opened & (full | (held & ~follows)), opened, first, beats)
        return m

    def _issue(self, m, held, ended, opened, first, beats):
        """The burst to ``o``, as soon as it is over and there is room."""
        waited = Signal(range(self.PATIENCE + 1))
        with m.If(held | ~opened):
            m.d.sync += waited.eq(0)
        with m.Elif(waited != self.PATIENCE):
            m.d.sync += waited.eq(waited + 1)
        over = ended | (opened & ~held & (waited == self.PATIENCE))
        o = self.o.payload
        m.d.comb += self.issued.eq(over & self.allow & ~self.discard & (~self.o.valid | self.o.ready))
        with m.If(self.issued):
            page = self.base[12:] + first[self.page_bits :]
            m.d.sync += [
                self.o.valid.eq(1),
                o.address[: self.log_bytes].eq(0),
                o.address[self.log_bytes : 12].eq(first[: self.page_bits]),
                o.address[12:].eq(page),
                o.beats.eq(beats),
                o.word.eq(first),
            ]
        with m.Elif(self.o.ready):
            m.d.sync += self.o.valid.eq(0)
