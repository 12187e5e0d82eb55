"""Tokens of a table, as the core takes them."""

from __future__ import annotations

from amaranth.hdl import Module, Mux, Signal
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

from hdl.command.record_reader import read_record
from hdl.spec.config import Config
from hdl.spec.formats import token_row
from hdl.spec.payloads import job_id_entry
from hdl.spec.widths import ID_WIDTH, bits_for_count

__all__ = ["TokenBeats", "token_group"]


def token_group(config: Config) -> data.ArrayLayout:
    """Tokens of the table that the core takes at once."""
    return data.ArrayLayout(token_row(), config.lanes)


class TokenBeats(wiring.Component):
    """Ids and importance of ``lanes`` tokens at a time; the last beat has what is left of ``count``.

    An id that the core has no bits for becomes the largest one, which it refuses. Combinational.

    Members
    -------
    count : In(n)      tokens of the table; constant until its last beat has left
    i : In(stream.Signature(read_record(token_group(config))))    ceil(count / lanes) records
    o : Out(stream.Signature(job_id_entry))
    """

    def __init__(self, config: Config):
        self.config = config
        super().__init__(
            {
                "count": In(bits_for_count(config.max_tokens)),
                "i": In(stream.Signature(read_record(token_group(config)))),
                "o": Out(stream.Signature(job_id_entry(config))),
            }
        )

    def elaborate(self, platform):
        m = Module()
        lanes, beat = self.config.lanes, self.o.payload
        before = Signal.like(self.count)  # tokens of the beats that have left
        m.d.comb += [
            self.o.valid.eq(self.i.valid),
            self.i.ready.eq(self.o.ready),
            beat.last.eq(self.i.payload.last),
            beat.count.eq(Mux(self.i.payload.last, self.count - before, lanes)),
        ]
        for lane in range(lanes):
            token = self.i.payload.record[lane]
            m.d.comb += [
                beat.ids[lane].eq(Mux(token.id[ID_WIDTH:].any(), (1 << ID_WIDTH) - 1, token.id)),
                beat.importance[lane].eq(token.importance),
            ]
        with m.If(self.o.valid & self.o.ready):
            m.d.sync += before.eq(Mux(beat.last, 0, before + lanes))
        return m
