"""Compares words of entries with the threshold of their table."""

from __future__ import annotations

from amaranth.hdl import Module, Mux, Signal, signed
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from hdl.cascade.entries import KEY_WIDTH, entry_word, table_count_width
from hdl.spec import numerics as N
from hdl.spec.config import Config
from hdl.topk.keep_mask import KeepMask

__all__ = ["SurvivorMask"]


class SurvivorMask(wiring.Component):
    """Entries above the threshold survive, and of those equal to it the first ``ties``. One cycle, a word every cycle.

    Bit-exact with :func:`golden.datapath.integer.keep_mask` of the keys of :mod:`hdl.cascade.key_lines`.

    Members
    -------
    set : In(1)                   pulse: threshold and ties of the table that follows
    threshold : In(signed(KEY_WIDTH))
    ties : In(n)
    en : In(1)                    take the word; only while ``waits`` is low
    valid : In(1)                 there is one
    word : In(entry_word(config))
    compared_valid : Out(1)
    compared : Out(entry_word(config))    the word, a cycle later; holds until it is taken
    keep : Out(lanes)             which of its entries survive
    ready : In(1)                 it can be taken
    taken : Out(1)                it is
    waits : Out(1)                there is one, and it is not
    """

    def __init__(self, config: Config):
        self.config = config
        super().__init__(
            {
                "set": In(1),
                "threshold": In(signed(KEY_WIDTH)),
                "ties": In(table_count_width(config)),
                "en": In(1),
                "valid": In(1),
                "word": In(entry_word(config)),
                "compared_valid": Out(1),
                "compared": Out(entry_word(config)),
                "keep": Out(config.lanes),
                "ready": In(1),
                "taken": Out(1),
                "waits": Out(1),
            }
        )

    def elaborate(self, platform):
        m = Module()
        config, word = self.config, self.word
        m.submodules.mask = mask = KeepMask(lanes=config.lanes, count_width=len(self.ties))
        threshold, ties = Signal(signed(KEY_WIDTH), reset_less=True), Signal(self.ties.shape(), reset_less=True)
        new, compared = Signal(), Signal(entry_word(config), reset_less=True)
        above, equal = Signal(config.lanes, reset_less=True), Signal(config.lanes, reset_less=True)
        least, below_pinned = threshold[: N.IMPORTANCE_WIDTH], threshold[-1]
        with m.If(self.en):
            m.d.sync += [new.eq(self.valid), compared.eq(word)]
            for lane in range(config.lanes):
                # As the keys compare; without them, since the way through pinned to the comparison is too long.
                greater, same = (importance := word.entries[lane].importance) > least, importance == least
                m.d.sync += above[lane].eq(word.mask[lane] & below_pinned & (word.pinned[lane] | greater))
                m.d.sync += equal[lane].eq(word.mask[lane] & Mux(word.pinned[lane], ~below_pinned, below_pinned & same))
        m.d.comb += [
            mask.greater.eq(above),
            mask.equal.eq(equal),
            mask.ties.eq(ties),
            self.keep.eq(mask.keep),
            self.compared_valid.eq(new),
            self.compared.eq(compared),
            self.taken.eq(new & self.ready),
            self.waits.eq(new & ~self.taken),
        ]
        with m.If(self.taken):
            m.d.sync += ties.eq(ties - mask.used)
        with m.If(self.set):
            m.d.sync += [threshold.eq(self.threshold), ties.eq(self.ties)]
        return m
