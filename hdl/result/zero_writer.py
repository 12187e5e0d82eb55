"""Zeros in the places of heads that were pruned."""

from __future__ import annotations

from amaranth.hdl import Cat, Const, Module, Mux, Signal
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

from hdl.command.descriptors import is_layer
from hdl.command.open_commands import ENTRY_WIDTH, open_commands, open_head, opened_command
from hdl.result.written_word import ADDRESS_WIDTH, written_word
from hdl.spec.config import Config
from hdl.spec.formats import OutFormat
from hdl.spec.widths import DIM_WIDTH, bits_for_count

__all__ = ["ZeroWriter"]


def _facts(config: Config) -> data.StructLayout:
    """What is kept of the command at work."""
    return data.StructLayout(
        {
            "position_stride": 32,
            "head_stride": 32,
            "queries": bits_for_count(config.max_tokens),
            "row_bytes": DIM_WIDTH + 2,
            "group": 8,
            "num_kv_heads": 8,
        }
    )


class ZeroWriter(wiring.Component):
    """Writes 0 for every output of the heads of a layer with ``zero_pruned`` that its table does not have.

    Those are of the query heads 0 … num_kv_heads · group - 1, in this order. It begins when the table has been read,
    and takes a word a cycle and a cycle a head. Nothing is written for a layer whose queries, D or group the core does
    not take: that is refused.

    Members
    -------
    opened : In(stream.Signature(opened_command, always_ready=True))    not while ``busy`` with such a flag
    head : In(stream.Signature(open_head, always_ready=True))
    drop : In(1)                                     what is written is thrown away: the rest is left out
    o : Out(stream.Signature(written_word))          every word is ``last``
    left : In(1)                                     pulse: a word has been handed on, or thrown away
    busy : Out(1)                                    a command is at work: the next one waits
    at_work : Out(entries)                           a bit by number: it, until its last word has left
    """

    def __init__(self, config: Config, *, queues: int = 2, word_width: int = 64):
        self.config, self.queues, self.word_width = config, queues, word_width
        self._width = bits_for_count(config.max_heads - 1)
        super().__init__(
            {
                "opened": In(stream.Signature(opened_command(queues), always_ready=True)),
                "head": In(stream.Signature(open_head(), always_ready=True)),
                "drop": In(1),
                "o": Out(stream.Signature(written_word(word_width))),
                "left": In(1),
                "busy": Out(1),
                "at_work": Out(open_commands(config)),
            }
        )

    def elaborate(self, platform):
        m = Module()
        facts, entry = Signal(_facts(self.config), reset_less=True), Signal(ENTRY_WIDTH, reset_less=True)
        present = Signal(self.config.max_heads)
        head_at, row_at = Signal(ADDRESS_WIDTH, reset_less=True), Signal(ADDRESS_WIDTH, reset_less=True)
        number = Signal(len(self.o.payload.write.word))  # of the word on offer
        pending = Signal()  # a word is at those who hand it on
        with m.If(self.left):
            m.d.sync += pending.eq(0)
        with m.If(self.o.valid & self.o.ready):
            m.d.sync += pending.eq(1)
        m.d.comb += [
            self.at_work.eq(self.busy << entry),
            self.o.payload.eq(self._word(number, entry)),
        ]
        with m.FSM(name="zero") as fsm:
            with m.State("IDLE"):
                m.d.sync += [present.eq(0), entry.eq(self.opened.payload.entry)]
                self._begin(m, facts, head_at)
            with m.State("COLLECT"):
                present_head = self.head.payload.row.head
                with m.If(self.head.valid & (present_head < self.config.max_heads)):
                    m.d.sync += present.bit_select(present_head[: self._width], 1).eq(1)
                with m.If(self.head.valid & self.head.payload.last):
                    m.next = "HEAD"
            self._walk(m, facts, present, head_at, row_at, number)
            with m.State("LEAVE"):
                with m.If(~pending):
                    m.next = "IDLE"
        m.d.comb += self.busy.eq(~fsm.ongoing("IDLE"))
        return m

    def _begin(self, m, facts, head_at):
        fetched = self.opened.payload.fetched
        command, plan = fetched.command, fetched.plan
        takes = (command.num_queries != 0) & (command.num_queries <= self.config.max_tokens)
        takes &= Cat(plan.dim == dim for dim in self.config.dims).any() & (plan.group != 0)
        wanted = (fetched.code == 0) & is_layer(command) & command.flags.zero_pruned & (command.num_heads != 0)
        short = plan.out_format == OutFormat.BF16
        m.d.sync += [
            head_at.eq(command.out),
            facts.position_stride.eq(plan.out_position_stride),
            facts.head_stride.eq(plan.out_head_stride),
            facts.queries.eq(command.num_queries),
            facts.row_bytes.eq(Mux(short, plan.dim[:DIM_WIDTH] << 1, plan.dim[:DIM_WIDTH] << 2)),
            facts.group.eq(plan.group),
            facts.num_kv_heads.eq(plan.num_kv_heads),
        ]
        with m.If(self.opened.valid & wanted & takes):
            m.next = "COLLECT"

    def _word(self, number, entry):
        """The payload of zeros in a word. It is assigned as a whole: simulators of Verilog need a part that changes."""
        write = {"word": number, "data": Const(0, self.word_width), "strobes": Const(-1, self.word_width // 8)}
        parts = {"write": Cat(write[name] for name in self.o.payload.write.shape().members)}
        parts |= {"entry": entry, "last": Const(1)}
        return Cat(parts[name] for name in self.o.payload.shape().members)

    def _walk(self, m, facts, present, head_at, row_at, number):
        """Heads, of one that is not present the queries, of a query the words."""
        group, kv_head = Signal(8), Signal(8)
        head = Signal(range(self.config.max_heads + 1))
        query, word = Signal.like(facts.queries), Signal.like(facts.row_bytes)  # bytes before the word
        size, low = self.word_width // 8, (self.word_width // 8).bit_length() - 1
        m.d.comb += number.eq(row_at[low:] + word[low:])
        over = (kv_head == facts.num_kv_heads) | (head == self.config.max_heads) | self.drop
        with m.State("HEAD"):
            m.d.sync += row_at.eq(head_at)
            with m.If(over):
                m.d.sync += [group.eq(0), kv_head.eq(0), head.eq(0)]
                m.next = "LEAVE"
            with m.Else():
                last = group + 1 == facts.group
                m.d.sync += [
                    head.eq(head + 1),
                    head_at.eq(head_at + facts.head_stride),
                    group.eq(Mux(last, 0, group + 1)),
                    kv_head.eq(kv_head + last),
                ]
                with m.If(~present.bit_select(head[: self._width], 1)):
                    m.next = "ROWS"
        with m.State("ROWS"):
            ends = word + size >= facts.row_bytes
            m.d.comb += self.o.valid.eq(1)
            with m.If(self.o.ready):
                m.d.sync += word.eq(Mux(ends, 0, word + size))
                with m.If(ends):
                    m.d.sync += [query.eq(query + 1), row_at.eq(row_at + facts.position_stride)]
                with m.If(ends & ((query + 1 == facts.queries) | self.drop)):
                    m.d.sync += query.eq(0)
                    m.next = "HEAD"
