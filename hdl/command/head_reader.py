"""Entries of a table of heads."""

from __future__ import annotations

from amaranth.hdl import Module, Signal
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out, connect, flipped

from hdl.command.read_port import WORDS_WIDTH, ReadPort, check_word_width
from hdl.command.record_reader import RecordFetcher
from hdl.spec.formats import HEAD_BYTES, head_row
from hdl.spec.widths import HEAD_FIELD_WIDTH

__all__ = ["HeadReader", "head_request", "table_head"]


def head_request() -> data.StructLayout:
    """Entries ``first`` … ``first + count`` - 1 of the table at an address; count is from 1 to 255."""
    return data.StructLayout({"address": 64, "first": 16, "count": HEAD_FIELD_WIDTH})


def table_head() -> data.StructLayout:
    """An entry of the table."""
    return data.StructLayout({"row": head_row(), "last": 1, "error": 1})


class HeadReader(wiring.Component):
    """Reads entries from the word on in which the first one lies; entries in front of it are dropped.

    An entry a cycle, or a word a cycle if that is less; a request is taken when the one before it is out.

    Members
    -------
    request : In(stream.Signature(head_request))
    port : Out(ReadPort)
    o : Out(stream.Signature(table_head))
    """

    def __init__(self, *, word_width: int):
        self.word_width = check_word_width(word_width)
        super().__init__(
            {
                "request": In(stream.Signature(head_request())),
                "port": Out(ReadPort(word_width)),
                "o": Out(stream.Signature(table_head())),
            }
        )

    def elaborate(self, platform):
        m = Module()
        m.submodules.fetcher = fetcher = RecordFetcher(head_row(), word_width=self.word_width)
        connect(m, fetcher.port, flipped(self.port))
        request, wanted = fetcher.request, self.request.payload
        low = (self.word_width // 8).bit_length() - 1
        log_entry = HEAD_BYTES.bit_length() - 1
        log_per = max(0, low - log_entry)  # entries of a word
        skip, total = Signal(max(1, log_per)), Signal(WORDS_WIDTH)
        m.d.comb += [
            skip.eq(wanted.first[:log_per] if log_per else 0),
            total.eq(wanted.count + skip),  # entries that are read
            request.valid.eq(self.request.valid),
            self.request.ready.eq(request.ready),
            request.payload.address.eq(wanted.address + ((wanted.first >> log_per) << max(low, log_entry))),
            request.payload.words.eq((total + (1 << log_per) - 1) >> log_per << max(0, log_entry - low)),
            request.payload.records.eq(total),
        ]
        drop = Signal.like(skip)
        with m.If(self.request.valid & self.request.ready):
            m.d.sync += drop.eq(skip)
        self._give(m, fetcher.o, drop)
        return m

    def _give(self, m, entry, drop):
        """Entries, but for the first ``drop``."""
        m.d.comb += [
            self.o.valid.eq(entry.valid & (drop == 0)),
            entry.ready.eq(self.o.ready | (drop != 0)),
            self.o.payload.row.eq(entry.payload.record),
            self.o.payload.last.eq(entry.payload.last),
            self.o.payload.error.eq(entry.payload.error),
        ]
        with m.If(entry.valid & (drop != 0)):
            m.d.sync += drop.eq(drop - 1)
