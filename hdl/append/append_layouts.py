"""Payloads of appending rows."""

from __future__ import annotations

import enum
import functools
import operator

from amaranth.hdl import Mux, Value
from amaranth.lib import data

from hdl.spec.config import Config
from hdl.spec.formats import append_command, append_constant, plan
from hdl.spec.widths import ELEMENT_BITS_WIDTH

__all__ = [
    "CHUNK_WIDTH",
    "SATURATED_WIDTH",
    "Tensor",
    "append_answer",
    "append_request",
    "append_row",
    "append_step",
    "check_append_width",
    "one_of",
    "plain_element",
    "quantized_element",
    "row_span",
    "units_width",
]

CHUNK_WIDTH = 32
"""Bits of which every row of a plane has a whole number, at a multiple of them: D is a multiple of 16, widths are
even."""
SATURATED_WIDTH = 32
"""Bits of a count of elements: of a command there are fewer."""

S = data.StructLayout


class Tensor(enum.IntEnum):
    """What rows are of; one command has K, V, both in this order, or Q."""

    KEY = 0
    VALUE = 1
    QUERY = 2


def check_append_width(word_width: int) -> int:
    """Bits of the words of both ports, so that a row of 16 elements has whole ones; else ValueError."""
    if word_width not in (64, 128, 256):
        raise ValueError(f"word_width must be 64, 128 or 256, not {word_width!r}")
    return word_width


def append_request() -> S:
    """An APPEND command that was checked, with its plan."""
    return S({"command": append_command(), "plan": plan()})


def append_answer() -> S:
    """What came of a command when all its words have been given."""
    return S(
        {
            "saturated": SATURATED_WIDTH,  # elements that were beyond their range
            "failed": 1,  # a word could not be read: the rows are of no use
        }
    )


def append_row(config: Config) -> S:
    """A row of a head, as it is quantized and stored."""
    return S(
        {
            "tensor": 2,
            "head": config.head_width,  # K/V head
            "row": config.position_width,  # of the planes
            "ends": 1,  # the last of its K/V head
            "last": 1,  # of all
        }
    )


def append_step(config: Config) -> S:
    """What the next words from memory are."""
    return S({"constants": 1, "row": append_row(config)})


def plain_element() -> S:
    """An element in bf16 or fp16, and what it is multiplied by."""
    return S({"word": 16, "constant": append_constant(), "bits": ELEMENT_BITS_WIDTH, "tensor": 2})


def quantized_element(config: Config) -> S:
    """Its integer in the low ``bits`` bits, the others are 0."""
    return S({"integer": config.operand_width, "saturated": 1, "bits": ELEMENT_BITS_WIDTH, "tensor": 2})


def units_width(config: Config) -> int:
    """Bits of a place in a channel, in units of CHUNK_WIDTH."""
    return config.address_width + (config.channel_width // CHUNK_WIDTH).bit_length() - 1


def row_span(config: Config) -> S:
    """Where the chunks of a row of a plane go."""
    return S(
        {
            "channel": config.channel_bits,
            "place": units_width(config),  # of its first chunk
            "chunks": 7,  # 1…64
            "lsb": 1,  # of the K LSB plane
            "last": 1,  # nothing follows of this command
        }
    )


def one_of(*choices: tuple[Value, Value]) -> Value:
    """The value whose bit is set, of which at most one is; 0 of none. By ANDs and ORs: half the logic of a switch."""
    return functools.reduce(operator.or_, (Mux(bit, value, 0) for bit, value in choices))
