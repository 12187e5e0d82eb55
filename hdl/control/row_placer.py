"""Where the V rows of a row lie."""

from __future__ import annotations

from amaranth.hdl import Array, Module
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out

from hdl.spec import payloads
from hdl.spec.config import Config

__all__ = ["RowPlacer"]


class RowPlacer(wiring.Component):
    """Tells prob×V the region of the V buffer in which a row's V rows lie, or will: it is known once V is commanded.

    Combinational: latency 0, initiation interval 1.

    Members
    -------
    commanded : In(contexts)                   V of this context is being loaded or gathered,
    slot, seq : In(n).array(contexts)          to this region, with this sequence number of the first row
    i : In(stream.Signature(value_row))        waits until V of its job is commanded
    o : Out(stream.Signature(placed_row))
    """

    def __init__(self, config: Config):
        self.config = config
        super().__init__(
            {
                "commanded": In(config.contexts),
                "slot": In(config.slot_width).array(config.contexts),
                "seq": In(config.seq_width).array(config.contexts),
                "i": In(stream.Signature(payloads.value_row(config))),
                "o": Out(stream.Signature(payloads.placed_row(config))),
            }
        )

    def elaborate(self, platform):
        m = Module()
        row, placed = self.i.payload, self.o.payload
        context = row.tag.context
        commanded = self.commanded.bit_select(context, 1)
        m.d.comb += [
            *(placed[name].eq(row[name]) for name in payloads.value_row(self.config).members),
            placed.slot.eq(Array(self.slot)[context]),
            placed.seq.eq(Array(self.seq)[context]),
            self.o.valid.eq(self.i.valid & commanded),
            self.i.ready.eq(self.o.ready & commanded),
        ]
        return m
