"""What a command and its plan must be, before anything of them is touched."""

from __future__ import annotations

from amaranth.hdl import Cat, Module, Mux, Signal
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In, Out

from hdl.command.descriptors import is_layer
from hdl.spec.config import Config
from hdl.spec.formats import (
    ALIGNMENT,
    HEAD_BYTES,
    LISTS,
    PLAN_BYTES,
    ROW_ALIGNMENT,
    TABLE_HEADER_BYTES,
    TOKEN_BYTES,
    Code,
    Opcode,
    OutFormat,
    layer_command,
    plan,
)
from hdl.spec.widths import DECAY_WIDTH

__all__ = ["LATENCY", "CommandCheck", "PlanCheck", "window"]

_LOW = ALIGNMENT.bit_length() - 1
"""Low bits of an address that must be 0."""
_OUT_LOW = ROW_ALIGNMENT.bit_length() - 1
"""The same of the outputs and their strides."""


def window() -> data.StructLayout:
    """Byte addresses that a queue may use: from ``base`` up to, but not with, ``limit``."""
    return data.StructLayout({"base": 64, "limit": 64})


LATENCY = 3
"""Cycles from the inputs of a check to its code: sizes, ends, comparisons."""


def _lies_in(m, window, address, size):
    """Whether ``size`` bytes from an address on lie in a window, ``LATENCY`` cycles later; nothing wraps around."""
    bytes_, end, inside = Signal(48, reset_less=True), Signal(65, reset_less=True), Signal(reset_less=True)
    m.d.sync += [
        bytes_.eq(size),
        end.eq(address + bytes_),
        inside.eq((address >= window.base) & (end <= window.limit)),
    ]
    return inside


def _flag(m, value):
    """A flip-flop for what is found of the inputs at once."""
    flag = Signal(reset_less=True)
    m.d.sync += flag.eq(value)
    return flag


class CommandCheck(wiring.Component):
    """The code of a command as it lies in its slot, ``LATENCY`` cycles later, and, combinational, what it needs.

    Members
    -------
    command : In(512)
    error : In(1)         it could not be read
    more : In(1)          the next one was announced with it
    follows : In(1)       the one in front of it is the first of a pair
    readable : In(window)
    code : Out(8)         0, READ_ERROR, MALFORMED or OUTSIDE
    planned : Out(1)      its plan is to be read, if the code is 0
    paired : Out(1)       it is one of a pair
    """

    def __init__(self):
        super().__init__(
            {
                "command": In(layer_command()),
                "error": In(1),
                "more": In(1),
                "follows": In(1),
                "readable": In(window()),
                "code": Out(8),
                "planned": Out(1),
                "paired": Out(1),
            }
        )

    def elaborate(self, platform):
        m = Module()
        command, flags = self.command, self.command.flags
        known, core = Signal(), Signal()  # core: the core works for it
        listed = (flags.list == LISTS.index("table")) | flags.write_state
        malformed = Cat(
            command.reserved0.any(),
            core & (flags.reserved.any() | flags.bit_plane | (flags.list == len(LISTS))),
            self.planned & command.plan[:_LOW].any(),
            core & listed & command.state[:_LOW].any(),
            (command.opcode == Opcode.SELECT) & (command.num_heads != 0),
            core & (flags.list == LISTS.index("table")) & (command.num_keys == 0),
            (command.opcode == Opcode.PAIR) & ~self.follows & ~self.more,
            (command.opcode == Opcode.SELECT) & flags.probabilities,
            core & (command.opcode != Opcode.LAYER) & flags.zero_pruned,
            core & (flags.write_state & ~flags.select | flags.add_token & ~flags.write_state),
            core & ~is_layer(command) & flags.select,
            core & (command.opcode != Opcode.SELECT) & command.out[:_OUT_LOW].any(),
        )
        with m.Switch(command.opcode):
            with m.Case(Opcode.LAYER, Opcode.JOB, Opcode.PAIR, Opcode.SELECT):
                m.d.comb += [known.eq(1), self.planned.eq(1), core.eq(1)]
            with m.Case(Opcode.APPEND):
                m.d.comb += [known.eq(1), self.planned.eq(1)]
            with m.Case(Opcode.NOP, Opcode.FENCE):
                m.d.comb += known.eq(1)
        m.d.comb += self.paired.eq(command.opcode == Opcode.PAIR)
        wrong = _flag(m, ~known | malformed.any())
        inside = _lies_in(m, self.readable, command.plan, PLAN_BYTES)
        with m.If(self.error):
            m.d.comb += self.code.eq(Code.READ_ERROR)
        with m.Elif(wrong):
            m.d.comb += self.code.eq(Code.MALFORMED)
        with m.Elif(self.planned & ~inside):
            m.d.comb += self.code.eq(Code.OUTSIDE)
        return m


class PlanCheck(wiring.Component):
    """The code of a command with the plan that was read for it, ``LATENCY`` cycles later.

    Offsets and strides of planes must be whole words of the channels, and offsets lie in the core's address space; what
    else is wrong with them the core tells by its own codes, and of an APPEND hdl.append.append_check.

    Members
    -------
    command : In(512)
    plan : In(1024)
    error : In(1)          the plan could not be read
    readable : In(window)
    code : Out(8)          0, READ_ERROR, MALFORMED or OUTSIDE
    """

    def __init__(self, config: Config):
        self.config = config
        super().__init__(
            {
                "command": In(layer_command()),
                "plan": In(plan()),
                "error": In(1),
                "readable": In(window()),
                "code": Out(8),
            }
        )

    def elaborate(self, platform):
        m = Module()
        command, plan = self.command, self.plan
        low = (self.config.channel_width // 8).bit_length() - 1
        offsets = [plan.key, plan.key_lsb, plan.value, command.query]
        strides = [plan.query_stride, plan.key_stride, plan.key_lsb_stride, plan.value_stride]
        core = command.opcode != Opcode.APPEND
        has_heads = core & (command.num_heads != 0)
        probabilities = [plan.probabilities, plan.probability_query_stride, plan.probability_head_stride]
        malformed = Cat(
            plan.reserved0.any(),
            plan.out_format > max(OutFormat),
            plan.decay[DECAY_WIDTH:].any(),
            has_heads & (plan.out_position_stride | plan.out_head_stride)[:_OUT_LOW].any(),
            core & command.flags.probabilities & Cat(value[:_OUT_LOW] for value in probabilities).any(),
            core & command.flags.zero_pruned & (plan.num_kv_heads * plan.group > self.config.max_heads),
            core & (command.num_heads > self.config.max_heads),
            has_heads & plan.heads[:_LOW].any(),
            *(value[:low].any() for value in (*offsets, *strides)),
        )
        beyond = Cat(value[low + self.config.address_width :].any() for value in offsets)
        wrong, outside = _flag(m, malformed.any()), _flag(m, beyond.any())
        heads = _lies_in(m, self.readable, plan.heads, self._head_bytes(command))
        tokens = _lies_in(m, self.readable, command.state, self._token_bytes(command))
        listed = core & (command.flags.list == LISTS.index("table"))
        with m.If(self.error):
            m.d.comb += self.code.eq(Code.READ_ERROR)
        with m.Elif(wrong):
            m.d.comb += self.code.eq(Code.MALFORMED)
        with m.Elif(outside | (has_heads & ~heads) | (listed & ~tokens)):
            m.d.comb += self.code.eq(Code.OUTSIDE)
        return m

    @staticmethod
    def _head_bytes(command):
        """Of the table of heads, as far as it is read: a job begins with entry ``head_keep``."""
        before = Mux(command.opcode == Opcode.LAYER, 0, command.head_keep)
        return (command.num_heads + before) * HEAD_BYTES

    def _token_bytes(self, command):
        """Of the table of tokens to the end of its last record of ``lanes`` tokens."""
        log_lanes = self.config.lanes.bit_length() - 1
        records = (command.num_keys + self.config.lanes - 1) >> log_lanes
        return TABLE_HEADER_BYTES + (records << log_lanes) * TOKEN_BYTES
