"""Survivors of a selection to the tables of tokens and heads."""

from __future__ import annotations

from amaranth.hdl import Cat, Const, Module, Mux, Signal
from amaranth.lib import data, stream, wiring
from amaranth.lib.memory import Memory
from amaranth.lib.wiring import In, Out, connect, flipped

from hdl.command.descriptors import is_layer
from hdl.command.open_commands import ENTRY_WIDTH, open_commands, open_head, opened_command
from hdl.result.head_store import HeadStore
from hdl.result.open_facts import OpenFacts
from hdl.result.word_joiner import WordJoiner
from hdl.result.written_word import ADDRESS_WIDTH, written_word
from hdl.spec import payloads
from hdl.spec.config import Config
from hdl.spec.formats import HEAD_BYTES, TABLE_HEADER_BYTES, TOKEN_BYTES, head_row, token_row
from hdl.spec.widths import bits_for_count

__all__ = ["StateWriter", "survivor_counts"]

_COUNT_WIDTH = 24
"""Bits of a number of tokens in a table."""


def survivor_counts() -> data.StructLayout:
    """Of a selection; of a command without one 0."""
    return data.StructLayout({"tokens": _COUNT_WIDTH, "heads": 16})


def _facts() -> data.StructLayout:
    """What is kept of an open command."""
    return data.StructLayout(
        {
            "state": ADDRESS_WIDTH,
            "heads": ADDRESS_WIDTH,
            "next": _COUNT_WIDTH,  # id of the token that is added
            "write": 1,
            "add": 1,
        }
    )


def _facts_of(command, plan):
    return {
        "state": command.state,
        "heads": plan.heads,
        "next": command.num_rows,
        "write": command.flags.write_state & is_layer(command),
        "add": command.flags.add_token,
    }


class StateWriter(wiring.Component):
    """Counts the survivors of a selection, and of a command with ``write_state`` writes them in the tables' places.

    Heads keep their rows, with their importance of now; then come the tokens, the token that the command adds, and the
    table's count. A survivor that stays takes a cycle (token) or two to three (head), one that goes a cycle.

    Members
    -------
    opened : In(stream.Signature(opened_command, always_ready=True))
    head : In(stream.Signature(open_head, always_ready=True))
    survivor : In(stream.Signature(survivor))        of the core
    o : Out(stream.Signature(written_word))          ``last`` is with the last word of a command's tables
    written : Out(1)                                 pulse: the last survivor of a command that writes them is taken
    selected : Out(stream.Signature(ENTRY_WIDTH, always_ready=True))    the last survivor of a command is
    entry : In(ENTRY_WIDTH), counts : Out(survivor_counts)    of an open command; from the cycle after its last survivor
    """

    def __init__(self, config: Config, *, queues: int = 2, word_width: int = 64):
        self.config, self.queues, self.word_width = config, queues, word_width
        super().__init__(
            {
                "opened": In(stream.Signature(opened_command(queues), always_ready=True)),
                "head": In(stream.Signature(open_head(), always_ready=True)),
                "survivor": In(stream.Signature(payloads.survivor(config))),
                "o": Out(stream.Signature(written_word(word_width))),
                "written": Out(1),
                "selected": Out(stream.Signature(ENTRY_WIDTH, always_ready=True)),
                "entry": In(ENTRY_WIDTH),
                "counts": Out(survivor_counts()),
            }
        )

    def elaborate(self, platform):
        m = Module()
        m.submodules.rows = rows = HeadStore(self.config, queues=self.queues, fields=tuple(head_row().members))
        m.submodules.joiner = joiner = WordJoiner(word_width=self.word_width)
        connect(m, flipped(self.opened), rows.opened)
        connect(m, flipped(self.head), rows.head)
        connect(m, joiner.o, flipped(self.o))
        ending, last = Signal(), Signal(ENTRY_WIDTH, reset_less=True)  # command of the selection that has just ended
        entry = Mux(ending, last, self.survivor.payload.job_id[:ENTRY_WIDTH])
        entries = open_commands(self.config)
        m.submodules.commands = table = OpenFacts(_facts(), _facts_of, queues=self.queues, entries=entries)
        connect(m, flipped(self.opened), table.opened)
        facts, kept = table.facts, Signal(survivor_counts())
        m.d.comb += [table.entry.eq(entry), rows.read_entry.eq(entry), joiner.i.payload.entry.eq(entry)]
        with m.FSM(name="state") as fsm:
            self._heads(m, facts, rows, kept)
            with m.State("TOKENS"):
                self._tokens(m, facts, kept, last)
            with m.State("ADD"):
                self._add(m, facts, kept)
            with m.State("HEADER"):
                m.d.comb += joiner.i.payload.last.eq(1)
                self._piece(m, facts.state, kept.tokens, 4, done=1)
                with m.If(joiner.i.ready):
                    m.d.sync += kept.eq(0)
                    m.next = "HEADS"
        m.d.comb += ending.eq(fsm.ongoing("ADD") | fsm.ongoing("HEADER"))
        self._counts(m, kept, entries)
        return m

    def _heads(self, m, facts, rows, kept):
        """Heads of the selection, in the order of their table."""
        survivor, rank, half = self.survivor.payload, Signal(rows.rank_width), Signal()
        m.d.comb += rows.read_rank.eq(rank)
        with m.State("HEADS"):
            m.d.comb += rows.read_en.eq(1)
            with m.If(self.survivor.valid & survivor.token):
                m.d.comb += m.submodules.joiner.flush.eq(1)
                m.d.sync += rank.eq(0)
                m.next = "TOKENS"
            with m.Elif(self.survivor.valid & survivor.keep & facts.write):
                m.next = "HEAD"
            with m.Elif(self.survivor.valid):
                self._next_head(m, kept, rank, survivor.keep)
        with m.State("HEAD"):
            self._head(m, facts, rows.row, kept, half, rank)

    def _piece(self, m, address, value, size, *, done=None):
        """Offers ``size`` bytes at a multiple of so many; a word that they fill is done."""
        piece, word_bytes = m.submodules.joiner.i, self.word_width // 8
        low = word_bytes.bit_length() - 1
        write = piece.payload.write
        bits = Cat(value, Const(0, 8 * size - len(value))) if len(value) < 8 * size else value
        places = word_bytes // size
        first = size.bit_length() - 1
        place = address[first:low]
        m.d.comb += [
            piece.valid.eq(1),
            write.word.eq(address[low:]),
            write.data.eq(bits.replicate(places)),
            write.strobes.eq(Cat((place == index).replicate(size) for index in range(places))),
            piece.payload.done.eq(place == places - 1 if done is None else done),
        ]

    def _next_head(self, m, kept, rank, keep):
        m.d.comb += self.survivor.ready.eq(1)
        m.d.sync += [rank.eq(rank + 1), kept.heads.eq(kept.heads + keep)]

    def _head(self, m, facts, row, kept, half, rank):
        """The row of a head that stays, in parts of at most a word."""
        size = min(HEAD_BYTES, self.word_width // 8)
        parts = HEAD_BYTES // size
        whole = Signal(head_row(), name="head_now")
        m.d.comb += [
            *(whole[name].eq(row[name]) for name in head_row().members if name != "importance"),
            whole.importance.eq(self.survivor.payload.importance),
        ]
        address = Signal(ADDRESS_WIDTH, name="head_address")
        m.d.comb += address.eq(facts.heads + kept.heads * HEAD_BYTES + half * size)
        self._piece(m, address, whole.as_value().word_select(half, 8 * size), size)
        with m.If(m.submodules.joiner.i.ready):
            m.d.sync += half.eq(half + 1)
            with m.If(half == parts - 1):
                m.d.sync += half.eq(0)
                self._next_head(m, kept, rank, 1)
                m.next = "HEADS"

    def _row(self, m, facts, kept, token, importance, *, done=None):
        """A row of the table of tokens."""
        layout, address = token_row(), Signal(ADDRESS_WIDTH, name="token_address")
        m.d.comb += address.eq(facts.state + TABLE_HEADER_BYTES + kept.tokens * TOKEN_BYTES)
        row = Cat(token, Const(0, layout["importance"].offset - len(token)), importance)
        self._piece(m, address, row, TOKEN_BYTES, done=done)

    def _tokens(self, m, facts, kept, last):
        """Tokens that stay are written one after the other; the last survivor ends the selection."""
        survivor, joiner = self.survivor.payload, m.submodules.joiner
        stays = self.survivor.valid & survivor.keep & facts.write
        with m.If(stays):
            self._row(m, facts, kept, survivor.id, survivor.importance)
        with m.If(self.survivor.valid & (joiner.i.ready | ~stays)):
            m.d.comb += self.survivor.ready.eq(1)
            m.d.sync += kept.tokens.eq(kept.tokens + survivor.keep)
            with m.If(survivor.last):
                m.d.comb += self.written.eq(facts.write)
                m.d.sync += last.eq(survivor.job_id)
                m.next = "ADD"

    def _add(self, m, facts, kept):
        """The selection has ended: its counts are told; a token is added, or the last word of the table is done."""
        joiner = m.submodules.joiner
        with m.If(facts.write & facts.add):
            self._row(m, facts, kept, facts.next, Const(0, 32), done=1)
            with m.If(joiner.i.ready):
                m.d.sync += kept.tokens.eq(kept.tokens + 1)
                m.next = "HEADER"
        with m.Else():
            m.d.comb += joiner.flush.eq(1)
            m.next = "HEADER"
            with m.If(~facts.write):
                m.d.sync += kept.eq(0)
                m.next = "HEADS"

    def _counts(self, m, kept, entries):
        """Counts of the selections of the open commands."""
        m.submodules.counts = memory = Memory(
            shape=survivor_counts(), depth=entries, init=[], attrs={"ram_style": "distributed"}
        )
        write, read = memory.write_port(), memory.read_port(domain="comb")
        width = bits_for_count(entries - 1)
        told, survivor = Signal(entries), self.survivor.payload
        ends = self.survivor.valid & self.survivor.ready & survivor.last
        m.d.comb += [
            self.selected.valid.eq(ends),
            self.selected.payload.eq(survivor.job_id),
            write.en.eq(ends),
            write.addr.eq(survivor.job_id),
            write.data.tokens.eq(kept.tokens + survivor.keep),
            write.data.heads.eq(kept.heads),
            read.addr.eq(self.entry),
            self.counts.eq(Mux(told.bit_select(self.entry[:width], 1), read.data.as_value(), 0)),
        ]
        with m.If(self.opened.valid):
            m.d.sync += told.bit_select(self.opened.payload.entry[:width], 1).eq(0)
        with m.If(ends):
            m.d.sync += told.bit_select(survivor.job_id[:width], 1).eq(1)
