"""What lies in memory between host and accelerator: commands, plans, tables and completions.

All numbers are little endian and lie on a multiple of their size. Byte addresses are those of the bus; offsets are in
bytes from the base of every memory channel. What is reserved must be 0 and is written as 0. Counts and ids have room
for contexts of 2^24 tokens. Commands, plans and tables begin at multiples of 64 bytes (ALIGNMENT); rows of bf16 or
fp16 elements at multiples of 32 (ROW_ALIGNMENT).
"""

from __future__ import annotations

import enum

from amaranth.lib import data

__all__ = [
    "ALIGNMENT",
    "APPEND_OFFSET_FRAC",
    "APPEND_SHIFT_BIAS",
    "COMMAND_BYTES",
    "COMPLETION_BYTES",
    "CONSTANT_BYTES",
    "HEAD_BYTES",
    "LISTS",
    "PLAN_BYTES",
    "PROBABILITY_BYTES",
    "ROW_ALIGNMENT",
    "TABLE_HEADER_BYTES",
    "TOKEN_BYTES",
    "Code",
    "Opcode",
    "OutFormat",
    "append_command",
    "append_constant",
    "append_flags",
    "command_head",
    "completion",
    "head_row",
    "layer_command",
    "layer_flags",
    "plan",
    "token_header",
    "token_row",
]

S = data.StructLayout


def _record(size: int, fields: dict[str, int | S]) -> S:
    """A layout of ``size`` bytes; fields of whole bytes lie on a multiple of their size (at most 8)."""
    layout = S(fields)
    if layout.size != 8 * size:
        raise ValueError(f"record must have {8 * size} bits, not {layout.size}")
    for name, field in layout:
        if field.width in (16, 32, 64) and field.offset % field.width:
            raise ValueError(f"{name} must lie on a multiple of {field.width} bits, not at bit {field.offset}")
    return layout


class Opcode(enum.IntEnum):
    """What a command asks for."""

    NOP = 0
    """nothing; it is answered"""
    LAYER = 1
    """attention of the heads of a layer, then its selection"""
    JOB = 2
    """attention of the query heads of one K/V head"""
    PAIR = 3
    """two jobs whose K rows lie together, in two slots one after the other"""
    SELECT = 4
    """a list of tokens, a selection, or both; no attention"""
    FENCE = 5
    """answered when all commands in front of it are"""
    APPEND = 6
    """rows of K, V or Q are quantized and stored into their planes"""


class Code(enum.IntEnum):
    """Of a completion: 0 done, 1…11 as in ``hdl.spec.payloads.STATUS``, or one of these."""

    READ_ERROR = 12
    """the bus answered a read with an error or with a wrong number of beats"""
    WRITE_ERROR = 13
    """the bus answered a write with an error"""
    MALFORMED = 14
    """the command, its plan or a table has a value that is not allowed; nothing was touched"""
    ABORTED = 15
    """its queue was aborted; what it wrote is of no use"""
    TIMEOUT = 16
    """the bus did not answer"""
    OUTSIDE = 17
    """an address outside the queue's window was asked for, and neither read nor written"""


class OutFormat(enum.IntEnum):
    """Elements of attention outputs in memory."""

    INT32 = 0
    """Q(operand_width).8, as the core gives them"""
    FP32 = 1
    """the integer times 2**exponent of its head, which is exact"""
    BF16 = 2
    """the same, rounded to the nearest, of two the even one"""


ALIGNMENT = 64
"""Bytes: commands, plans and tables begin at a multiple, so that none of their words holds a part of something else."""
ROW_ALIGNMENT = 32
"""Bytes: outputs, and rows of elements of two bytes, begin at a multiple. D is a multiple of 16, so such rows can be
dense."""
COMMAND_BYTES, PLAN_BYTES, HEAD_BYTES, TABLE_HEADER_BYTES, TOKEN_BYTES = 64, 128, 16, 64, 8
COMPLETION_BYTES = 32
CONSTANT_BYTES = 4
PROBABILITY_BYTES = 2
"""Of a probability, in units of 2**-16; one of 1 is 2**16 - 1."""
APPEND_SHIFT_BIAS, APPEND_OFFSET_FRAC = 15, 4
"""Of a constant of APPEND: the shift that stands for 2**0; fraction bits of the offset."""

LISTS = ("dense", "table", "previous")
"""Values of ``list`` of a layer's flags: all rows; the tokens of the state; those of the last selection."""


def command_head() -> dict[str, int | S]:
    """Fields at the beginning of every command, 8 bytes with the flags that follow it."""
    return {
        "opcode": 8,
        "irq": 1,  # an interrupt when it is answered
        "reserved0": 7,
        "tag": 16,  # returned with the completion
    }


def layer_flags() -> S:
    """Of LAYER, JOB, PAIR and SELECT."""
    return S(
        {
            "causal": 1,  # query q attends the first num_keys - num_queries + q + 1 keys
            "generation": 1,  # one query; only the V rows that survive local pruning are read
            "accumulate": 1,  # importance of tokens and heads is summed up
            "select": 1,  # tokens and heads are selected in the end
            "list": 2,  # index into LISTS
            "bit_plane": 1,  # the list is a bit for each row, not a table of tokens; for long contexts, else 0
            "write_state": 1,  # the survivors of the selection replace the tables of tokens and heads
            "add_token": 1,  # row num_rows, of the next step, is added to the table with importance 0
            "probabilities": 1,  # they are written, too
            "zero_pruned": 1,  # outputs of the heads that are not in the table are written as 0
            "reserved": 21,
        }
    )


def layer_command() -> S:
    """LAYER, JOB, PAIR, SELECT; counts as in ``hdl.spec.payloads.job_descriptor``."""
    return _record(
        COMMAND_BYTES,
        {
            **command_head(),
            "flags": layer_flags(),
            "num_keys": 32,
            "num_queries": 32,  # of each query head
            "num_rows": 32,  # of the planes of K and V
            "value_keep": 32,  # V rows kept for each query
            "token_keep": 32,  # tokens that survive the selection
            "num_heads": 16,  # entries of the table of heads; JOB, PAIR: query heads of the K/V head
            "head_keep": 16,  # heads that survive; JOB, PAIR: first entry of the table of heads
            "plan": 64,  # address of the plan
            "query": 64,  # offset of the Q plane of the first K/V head
            "out": 64,  # address of the output of position 0, head 0
            "state": 64,  # address of the table of tokens
        },
    )


def append_flags() -> S:
    """Of APPEND: K, V, K and V, or Q."""
    return S(
        {
            "key": 1,  # rows of K are appended
            "value": 1,  # rows of V are
            "query": 1,  # rows of Q are, and nothing else
            "half": 1,  # elements are fp16; else bf16
            "paired": 1,  # K rows (MSB plane) of heads 2j and 2j + 1 lie side by side, and the two have one skew
            "reserved": 27,
        }
    )


def append_command() -> S:
    """APPEND. Of its plan it uses dim, group, widths, skew, offsets and strides of planes.

    Element e of row r of head h of the source lies at ``rows + r·position_stride + h·head_stride + 2·e``; of Q the
    heads are query heads, ``num_heads * group``.
    """
    return _record(
        COMMAND_BYTES,
        {
            **command_head(),
            "flags": append_flags(),
            "first_row": 32,  # of the planes; the others follow it. Of Q the rows of a group's heads follow each other
            "num_rows": 16,  # of each head, at least 1
            "num_heads": 16,  # K/V heads from head 0 of the plan on, at least 1
            "position_stride": 32,  # bytes from row to row of the source
            "head_stride": 32,  # from head to head
            "constants": 64,  # address of the constants: those of K's heads, then of V's, dim of each head
            "plan": 64,  # address of the plan
            "query": 64,  # offset of the Q plane of the first K/V head
            "rows": 64,  # address of the first row of K or Q
            "value_rows": 64,  # of V
        },
    )


def append_constant() -> S:
    """Of a channel of a head: x is stored as x · (1024 + mantissa) · 2^(15 − shift) + offset / 16, rounded.

    Heads follow each other, ``dim`` constants each; Q has one set a K/V head, which its query heads share.
    """
    return _record(
        CONSTANT_BYTES,
        {
            "mantissa": 10,
            "shift": 6,
            "offset": 16,  # signed
        },
    )


def plan() -> S:
    """What is constant of a layer of a sequence, from command to command."""
    return _record(
        PLAN_BYTES,
        {
            "dim": 16,  # D
            "group": 8,  # query heads of a K/V head
            "num_kv_heads": 8,
            "query_bits": 8,
            "key_bits": 8,  # of the MSB plane
            "key_lsb_bits": 8,  # 0: static, 4: progressive
            "value_bits": 8,
            "skew": 16,  # channel of row 0 of K/V head 0
            "decay": 8,  # importance -= importance >> decay at the selection; 0: not
            "out_format": 8,  # OutFormat
            "pin_first": 32,  # the first so many keys, and the last, survive before all others
            "pin_last": 32,
            "flat_limit": 32,  # 2**16 / threshold; progressive only
            "key": 64,  # offsets of the planes of K/V head 0
            "key_lsb": 64,
            "value": 64,
            "query_stride": 32,  # bytes of a channel from the planes of a K/V head to those of the next
            "key_stride": 32,
            "key_lsb_stride": 32,
            "value_stride": 32,
            "heads": 64,  # address of the table of heads
            "probabilities": 64,  # address of those of query 0, head 0
            "out_position_stride": 32,  # bytes from position to position of the outputs
            "out_head_stride": 32,
            "probability_query_stride": 32,
            "probability_head_stride": 32,
            "reserved0": 256,
        },
    )


def head_row() -> S:
    """An entry of the table of heads; K/V heads ascend."""
    return _record(
        HEAD_BYTES,
        {
            "head": 16,  # its number
            "kv_head": 16,
            "scale": 16,  # of the dot products of its K/V head, with ``shift``
            "shift": 8,
            "exponent": 8,  # signed: outputs in floating point are the core's integers times 2**exponent
            "weight": 16,  # unit of its outputs, for its importance
            "reserved1": 16,
            "importance": 32,
        },
    )


def token_header() -> S:
    """The beginning of a table of tokens."""
    return _record(TABLE_HEADER_BYTES, {"count": 32, "capacity": 32, "reserved0": 448})


def token_row() -> S:
    """An entry of the table of tokens; ids ascend."""
    return _record(TOKEN_BYTES, {"id": 24, "reserved0": 8, "importance": 32})


def completion() -> S:
    """What is told of a command when all that it wrote can be read; entry n lies at place n modulo the ring's size."""
    return _record(
        COMPLETION_BYTES,
        {
            "address": 64,  # of the fault, byte; 0 if there was none
            "cycle": 64,  # of the clock since reset, when it was written
            "tokens": 32,  # that survived its selection; of an APPEND elements that saturated; else 0
            "heads": 32,  # that survived its selection; else 0
            "tag": 16,  # of the command
            "code": 8,  # 0 done, 1…11 refused by the core, or :class:`Code`
            "phase": 1,  # 1 in the first round of the ring, 0 in the second, …; in the word that is written last
            "reserved0": 7,
            "number": 16,  # of the command in its queue, modulo 2^16
            "queue": 8,
            "opcode": 8,
        },
    )
