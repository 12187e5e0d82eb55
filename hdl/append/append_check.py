"""What an APPEND command and its plan must be, before anything that they name is read or written."""

from __future__ import annotations

import dataclasses
import itertools

from amaranth.hdl import Cat, Const, Module, Mux, Signal, Value
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from hdl.append.append_layouts import append_request
from hdl.command.command_check import window
from hdl.spec.config import Config
from hdl.spec.formats import ALIGNMENT, CONSTANT_BYTES, ROW_ALIGNMENT, Code
from hdl.spec.numerics import LSB_BITS

__all__ = ["AppendCheck"]

_FACTOR, _UNIT, _TOTAL = 16, 32, 65
"""Bits of the factors of a product, and of a sum of them, which is an address or the first one beyond all."""


@dataclasses.dataclass(frozen=True)
class _Sum:
    """``base`` and products of a factor and a unit each."""

    base: Value
    products: list[tuple[Value, Value]]
    used: Value
    kind: str
    """``rows`` and ``heads`` are kept; ``read`` ends in the window; ``plane`` in the core's address space"""


class AppendCheck(wiring.Component):
    """Refuses what :class:`hdl.append.append_unit.AppendUnit` cannot do, and addresses that it may not use.

    Every end is a sum of products, a product a cycle. Planes must lie in the core's address space; whether they lie in
    the queue's window is looked at word by word, when they are written. ``done`` comes 24 cycles after ``start``.

    Members
    -------
    request : In(append_request)    holds from ``start`` to ``done``; CommandCheck and PlanCheck found nothing wrong
    start : In(1)                   pulse
    readable : In(window)           likewise constant
    done : Out(1)                   pulse
    code : Out(8)                   with ``done``: 0, MALFORMED or OUTSIDE
    """

    def __init__(self, config: Config):
        self.config = config
        super().__init__(
            {
                "request": In(append_request()),
                "start": In(1),
                "readable": In(window()),
                "done": Out(1),
                "code": Out(8),
            }
        )

    def elaborate(self, platform):
        m = Module()
        rows = Signal(self.config.position_width + 1, reset_less=True)  # of a plane, up to the last one appended
        heads = Signal(_FACTOR, reset_less=True)  # of the source
        sums = self._sums(rows, heads)
        total, below, ended = self._add(m, sums)
        malformed, outside = Signal(), Signal()
        with m.Switch(ended):
            for number, each in enumerate(sums, 1):
                with m.Case(number):
                    self._look(m, each, total, below, malformed, outside, rows=rows, heads=heads)
        with m.If(self.start):
            m.d.sync += [malformed.eq(self._malformed().any()), outside.eq(0)]
        m.d.sync += self.done.eq(ended == len(sums))
        m.d.comb += self.code.eq(Mux(malformed, Code.MALFORMED, Mux(outside, Code.OUTSIDE, 0)))
        return m

    def _sums(self, rows, heads):
        """In the order in which they are made; those of a plane four cycles after that of its rows, and so on."""
        command, plan = self.request.command, self.request.plan
        flags, none = command.flags, Const(0, 1)
        members = Mux(flags.query, plan.group, 1)
        tensors = command.num_heads << (flags.key & flags.value)

        def source(address):
            steps = [(command.num_rows - 1, command.position_stride), (heads - 1, command.head_stride)]
            return [*steps, (Const(2, _FACTOR), plan.dim)]

        fillers = [(none, none)] * 2  # in which the first two sums arrive
        return [
            _Sum(command.first_row, [(command.num_rows, members)], Const(1), "rows"),
            _Sum(none, [(command.num_heads, members)], Const(1), "heads"),
            _Sum(command.constants, [(tensors, plan.dim * CONSTANT_BYTES), *fillers], Const(1), "read"),
            _Sum(command.rows, source(command.rows), flags.key | flags.query, "read"),
            _Sum(command.value_rows, source(command.value_rows), flags.value, "read"),
            *self._planes(rows),
        ]

    def _planes(self, rows):
        """From head to head of the K/V heads, then all rows of a channel; of a pair two heads lie in a plane."""
        command, plan = self.request.command, self.request.plan
        flags, channels = command.flags, self.config.num_channels
        places = (rows + channels - 1) >> (channels.bit_length() - 1)
        paired = flags.key & flags.paired

        def end(stride, bits, pair=None):
            pair = Const(0, 1) if pair is None else pair
            others = Mux(pair, command.num_heads >> 1, command.num_heads) - 1
            row = (plan.dim[4:8] * bits[:5]) << 1  # bytes of 16 elements, each of ``bits``
            return [(others, stride), (places, Mux(pair, row << 1, row))]

        return [
            _Sum(plan.key, end(plan.key_stride, plan.key_bits, paired), flags.key, "plane"),
            _Sum(
                plan.key_lsb,
                end(plan.key_lsb_stride, Const(LSB_BITS, 5)),
                flags.key & (plan.key_lsb_bits != 0),
                "plane",
            ),
            _Sum(plan.value, end(plan.value_stride, plan.value_bits), flags.value, "plane"),
            _Sum(command.query, end(plan.query_stride, plan.query_bits), flags.query, "plane"),
        ]

    def _add(self, m, sums):
        """(sum, whether its base is below the window, number of the sum that is there now or 0), in four steps."""
        count = sum(len(each.products) for each in sums)
        places = [Signal(range(count + 1), name=f"place_{stage}") for stage in range(4)]
        factor, unit = Signal(_FACTOR, reset_less=True), Signal(_UNIT, reset_less=True)
        product, total = Signal(_FACTOR + _UNIT, reset_less=True), Signal(_TOTAL, reset_less=True)
        before, below, ended = Signal(_TOTAL), Signal(reset_less=True), Signal(range(len(sums) + 1))
        first = Signal()
        m.d.sync += [later.eq(place) for place, later in itertools.pairwise(places)]
        m.d.sync += [product.eq(factor * unit), total.eq(before + product), places[0].eq(places[0] + (places[0] != 0))]
        with m.If(self.start):
            m.d.sync += places[0].eq(1)
        with m.Elif(places[0] == count):
            m.d.sync += places[0].eq(0)
        m.d.comb += before.eq(total)
        place = 0
        for number, each in enumerate(sums, 1):
            with m.If(places[2] == place + 1):
                m.d.comb += [before.eq(each.base), first.eq(1)]
            for a, b in each.products:
                place += 1
                with m.If(places[0] == place):
                    m.d.sync += [factor.eq(a), unit.eq(b)]
            with m.If(places[3] == place):
                m.d.comb += ended.eq(number)
        with m.If(first):
            m.d.sync += below.eq(before[:-1] < self.readable.base)
        return total, below, ended

    def _look(self, m, each, total, below, malformed, outside, *, rows, heads):
        """What a sum says."""
        config = self.config
        if each.kind == "rows":
            m.d.sync += rows.eq(total)
            with m.If(total > config.max_tokens):
                m.d.sync += malformed.eq(1)
        elif each.kind == "heads":
            m.d.sync += heads.eq(total)
        else:
            log_bytes = config.address_width + (config.channel_width // 8).bit_length() - 1
            beyond = (below | (total > self.readable.limit)) if each.kind == "read" else (total > 1 << log_bytes)
            with m.If(each.used & beyond):
                m.d.sync += outside.eq(1)

    def _malformed(self):
        """What is wrong with the fields as they are."""
        command, plan, config = self.request.command, self.request.plan, self.config
        flags = command.flags
        low, row_low = (size.bit_length() - 1 for size in (ALIGNMENT, ROW_ALIGNMENT))
        strides = command.position_stride | command.head_stride
        split = Cat((plan.key_bits == msb) & (plan.key_lsb_bits == lsb) for msb, lsb in config.splits)
        widths = [
            Cat(bits == width for width in config.plane_widths).any() for bits in (plan.query_bits, plan.value_bits)
        ]
        return Cat(
            flags.reserved.any(),
            flags.query == (flags.key | flags.value),
            command.num_rows == 0,
            command.num_heads == 0,
            command.num_heads > config.max_heads,
            flags.paired & command.num_heads[0],
            flags.query & ((plan.group == 0) | (plan.group > config.max_group)),
            plan.skew >= config.num_channels,
            ~Cat(plan.dim == dim for dim in config.dims).any(),
            ~split.any(),
            *(~each for each in widths),
            command.constants[:low].any(),
            strides[:row_low].any(),
            (flags.key | flags.query) & command.rows[:row_low].any(),
            flags.value & command.value_rows[:row_low].any(),
        )
