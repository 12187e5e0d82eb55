"""Reads a table of heads or tokens from its begin to its end, with the decay of importance."""

from __future__ import annotations

from amaranth.hdl import Module, Mux, Signal
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In, Out

from hdl.cascade.entries import entry_place, entry_word, log_lanes, table_count_width
from hdl.spec import numerics as N
from hdl.spec import payloads
from hdl.spec.config import Config
from hdl.spec.widths import HEAD_FIELD_WIDTH, bits_for_count

__all__ = ["TableReader"]

_STEP = 16
"""Bits of importance that the first stage of the shift by ``decay`` moves."""


class TableReader(wiring.Component):
    """Words of entries in order: memory, shift by ``decay``, subtraction. A head is alone in its word.

    The shift by 16 is done on the way from the memory, the rest on the way to the subtraction. Words come ``LATENCY``
    enabled cycles after they are asked for, one every enabled cycle. Importance falls as
    :func:`golden.datapath.cascade.decayed`.

    Members
    -------
    en : In(1)                    all stages move
    start : In(1)                 pulse: read the table from its begin on
    tokens : In(1)                the table is that of the tokens; steady from before ``start``
    count : In(n)                 its entries
    job : In(select_command(config))    decay and pins; steady
    head_read_en, head_rank : Out
    head_id, head_importance : In    of the rank, one enabled cycle later; hold until the next read
    token_read_en, token_word : Out
    token_ids, token_importance : In    of the positions word * lanes, …, one enabled cycle later; hold until the next
                                        read
    valid : Out(1)
    word : Out(entry_word(config))
    """

    LATENCY = 3

    def __init__(self, config: Config):
        self.config = config
        super().__init__(
            {
                "en": In(1),
                "start": In(1),
                "tokens": In(1),
                "count": In(table_count_width(config)),
                "job": In(payloads.select_command(config)),
                "head_read_en": Out(1),
                "head_rank": Out(config.head_width),
                "head_id": In(HEAD_FIELD_WIDTH),
                "head_importance": In(N.IMPORTANCE_WIDTH),
                "token_read_en": Out(1),
                "token_word": Out(bits_for_count(-(-config.max_tokens // config.lanes) - 1)),
                "token_ids": In(data.ArrayLayout(config.position_width, config.lanes)),
                "token_importance": In(data.ArrayLayout(N.IMPORTANCE_WIDTH, config.lanes)),
                "valid": Out(1),
                "word": Out(entry_word(config)),
            }
        )

    def elaborate(self, platform):
        m = Module()
        scan, index, place = self._walk(m)
        arrived, fetched, valid = (Signal(name=name) for name in ("arrived", "fetched", "valid"))
        here = Signal(place.shape(), reset_less=True)
        start = Signal.like(index, reset_less=True)
        raw, word = (Signal(entry_word(self.config), name=name, reset_less=True) for name in ("raw", "word"))
        with m.If(self.en):
            m.d.sync += [
                arrived.eq(scan),
                fetched.eq(arrived),
                valid.eq(fetched),
                here.eq(place),
                start.eq(index),
                *(raw[name].eq(here[name]) for name in here.shape().members),
                word.eq(raw),
            ]
        decays = Signal(reset_less=True)
        m.d.sync += decays.eq(self.tokens & (self.job.decay != 0))
        for lane in range(self.config.lanes):
            self._load(m, lane, start, here, decays, raw, word)
        m.d.comb += [self.valid.eq(valid), self.word.eq(word)]
        return m

    def _walk(self, m: Module):
        """Addresses, a head or a word of tokens a cycle: whether there is one, its first index, its entries' place."""
        config, tokens, log = self.config, self.tokens, log_lanes(self.config)
        scan = Signal()  # entries are left to read
        index, beyond = Signal(self.count.shape()), Signal(self.count.shape())  # next to read, entries after it
        place = Signal(entry_place(config), reset_less=True)
        step, in_word = Mux(tokens, config.lanes, 1), beyond[:log]
        m.d.comb += [
            place.last.eq(~beyond[log:].any() & (tokens | ~in_word.any())),
            place.lane.eq(Mux(tokens, 0, index[:log])),
            place.count.eq(Mux(~tokens, 1, Mux(place.last, in_word + 1, config.lanes))),
            self.head_rank.eq(index),
            self.token_word.eq(index >> log),
            self.head_read_en.eq(self.en & scan & ~tokens),
            self.token_read_en.eq(self.en & scan & tokens),
        ]
        with m.If(self.en & scan):
            m.d.sync += [index.eq(index + step), beyond.eq(beyond - step), scan.eq(~place.last)]
        with m.If(~scan):
            m.d.sync += [index.eq(0), beyond.eq(self.count - 1)]
        with m.If(self.start):
            m.d.sync += scan.eq(1)
        return scan, index, place

    def _load(self, m: Module, lane: int, start: Signal, here, decays: Signal, raw, word) -> None:
        """An entry from the memory, then less what it loses by decay."""
        job, tokens = self.job, self.tokens
        old, position = self.token_importance[lane], start | lane  # of a token
        fall = Signal(N.IMPORTANCE_WIDTH, name=f"fall_{lane}", reset_less=True)
        low = _STEP.bit_length() - 1
        with m.If(self.en):
            m.d.sync += [
                raw.mask[lane].eq(Mux(tokens, lane < here.count, lane == here.lane)),
                raw.pinned[lane].eq(tokens & ((position < job.pin_first) | (position + job.pin_last >= self.count))),
                raw.entries[lane].id.eq(Mux(tokens, self.token_ids[lane], self.head_id)),
                raw.entries[lane].importance.eq(Mux(tokens, old, self.head_importance)),
                fall.eq(Mux(decays, Mux(job.decay[low], old >> _STEP, old), 0)),
                word.entries[lane].importance.eq(raw.entries[lane].importance - (fall >> job.decay[:low])),
            ]
