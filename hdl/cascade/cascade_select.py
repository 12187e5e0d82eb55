"""Cascade selection at the end of a layer: the heads and tokens of the next one (paper section III)."""

from __future__ import annotations

from amaranth.hdl import Const, Module, Mux, Signal, signed
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out, connect, flipped

from hdl.cascade.entries import KEY_WIDTH, table_count_width, table_rows
from hdl.cascade.id_writer import IdWriter
from hdl.cascade.key_lines import KeyLines
from hdl.cascade.survivor_mask import SurvivorMask
from hdl.cascade.survivor_report import SurvivorReport
from hdl.cascade.table_reader import TableReader
from hdl.spec import numerics as N
from hdl.spec import payloads
from hdl.spec.config import Config
from hdl.spec.widths import HEAD_FIELD_WIDTH, ID_WIDTH, bits_for_count
from hdl.topk.quick_select import QuickSelect

__all__ = ["CascadeSelect"]


class CascadeSelect(wiring.Component):
    """Exactly min(k, n) survivors of a layer's heads, then of its tokens: the most important, of equals the earliest.

    Each table is read twice, a head or ``lanes`` tokens a cycle: for quick-select, then to compare every entry with its
    threshold. The first reading falls away where all survive. Pinned tokens are above all others; importance is ranked,
    and handed out, after decay. Bit-exact with :func:`golden.datapath.cascade.select_tokens` and
    :func:`golden.datapath.cascade.select`.

    Members
    -------
    command : In(stream.Signature(select_command(config)))
    update : Out(1)               pulse: add what the layer's heads have gathered; not with ``num_heads`` = 0
    head_count : Out(n)           heads in the table
    head_busy : In(1)             from the cycle after ``update`` on: the heads cannot be read yet
    head_read_en, head_rank : Out
    head_id, head_importance : In    of the rank, one enabled cycle later; hold until the next read
    fold : Out(1)                 pulse: as ``update``, for the tokens
    token_busy : In(1)            as ``head_busy``, for the tokens
    token_read_en, token_word : Out
    token_ids, token_importance : In    of the positions word * lanes, …, one enabled cycle later; hold until the next
                                        read
    id_write : Out(stream.Signature(id_write(config)))    surviving tokens, at positions 0, 1, 2, …, a word at a time;
                                                          a word is written after the last reading of it
    o : Out(stream.Signature(survivor(config)))           every head, then every token; may go on after ``done``
    done : Out(1)                 pulse: the new list has left
    num_survivors : Out(count_width)    tokens of the new list, with ``done``
    last_id : Out(ID_WIDTH)            the last of them
    busy : Out(1)                 from the cycle after the command to ``done``
    """

    def __init__(self, config: Config):
        self.config = config
        super().__init__(
            {
                "command": In(stream.Signature(payloads.select_command(config))),
                "update": Out(1),
                "head_count": Out(bits_for_count(config.max_heads)),
                "head_busy": In(1),
                "head_read_en": Out(1),
                "head_rank": Out(config.head_width),
                "head_id": In(HEAD_FIELD_WIDTH),
                "head_importance": In(N.IMPORTANCE_WIDTH),
                "fold": Out(1),
                "token_busy": In(1),
                "token_read_en": Out(1),
                "token_word": Out(bits_for_count(-(-config.max_tokens // config.lanes) - 1)),
                "token_ids": In(data.ArrayLayout(config.position_width, config.lanes)),
                "token_importance": In(data.ArrayLayout(N.IMPORTANCE_WIDTH, config.lanes)),
                "id_write": Out(stream.Signature(payloads.id_write(config))),
                "o": Out(stream.Signature(payloads.survivor(config))),
                "done": Out(1),
                "num_survivors": Out(config.count_width),
                "last_id": Out(ID_WIDTH),
                "busy": Out(1),
            }
        )

    def elaborate(self, platform):
        m = Module()
        config = self.config
        m.submodules.reader = reader = TableReader(config)
        m.submodules.lines = lines = KeyLines(config)
        m.submodules.engine = engine = QuickSelect(table_rows(config))
        m.submodules.mask = mask = SurvivorMask(config)
        m.submodules.report = report = SurvivorReport(config)
        m.submodules.writer = writer = IdWriter(config)
        job = Signal(payloads.select_command(config), reset_less=True)
        tokens = Signal()  # the table in work is that of the tokens
        emit = Signal()  # second reading
        en = Signal()
        keep = Signal(table_count_width(config), reset_less=True)  # entries that survive
        self._connect_ports(m, reader, writer)
        connect(m, lines.line, engine.i)
        connect(m, report.o, flipped(self.o))
        m.d.comb += [
            en.eq(~lines.waits & ~mask.waits),
            reader.job.eq(job),
            reader.tokens.eq(tokens),
            lines.valid.eq(reader.valid & ~emit),
            lines.keep.eq(keep),
            mask.valid.eq(reader.valid & emit),
            mask.ready.eq(report.i.ready & writer.room),
            report.i.valid.eq(mask.compared_valid & writer.room),
            writer.i.valid.eq(mask.taken & tokens),
            writer.list.eq(job.list),
        ]
        m.d.comb += [block.en.eq(en) for block in (reader, lines, mask)]
        m.d.comb += [block.word.eq(reader.word) for block in (lines, mask)]
        self._hand_out(m, job, tokens, mask, report, writer)
        self._control(m, job, tokens, emit, keep, reader, mask, writer, engine.o)
        return m

    def _connect_ports(self, m: Module, reader: TableReader, writer: IdWriter) -> None:
        for name in ("head_read_en", "head_rank", "token_read_en", "token_word"):
            m.d.comb += getattr(self, name).eq(getattr(reader, name))
        for name in ("head_id", "head_importance", "token_ids", "token_importance"):
            m.d.comb += getattr(reader, name).eq(getattr(self, name))
        connect(m, writer.id_write, flipped(self.id_write))
        m.d.comb += [self.num_survivors.eq(writer.num_survivors), self.last_id.eq(writer.last_id)]

    @staticmethod
    def _hand_out(m: Module, job, tokens: Signal, mask: SurvivorMask, report: SurvivorReport, writer: IdWriter) -> None:
        """Compared words to the host and to the list."""
        word = mask.compared
        m.d.comb += [
            report.i.p.job_id.eq(job.job_id),
            report.i.p.token.eq(tokens),
            *(report.i.p[name].eq(word[name]) for name in ("entries", "lane", "count", "last")),
            report.i.p.keep.eq(mask.keep),
            *(item.eq(entry) for item, entry in zip(writer.i.p.items, word.entries, strict=True)),
            writer.i.p.keep.eq(mask.keep),
            writer.i.p.last.eq(word.last),
        ]

    def _control(self, m, job, tokens, emit, keep, reader, mask, writer, selection) -> None:
        """Sum up a table, select in it if not all survive, read it out; then the tokens'."""
        count = Signal.like(keep)  # entries of the table
        chosen = Signal(reset_less=True)  # fewer than all survive
        m.d.comb += [self.head_count.eq(job.num_heads), reader.count.eq(count)]
        number, kept = Mux(tokens, job.num_tokens, job.num_heads), Mux(tokens, job.token_keep, job.head_keep)
        with m.FSM() as fsm:
            m.d.comb += [self.busy.eq(~fsm.ongoing("IDLE")), writer.clear.eq(fsm.ongoing("IDLE"))]
            with m.State("IDLE"):
                m.d.comb += self.command.ready.eq(1)
                m.d.sync += [job.eq(self.command.p), tokens.eq(self.command.p.num_heads == 0)]
                with m.If(self.command.valid):
                    m.next = "ADD"
            with m.State("ADD"):
                m.d.comb += [self.update.eq(~tokens), self.fold.eq(tokens)]
                m.d.sync += [count.eq(number), keep.eq(kept), chosen.eq(kept < number)]
                m.next = "WAIT"
            with m.State("WAIT"):
                self._wait(m, tokens, emit, count, chosen, reader, mask)
            with m.State("SELECT"):
                m.d.comb += selection.ready.eq(1)
                m.d.comb += [mask.threshold.eq(selection.p.threshold), mask.ties.eq(selection.p.ties)]
                with m.If(selection.valid):
                    m.d.comb += [mask.set.eq(1), reader.start.eq(1)]
                    m.d.sync += emit.eq(1)
                    m.next = "EMIT"
            with m.State("EMIT"):
                with m.If(mask.taken & mask.compared.last):
                    m.d.sync += tokens.eq(1)
                    m.next = "DRAIN"
                    with m.If(~tokens):
                        m.next = "ADD"
            with m.State("DRAIN"):
                with m.If(writer.done):
                    m.d.comb += self.done.eq(1)
                    m.next = "IDLE"

    def _wait(self, m, tokens, emit, count, chosen, reader, mask) -> None:
        """Wait until the table is summed. Where all survive, the threshold is the lowest key, with ties for all."""
        m.d.comb += [
            mask.threshold.eq(Const(-(1 << N.IMPORTANCE_WIDTH), signed(KEY_WIDTH))),
            mask.ties.eq(count),
        ]
        with m.If(~Mux(tokens, self.token_busy, self.head_busy)):
            m.d.comb += [mask.set.eq(1), reader.start.eq(1)]
            m.d.sync += emit.eq(~chosen)
            m.next = "EMIT"
            with m.If(chosen):
                m.next = "SELECT"
