"""Cascade selection at the end of a layer: the heads and tokens of the next one (paper section III)."""

from __future__ import annotations

import dataclasses

from amaranth.hdl import Cat, Const, Module, Mux, Signal, Value, signed
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

from hdl import layouts
from hdl import numerics as N
from hdl.config import Config
from hdl.layouts import bits_for_count
from hdl.quick_select import QuickSelect
from hdl.stream_queue import StreamQueue

__all__ = ["CascadeSelect"]


def _rows_config(config: Config) -> Config:
    """A configuration whose rows hold all tokens and also all heads."""
    longest = max(config.max_tokens, config.max_heads)
    return dataclasses.replace(config, max_tokens=longest, buffer_dim=config.num_multipliers, line_queue=longest + 1)


class CascadeSelect(wiring.Component):
    """Exactly min(k, n) survivors of a layer's heads, then of its tokens: the most important, of equals the earliest.

    Each table is read twice, an entry a cycle: for quick-select, then to compare every entry with its threshold. The
    first reading falls away where all survive. Pinned tokens are above all others; importance is ranked, and handed
    out, after decay. Bit-exact with :func:`golden.cascade.select_tokens` and :func:`golden.cascade.select`.

    Members
    -------
    command : In(stream.Signature(select_command(config)))
    update : Out(1)               pulse: add what the layer's heads have gathered; not with ``num_heads`` = 0
    head_count : Out(n)           heads in the table
    head_busy : In(1)             from the cycle behind ``update`` on: the heads cannot be read yet
    head_read_en, head_rank : Out
    head_id, head_importance : In    of the rank, one enabled cycle later; hold until the next read
    fold : Out(1)                 pulse: as ``update``, for the tokens
    token_busy : In(1)            as ``head_busy``, for the tokens
    token_read_en, token_position : Out
    token_id, token_importance : In    of the position, one enabled cycle later; hold until the next read
    id_write : Out(stream.Signature(id_write(config)))    surviving tokens, at positions 0, 1, 2, …, so never beyond
                                                          their own; comes after all reads up to there
    o : Out(stream.Signature(survivor(config)))           every head, then every token
    done : Out(1)                 pulse: everything has left
    num_survivors : Out(count_width)    tokens of the new list, with ``done``
    last_id : Out(16)             the last of them
    busy : Out(1)                 from the cycle behind the command to ``done``
    """

    KEY_WIDTH = N.IMPORTANCE_WIDTH + 1

    def __init__(self, config: Config):
        self.config = config
        self._rows = _rows_config(config)
        super().__init__(
            {
                "command": In(stream.Signature(layouts.select_command(config))),
                "update": Out(1),
                "head_count": Out(bits_for_count(config.max_heads)),
                "head_busy": In(1),
                "head_read_en": Out(1),
                "head_rank": Out(config.head_width),
                "head_id": In(8),
                "head_importance": In(N.IMPORTANCE_WIDTH),
                "fold": Out(1),
                "token_busy": In(1),
                "token_read_en": Out(1),
                "token_position": Out(config.position_width),
                "token_id": In(config.position_width),
                "token_importance": In(N.IMPORTANCE_WIDTH),
                "id_write": Out(stream.Signature(layouts.id_write(config))),
                "o": Out(stream.Signature(layouts.survivor(config))),
                "done": Out(1),
                "num_survivors": Out(config.count_width),
                "last_id": Out(16),
                "busy": Out(1),
            }
        )

    def elaborate(self, platform):
        m = Module()
        self._declare()
        m.submodules.engine = engine = QuickSelect(self._rows, score_width=self.KEY_WIDTH)
        # The queues keep ``ready`` from the read enables of the tables.
        m.submodules.survivors = self._survivors = StreamQueue(layouts.survivor(self.config), depth=4)
        m.submodules.ids = self._ids = StreamQueue(layouts.id_write(self.config), depth=4)
        wiring.connect(m, self._survivors.o, wiring.flipped(self.o))
        wiring.connect(m, self._ids.o, wiring.flipped(self.id_write))
        valid, entry = self._read(m)
        line_waits = self._fill_lines(m, valid & ~self._emit, entry, engine.i)
        entry_waits = self._compare(m, valid & self._emit, entry)
        m.d.comb += self._en.eq(~line_waits & ~entry_waits)
        self._control(m, engine.o)
        return m

    def _declare(self):
        count_width = self._rows.count_width
        self._job = Signal(layouts.select_command(self.config), reset_less=True)
        self._tokens = Signal()  # the table in work is that of the tokens
        self._emit = Signal()  # second reading
        self._scan = Signal()  # entries are left to read
        self._en = Signal()
        self._count = Signal(count_width)  # entries of the table
        self._keep = Signal(count_width)  # of which so many survive
        self._index = Signal(range(self._rows.max_tokens))  # next to read
        self._threshold = Signal(signed(self.KEY_WIDTH), reset_less=True)
        self._ties = Signal(count_width, reset_less=True)  # entries equal to the threshold that may still survive
        self._ended = Signal()  # the last entry goes to the queues
        self._entry = data.StructLayout(
            {
                "id": max(8, self.config.position_width),
                "importance": N.IMPORTANCE_WIDTH,
                "pinned": 1,
                "last": 1,
            }
        )

    def _read(self, m: Module) -> tuple[Value, Value]:
        """Entries in order: memory, shift by ``decay``, subtraction."""
        job, index, tokens = self._job, self._index, self._tokens
        arrived, fetched, valid = (Signal(name=name) for name in ("arrived", "fetched", "valid"))
        last, arrived_last, pinned = Signal(), Signal(reset_less=True), Signal(reset_less=True)
        raw, entry = (Signal(self._entry, name=name, reset_less=True) for name in ("raw", "entry"))
        fall = Signal(N.IMPORTANCE_WIDTH, reset_less=True)
        importance = Mux(tokens, self.token_importance, self.head_importance)
        m.d.comb += [
            last.eq(index + 1 == self._count),
            self.head_rank.eq(index),
            self.token_position.eq(index),
            self.head_read_en.eq(self._en & self._scan & ~tokens),
            self.token_read_en.eq(self._en & self._scan & tokens),
        ]
        with m.If(self._en):
            m.d.sync += [arrived.eq(self._scan), fetched.eq(arrived), valid.eq(fetched)]
            m.d.sync += [
                arrived_last.eq(last),
                pinned.eq(tokens & ((index < job.pin_first) | (index + job.pin_last >= self._count))),
                raw.id.eq(Mux(tokens, self.token_id, self.head_id)),
                raw.importance.eq(importance),
                raw.pinned.eq(pinned),
                raw.last.eq(arrived_last),
                fall.eq(Mux(tokens & (job.decay != 0), importance >> job.decay, 0)),
                entry.eq(raw),
                entry.importance.eq(raw.importance - fall),
            ]
            with m.If(self._scan):
                m.d.sync += [index.eq(Mux(last, 0, index + 1)), self._scan.eq(~last)]
        return valid, entry

    def _key(self, entry) -> Value:
        """What an entry is ranked by: its importance, or 2**32 if it is pinned, less 2**32 to make it signed."""
        return Cat(Mux(entry.pinned, 0, entry.importance), ~entry.pinned).as_signed()

    def _fill_lines(self, m: Module, valid: Value, entry, line) -> Value:
        """Entries to lines of quick-select; returns whether a full line waits for it."""
        lanes = self.config.topk_parallelism
        lane = Signal(range(lanes))
        with m.If(line.ready):
            m.d.sync += line.valid.eq(0)
        with m.If(self._en & valid):
            m.d.sync += [
                line.p.scores[lane].eq(self._key(entry)),
                line.p.count.eq(lane + 1),
                line.p.last.eq(entry.last),
                line.valid.eq(entry.last | (lane == lanes - 1)),
                lane.eq(Mux(entry.last, 0, lane + 1)),
            ]
        m.d.comb += line.p.k.eq(self._keep)
        return line.valid & ~line.ready

    def _compare(self, m: Module, valid: Value, entry) -> Value:
        """Entries with the threshold, a register, then to the queues; returns whether one waits for them."""
        new, compared = Signal(), Signal(self._entry, reset_less=True)
        above, equal, keep, taken = Signal(reset_less=True), Signal(reset_less=True), Signal(), Signal()
        survivors, ids = self._survivors.i, self._ids.i
        with m.If(self._en):
            m.d.sync += [new.eq(valid), compared.eq(entry)]
            m.d.sync += above.eq(self._key(entry) > self._threshold)
            m.d.sync += equal.eq(self._key(entry) == self._threshold)
        m.d.comb += [
            keep.eq(above | (equal & (self._ties != 0))),
            taken.eq(new & survivors.ready & ids.ready),
            self._ended.eq(taken & compared.last),
            survivors.valid.eq(new & ids.ready),
            survivors.p.job_id.eq(self._job.job_id),
            survivors.p.token.eq(self._tokens),
            survivors.p.id.eq(compared.id),
            survivors.p.importance.eq(compared.importance),
            survivors.p.keep.eq(keep),
            survivors.p.last.eq(self._tokens & compared.last),
            ids.valid.eq(new & survivors.ready & keep & self._tokens),
            ids.p.list.eq(self._job.list),
            ids.p.position.eq(self.num_survivors),
            ids.p.id.eq(compared.id),
            ids.p.importance.eq(compared.importance),
        ]
        with m.If(taken & keep):
            m.d.sync += self._ties.eq(self._ties - equal)
            with m.If(self._tokens):
                m.d.sync += [self.num_survivors.eq(self.num_survivors + 1), self.last_id.eq(compared.id)]
        return new & ~taken

    def _control(self, m: Module, selection) -> None:
        job, tokens = self._job, self._tokens
        m.d.comb += [
            self.head_count.eq(job.num_heads),
            self._count.eq(Mux(tokens, job.num_tokens, job.num_heads)),
            self._keep.eq(Mux(tokens, job.token_keep, job.head_keep)),
        ]
        with m.FSM() as fsm:
            m.d.comb += self.busy.eq(~fsm.ongoing("IDLE"))
            with m.State("IDLE"):
                m.d.comb += self.command.ready.eq(1)
                m.d.sync += [job.eq(self.command.p), tokens.eq(self.command.p.num_heads == 0)]
                with m.If(self.command.valid):
                    m.d.sync += self.num_survivors.eq(0)
                    m.next = "ADD"
            with m.State("ADD"):
                m.d.comb += [self.update.eq(~tokens), self.fold.eq(tokens)]
                m.next = "WAIT"
            with m.State("WAIT"):
                self._wait(m)
            with m.State("SELECT"):
                m.d.comb += selection.ready.eq(1)
                with m.If(selection.valid):
                    m.d.sync += [self._threshold.eq(selection.p.threshold), self._ties.eq(selection.p.ties)]
                    m.d.sync += [self._emit.eq(1), self._scan.eq(1)]
                    m.next = "EMIT"
            with m.State("EMIT"):
                with m.If(self._ended):
                    m.d.sync += tokens.eq(1)
                    m.next = "DRAIN"
                    with m.If(~tokens):
                        m.next = "ADD"
            with m.State("DRAIN"):
                with m.If((self._survivors.level == 0) & (self._ids.level == 0)):
                    m.d.comb += self.done.eq(1)
                    m.next = "IDLE"

    def _wait(self, m: Module) -> None:
        """Wait until the table is summed. Where all survive, the threshold is the lowest key, with ties for all."""
        chosen = self._keep < self._count
        with m.If(~Mux(self._tokens, self.token_busy, self.head_busy)):
            m.d.sync += [
                self._threshold.eq(Const(-(1 << N.IMPORTANCE_WIDTH), signed(self.KEY_WIDTH))),
                self._ties.eq(self._count),
                self._emit.eq(~chosen),
                self._scan.eq(1),
            ]
            m.next = "EMIT"
            with m.If(chosen):
                m.next = "SELECT"
