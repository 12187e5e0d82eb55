"""Ids and importance of a table of tokens, for the core."""

from __future__ import annotations

from amaranth.hdl import Module
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out, connect, flipped

from hdl.command.open_commands import ENTRY_WIDTH
from hdl.command.read_port import ReadPort, check_word_width
from hdl.command.record_reader import RecordFetcher
from hdl.command.token_beats import TokenBeats, token_group
from hdl.spec.config import Config
from hdl.spec.formats import TABLE_HEADER_BYTES
from hdl.spec.payloads import job_id_entry
from hdl.spec.widths import bits_for_count

__all__ = ["TokenReader", "token_request"]


def token_request(config: Config) -> data.StructLayout:
    """All ``count`` tokens of the table at an address, at least one, for an open command."""
    return data.StructLayout({"address": 64, "count": bits_for_count(config.max_tokens), "entry": ENTRY_WIDTH})


class TokenReader(wiring.Component):
    """Reads a table behind its header, to the end of the last group of ``lanes`` tokens.

    A beat a cycle, or a word a cycle if that is less; a request is taken when the one before it is out. In place of a
    word that could not be read the core gets zeros, and ``failed`` names the command.

    Members
    -------
    request : In(stream.Signature(token_request))
    asks : Out(1)       the request taken last waits for the port
    port : Out(ReadPort)
    ids : Out(stream.Signature(job_id_entry))
    failed : Out(stream.Signature(ENTRY_WIDTH, always_ready=True))    at the latest with the table's last ids
    """

    def __init__(self, config: Config, *, word_width: int):
        self.config, self.word_width = config, check_word_width(word_width)
        super().__init__(
            {
                "request": In(stream.Signature(token_request(config))),
                "asks": Out(1),
                "port": Out(ReadPort(word_width)),
                "ids": Out(stream.Signature(job_id_entry(config))),
                "failed": Out(stream.Signature(ENTRY_WIDTH, always_ready=True)),
            }
        )

    def elaborate(self, platform):
        m = Module()
        config, group = self.config, token_group(self.config)
        m.submodules.fetcher = fetcher = RecordFetcher(group, word_width=self.word_width)
        m.submodules.beats = beats = TokenBeats(config)
        connect(m, fetcher.port, flipped(self.port))
        connect(m, fetcher.o, beats.i)
        connect(m, beats.o, flipped(self.ids))
        request, wanted = fetcher.request, self.request.payload
        groups = (wanted.count + config.lanes - 1) >> (config.lanes.bit_length() - 1)
        words = (groups * group.size + self.word_width - 1) >> (self.word_width.bit_length() - 1)
        m.d.comb += [
            request.valid.eq(self.request.valid),
            self.request.ready.eq(request.ready),
            self.asks.eq(fetcher.asks),
            request.payload.address.eq(wanted.address + TABLE_HEADER_BYTES),
            request.payload.words.eq(words),
            request.payload.records.eq(groups),
            self.failed.valid.eq(fetcher.o.valid & fetcher.o.payload.error),
        ]
        with m.If(self.request.valid & self.request.ready):
            m.d.sync += [beats.count.eq(wanted.count), self.failed.payload.eq(wanted.entry)]
        return m
