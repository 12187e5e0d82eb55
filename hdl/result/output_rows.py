"""Where the rows of a query, outputs or probabilities, go in memory."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from amaranth.hdl import Module, Mux, Signal
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out, connect, flipped

from hdl.command.open_commands import ENTRY_WIDTH, open_commands, open_head, opened_command
from hdl.result.head_store import HeadStore
from hdl.result.open_facts import OpenFacts
from hdl.result.written_word import ADDRESS_WIDTH
from hdl.spec.config import Config
from hdl.spec.widths import DIM_WIDTH, HEAD_FIELD_WIDTH, signed

__all__ = ["OutputRows", "output_row", "placed_row", "probability_place"]


def output_row(config: Config) -> data.StructLayout:
    """A row of outputs, as the core names it."""
    return data.StructLayout(
        {
            "entry": ENTRY_WIDTH,
            "head": HEAD_FIELD_WIDTH,  # rank of the first head of its job
            "query": config.position_width,  # row of the job: query q of its head g is row g · num_queries + q
        }
    )


def placed_row() -> data.StructLayout:
    """The row's place in memory, and what its elements become."""
    return data.StructLayout(
        {
            "entry": ENTRY_WIDTH,
            "address": ADDRESS_WIDTH,  # byte, of element 0
            "format": 2,  # OutFormat
            "exponent": signed(8),
            "dim": DIM_WIDTH,
        }
    )


def _facts(config: Config) -> data.StructLayout:
    """What is kept of an open command."""
    return data.StructLayout(
        {
            "out": ADDRESS_WIDTH,
            "position_stride": 32,
            "head_stride": 32,
            "format": 2,
            "dim": DIM_WIDTH,
            "num_queries": config.position_width + 1,
        }
    )


def _output_place(command, plan):
    """Of the outputs."""
    return {
        "out": command.out,
        "position_stride": plan.out_position_stride,
        "head_stride": plan.out_head_stride,
        "format": plan.out_format,
        "dim": plan.dim,
        "num_queries": command.num_queries,
    }


def probability_place(command, plan):
    """Of the probabilities, for which ``format`` and ``dim`` mean nothing."""
    return {
        "out": plan.probabilities,
        "position_stride": plan.probability_query_stride,
        "head_stride": plan.probability_head_stride,
        "num_queries": command.num_queries,
    }


class OutputRows(wiring.Component):
    """The address of row (q, g) of a job: out + q · position_stride + number of the head of rank (head + g) · stride.

    Latency 4 + g, of the head's number in its group; initiation interval 2 + g. One query takes no longer for a larger
    g.

    Members
    -------
    opened : In(stream.Signature(opened_command, always_ready=True))
    head : In(stream.Signature(open_head, always_ready=True))
    i : In(stream.Signature(output_row))
    o : Out(stream.Signature(placed_row))
    """

    def __init__(self, config: Config, *, queues: int = 2, place: Callable[[Any, Any], dict[str, Any]] = _output_place):
        """``place``: where the rows of a command with its plan lie."""
        self.config, self.queues, self.place = config, queues, place
        super().__init__(
            {
                "opened": In(stream.Signature(opened_command(queues), always_ready=True)),
                "head": In(stream.Signature(open_head(), always_ready=True)),
                "i": In(stream.Signature(output_row(config))),
                "o": Out(stream.Signature(placed_row())),
            }
        )

    def elaborate(self, platform):
        m = Module()
        m.submodules.heads = heads = HeadStore(self.config, queues=self.queues, fields=("head", "exponent"))
        sizes = {"queues": self.queues, "entries": open_commands(self.config)}
        m.submodules.commands = table = OpenFacts(_facts(self.config), self.place, **sizes)
        for mine, other in ((self.opened, heads.opened), (self.opened, table.opened), (self.head, heads.head)):
            connect(m, flipped(mine), other)
        facts = table.facts
        row, mine = Signal(self.i.payload.shape(), reset_less=True), Signal(facts.shape(), reset_less=True)
        rest, group = Signal(self.config.position_width, reset_less=True), Signal(HEAD_FIELD_WIDTH, reset_less=True)
        taken = Signal()  # the product stage takes what was looked up
        free = self._multiply(m, row, mine, rest, heads.row, taken)
        one = mine.num_queries == 1
        m.d.comb += [
            table.entry.eq(self.i.payload.entry),
            heads.read_entry.eq(row.entry),
            heads.read_rank.eq((row.head + Mux(one, rest, group))[: heads.rank_width]),
        ]
        with m.FSM(name="place") as fsm:
            with m.State("IDLE"):
                m.d.comb += self.i.ready.eq(1)
                with m.If(self.i.valid):
                    m.next = "DIVIDE"
            with m.State("DIVIDE"):
                with m.If((rest >= mine.num_queries) & ~one):
                    m.d.sync += [rest.eq(rest - mine.num_queries), group.eq(group + 1)]
                with m.Else():
                    m.d.comb += heads.read_en.eq(1)
                    m.d.sync += rest.eq(Mux(one, 0, rest))
                    m.next = "FOUND"
            with m.State("FOUND"):
                with m.If(taken):
                    m.d.comb += self.i.ready.eq(1)
                    m.next = "IDLE"
                    with m.If(self.i.valid):
                        m.next = "DIVIDE"
        with m.If(self.i.ready):
            m.d.sync += [row.eq(self.i.payload), mine.eq(facts), rest.eq(self.i.payload.query), group.eq(0)]
        m.d.comb += taken.eq(fsm.ongoing("FOUND") & free)
        return m

    def _multiply(self, m, row, mine, rest, found, taken):
        """Two products, then their sum, each when the stage after it is free; whether the first one is."""
        along, across = Signal(len(rest) + 32, reset_less=True), Signal(HEAD_FIELD_WIDTH + 32, reset_less=True)
        base, full = Signal(ADDRESS_WIDTH, reset_less=True), Signal()
        kept = data.StructLayout({name: shape for name, shape in placed_row().members.items() if name != "address"})
        facts = Signal(kept, reset_less=True)
        ready = ~self.o.valid | self.o.ready
        with m.If(ready):
            m.d.sync += [
                self.o.valid.eq(full),
                self.o.payload.address.eq(base + along + across),
                *(self.o.payload[name].eq(facts[name]) for name in kept.members),
            ]
            m.d.sync += full.eq(0)
        with m.If(taken):
            m.d.sync += [
                full.eq(1),
                along.eq(rest * mine.position_stride),
                across.eq(found.head[:HEAD_FIELD_WIDTH] * mine.head_stride),
                base.eq(mine.out),
                facts.entry.eq(row.entry),
                facts.format.eq(mine.format),
                facts.dim.eq(mine.dim),
                facts.exponent.eq(found.exponent.as_signed()),
            ]
        return ~full | ready
