"""Entries of tables of heads, read ahead."""

from __future__ import annotations

from amaranth.hdl import Module, Mux, Signal
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out, connect, flipped

from hdl.command.read_port import WORDS_WIDTH, ReadPort, check_word_width
from hdl.command.record_reader import RecordFetcher
from hdl.spec.config import Config
from hdl.spec.formats import HEAD_BYTES, head_row
from hdl.spec.widths import HEAD_FIELD_WIDTH, bits_for_count
from hdl.stream.stream_queue import StreamQueue

__all__ = ["HeadReader", "head_request", "table_head"]


def head_request() -> data.StructLayout:
    """Entries ``first`` … ``first + count`` - 1 of the table at an address; count is from 1 to ``max_heads``."""
    return data.StructLayout({"address": 64, "first": 16, "count": HEAD_FIELD_WIDTH})


def table_head() -> data.StructLayout:
    """An entry of the table."""
    return data.StructLayout({"row": head_row(), "last": 1, "error": 1})


class HeadReader(wiring.Component):
    """Reads entries from the word on in which the first one lies; entries in front of it are dropped.

    A request is taken when there is room for all of its entries, so that no word of them waits at the port; entries
    come in the order of the requests. An entry a cycle, or a word a cycle if that is less.

    Members
    -------
    request : In(stream.Signature(head_request))
    port : Out(ReadPort)
    o : Out(stream.Signature(table_head))
    reading : Out(1)                              entries have been asked for that are not here
    """

    AHEAD = 8
    """Requests whose entries have not all come, besides the one whose entries come."""

    def __init__(self, config: Config, *, word_width: int):
        self.word_width = check_word_width(word_width)
        self.places = max(3, config.max_heads)
        super().__init__(
            {
                "request": In(stream.Signature(head_request())),
                "port": Out(ReadPort(word_width)),
                "o": Out(stream.Signature(table_head())),
                "reading": Out(1),
            }
        )

    def elaborate(self, platform):
        m = Module()
        m.submodules.fetcher = fetcher = RecordFetcher(head_row(), word_width=self.word_width, ahead=self.AHEAD)
        connect(m, fetcher.port, flipped(self.port))
        request, wanted = fetcher.request, self.request.payload
        low = (self.word_width // 8).bit_length() - 1
        log_entry = HEAD_BYTES.bit_length() - 1
        log_per = max(0, low - log_entry)  # entries of a word
        skip, total = Signal(max(1, log_per)), Signal(WORDS_WIDTH)
        m.submodules.skips = skips = StreamQueue(len(skip), depth=self.AHEAD + 2)
        go, room = Signal(), self._room(m)
        m.d.comb += [
            skip.eq(wanted.first[:log_per] if log_per else 0),
            total.eq(wanted.count + skip),  # entries that are read
            request.valid.eq(self.request.valid & room & skips.i.ready),
            self.request.ready.eq(request.ready & room & skips.i.ready),
            go.eq(self.request.valid & self.request.ready),
            request.payload.address.eq(wanted.address + ((wanted.first >> log_per) << max(low, log_entry))),
            request.payload.words.eq((total + (1 << log_per) - 1) >> log_per << max(0, log_entry - low)),
            request.payload.records.eq(total),
            skips.i.valid.eq(go),
            skips.i.payload.eq(skip),
            self.reading.eq(skips.level != 0),
        ]
        self._give(m, fetcher.o, skips)
        return m

    def _room(self, m):
        """Whether there are places for the entries of the request on offer; a place is free when its entry has left."""
        free = Signal(bits_for_count(self.places), init=self.places)
        taken = Mux(self.request.valid & self.request.ready, self.request.payload.count, 0)
        m.d.sync += free.eq(free - taken + (self.o.valid & self.o.ready))
        return self.request.payload.count <= free

    def _give(self, m, entry, skips):
        """Entries to their places, but for the first ``skip`` of each request."""
        m.submodules.entries = entries = StreamQueue(table_head(), depth=self.places)
        connect(m, entries.o, flipped(self.o))
        dropped = Signal.like(skips.o.payload)
        drop = dropped != skips.o.payload
        m.d.comb += [
            entries.i.valid.eq(entry.valid & skips.o.valid & ~drop),
            entry.ready.eq(skips.o.valid & (entries.i.ready | drop)),
            entries.i.payload.row.eq(entry.payload.record),
            entries.i.payload.last.eq(entry.payload.last),
            entries.i.payload.error.eq(entry.payload.error),
            skips.o.ready.eq(entry.valid & entry.ready & entry.payload.last),
        ]
        with m.If(entry.valid & entry.ready):
            m.d.sync += dropped.eq(Mux(entry.payload.last, 0, dropped + drop))
        return m
