"""Makes the lines of quick-select from words of entries."""

from __future__ import annotations

from amaranth.hdl import Cat, Module, Mux, Signal, Value
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out

from hdl.cascade.entries import entry_word, table_count_width, table_rows
from hdl.spec import payloads
from hdl.spec.config import Config

__all__ = ["KeyLines"]


class KeyLines(wiring.Component):
    """What the entries of a table are ranked by, in lines of ``topk_parallelism``. A line stands in a register.

    Members
    -------
    en : In(1)                    take the word; only while ``waits`` is low
    valid : In(1)                 there is one
    word : In(entry_word(config))
    keep : In(n)                  entries that survive, for every line
    line : Out(stream.Signature(select_line(table_rows(config))))    a cycle after the word that fills it
    waits : Out(1)                a full line is not taken
    """

    def __init__(self, config: Config):
        self.config = config
        super().__init__(
            {
                "en": In(1),
                "valid": In(1),
                "word": In(entry_word(config)),
                "keep": In(table_count_width(config)),
                "line": Out(stream.Signature(payloads.select_line(table_rows(config)))),
                "waits": Out(1),
            }
        )

    def elaborate(self, platform):
        m = Module()
        lanes, word = self.config.lanes, self.word
        groups = self.config.topk_parallelism // lanes
        group = Signal(range(max(2, groups)))
        full = Signal()  # the word ends in the last lane of its group
        valid, line = Signal(), Signal(self.line.p.shape(), reset_less=True)
        m.d.comb += [
            full.eq(word.lane + word.count == lanes),
            self.line.valid.eq(valid),
            self.line.p.eq(line),
            self.line.p.k.eq(self.keep),
            self.waits.eq(valid & ~self.line.ready),
        ]
        with m.If(self.line.ready):
            m.d.sync += valid.eq(0)
        with m.If(self.en & self.valid):
            for place in range(groups * lanes):
                with m.If((group == place // lanes) & word.mask[place % lanes]):
                    m.d.sync += line.scores[place].eq(self._key(place % lanes))
            m.d.sync += [
                line.count.eq(group * lanes + word.lane + word.count),
                line.last.eq(word.last),
                valid.eq(word.last | (full & (group == groups - 1))),
            ]
            if groups > 1:  # else ``group`` stays 0
                with m.If(word.last):
                    m.d.sync += group.eq(0)
                with m.Elif(full):
                    m.d.sync += group.eq(group + 1)
        return m

    def _key(self, lane: int) -> Value:
        """The importance, or 2**32 if the entry is pinned, less 2**32 to make it signed."""
        pinned = self.word.pinned[lane]
        return Cat(Mux(pinned, 0, self.word.entries[lane].importance), ~pinned).as_signed()
