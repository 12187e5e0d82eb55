"""What an APPEND command reads, in the order in which it is used."""

from __future__ import annotations

import enum

from amaranth.hdl import Module, Mux, Signal
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out

from hdl.append.append_layouts import Tensor, append_request, append_step, check_append_width, one_of
from hdl.command.read_port import read_request
from hdl.spec.config import Config
from hdl.spec.formats import CONSTANT_BYTES, ROW_ALIGNMENT, append_command
from hdl.spec.widths import GROUP_FIELD_WIDTH

__all__ = ["ReadWalk"]

_LOW = ROW_ALIGNMENT.bit_length() - 1
"""Low bits of every address and stride here that are 0."""
_ADDRESS = 64 - _LOW
_CONSTANTS = 13
"""Bits of the place of a head's constants in these units: at most 2 · 128 heads of 128 channels."""


class ReadWalk(wiring.Component):
    """For each tensor and K/V head: its constants, then its rows, of Q those of all query heads of the group.

    One step for each of them to those who use the words, then one request to ``port``. A request every three cycles,
    and one cycle more at each query head and tensor, two at each K/V head.

    Members
    -------
    request : In(append_request)    holds from ``start`` to the last step
    start : In(1)
    port : Out(stream.Signature(read_request))
    o : Out(stream.Signature(append_step))
    """

    def __init__(self, config: Config, *, word_width: int):
        self.config, self.word_width = config, check_append_width(word_width)
        super().__init__(
            {
                "request": In(append_request()),
                "start": In(1),
                "port": Out(stream.Signature(read_request())),
                "o": Out(stream.Signature(append_step(config))),
            }
        )

    def elaborate(self, platform):
        m = Module()
        command, row = self.request.command, self.o.payload.row
        held = Signal(row.shape(), reset_less=True)
        left = Signal(self.config.position_width + 1, reset_less=True)  # rows of the head
        group_ends, heads_end = Signal(), Signal()
        next_head = Signal(self.config.head_width + 1)
        more = (held.tensor == Tensor.KEY) & command.flags.value
        m.d.comb += [
            next_head.eq(held.head + 1),
            heads_end.eq(next_head == command.num_heads[: len(next_head)]),
            row.eq(held),
            row.ends.eq((left == 1) & group_ends),
            row.last.eq(row.ends & heads_end & ~more),
        ]
        m.submodules.pointers = pointers = _Pointers()
        m.d.comb += [
            pointers.command.eq(command),
            pointers.dim.eq(self.request.plan.dim[: len(pointers.dim)]),
            pointers.values.eq(held.tensor == Tensor.VALUE),
            self.port.payload.address.eq(pointers.address << _LOW),
        ]
        with m.FSM(name="read"):
            self._begin(m, pointers, held)
            self._rows(m, pointers, held, left, group_ends)
            with m.State("NEXT_HEAD"):
                m.d.sync += held.head.eq(next_head)
                m.next = "CONSTANTS"
                with m.If(heads_end):
                    m.d.sync += held.tensor.eq(Tensor.VALUE)
                    m.next = "IDLE"
                    with m.If(more):
                        m.next = "TENSOR"
        return m

    def _begin(self, m, pointers, held):
        """From the start, and from the next tensor and head on, to the rows of a head."""
        command = self.request.command
        with m.State("IDLE"):
            first = Mux(command.flags.value, Tensor.VALUE, Tensor.QUERY)
            m.d.comb += pointers.clear.eq(1)
            m.d.sync += held.tensor.eq(Mux(command.flags.key, Tensor.KEY, first))
            with m.If(self.start):
                m.next = "TENSOR"
        with m.State("TENSOR"):
            m.d.comb += pointers.op[_Op.TENSOR].eq(1)
            m.d.sync += held.head.eq(0)
            m.next = "CONSTANTS"
        with m.State("CONSTANTS"):
            m.d.comb += pointers.op[_Op.CONSTANTS].eq(1)
            m.d.sync += held.row.eq(command.first_row)
            m.next = "CONSTANTS_STEP"
        self._item(m, "CONSTANTS", "ROWS", words=2 * 16)

    def _rows(self, m, pointers, held, left, group_ends):
        """The rows of a head; of Q those of all heads of the group, one after the other."""
        rows_end, member = Signal(), Signal(GROUP_FIELD_WIDTH)  # member: heads of the group that are done
        next_member = Signal(GROUP_FIELD_WIDTH)
        m.d.comb += [
            rows_end.eq(left == 1),
            next_member.eq(member + 1),
            group_ends.eq((held.tensor != Tensor.QUERY) | (next_member == self.request.plan.group[:GROUP_FIELD_WIDTH])),
        ]
        with m.State("ROWS"):
            m.d.comb += pointers.op[_Op.ROWS].eq(1)
            m.d.sync += left.eq(self.request.command.num_rows)
            m.next = "ROWS_STEP"
        self._item(m, "ROWS", "NEXT_ROW", words=16)
        with m.State("NEXT_ROW"):
            m.d.comb += [pointers.op[_Op.NEXT_HEAD].eq(rows_end), pointers.op[_Op.NEXT_ROW].eq(~rows_end)]
            m.d.sync += [held.row.eq(held.row + 1), left.eq(left - 1)]
            m.next = "ROWS_STEP"
            with m.If(rows_end):
                m.d.sync += member.eq(Mux(group_ends, 0, next_member))
                m.next = "ROWS"
                with m.If(group_ends):
                    m.next = "NEXT_HEAD"

    def _item(self, m, name, then, *, words):
        """Tells the step, then asks for dim elements of so many bits."""
        with m.State(f"{name}_STEP"):
            m.d.comb += [self.o.valid.eq(1), self.o.payload.constants.eq(name == "CONSTANTS")]
            with m.If(self.o.ready):
                m.next = f"{name}_READ"
        with m.State(f"{name}_READ"):
            m.d.comb += [
                self.port.valid.eq(1),
                self.port.payload.words.eq((self.request.plan.dim[:8] * words) >> (self.word_width.bit_length() - 1)),
            ]
            with m.If(self.port.ready):
                m.next = then


class _Op(enum.IntEnum):
    """What becomes of the pointers: bits of ``op``."""

    TENSOR = 0
    """begins"""
    CONSTANTS = 1
    """of the next head are read"""
    ROWS = 2
    """of a head are read"""
    NEXT_ROW = 3
    NEXT_HEAD = 4


class _Pointers(wiring.Component):
    """Where the next constants, the head's first row, and the next words lie; one adder for them all.

    Members
    -------
    command : In(append_command)
    dim : In(8)
    values : In(1)            rows are of V
    clear : In(1)             the next constants are the first
    op : In(len(_Op))         at most one of its bits
    address : Out(_ADDRESS)   in units of ROW_ALIGNMENT; changes two cycles after the operation
    """

    def __init__(self):
        super().__init__(
            {
                "command": In(append_command()),
                "dim": In(8),
                "values": In(1),
                "clear": In(1),
                "op": In(len(_Op)),
                "address": Out(_ADDRESS),
            }
        )

    def elaborate(self, platform):
        m = Module()
        command, op = self.command, Signal(len(_Op))
        head = Signal(_ADDRESS, reset_less=True)
        constants = Signal(_CONSTANTS, reset_less=True)  # from the first on
        total = Signal(_ADDRESS)
        source = (Mux(self.values, command.value_rows, command.rows), command.constants)
        base = one_of(
            (op[_Op.TENSOR], source[0][_LOW:]),
            (op[_Op.CONSTANTS], source[1][_LOW:]),
            (op[_Op.ROWS] | op[_Op.NEXT_HEAD], head),
            (op[_Op.NEXT_ROW], self.address),
        )
        step = one_of(
            (op[_Op.CONSTANTS], constants),
            (op[_Op.NEXT_ROW], command.position_stride[_LOW:]),
            (op[_Op.NEXT_HEAD], command.head_stride[_LOW:]),
        )
        m.d.comb += total.eq(base + step)
        m.d.sync += op.eq(self.op)
        with m.If(op[_Op.TENSOR] | op[_Op.NEXT_HEAD]):
            m.d.sync += head.eq(total)
        with m.If(op[_Op.CONSTANTS] | op[_Op.ROWS] | op[_Op.NEXT_ROW]):
            m.d.sync += self.address.eq(total)
        with m.If(self.clear):
            m.d.sync += constants.eq(0)
        with m.Elif(op[_Op.CONSTANTS]):
            m.d.sync += constants.eq(constants + (self.dim * CONSTANT_BYTES >> _LOW))
        return m
