"""Payloads of what is written to memory."""

from __future__ import annotations

from amaranth.lib import data

from hdl.axi.write_manager import word_write
from hdl.command.open_commands import ENTRY_WIDTH

__all__ = ["ADDRESS_WIDTH", "row_piece", "written_word"]

ADDRESS_WIDTH = 64
"""Bits of a byte address of the bus."""


def written_word(word_width: int) -> data.StructLayout:
    """A word, or some bytes of it, that a command writes."""
    return data.StructLayout(
        {
            "write": word_write(ADDRESS_WIDTH, word_width),
            "entry": ENTRY_WIDTH,  # of the open command
            "last": 1,  # of an output row, or of the tables of a selection
        }
    )


def row_piece(word_width: int) -> data.StructLayout:
    """Some bytes of a word, in their places in it."""
    return data.StructLayout(
        {
            **written_word(word_width).members,
            "done": 1,  # nothing follows for this word; without it the next piece is of the same one
        }
    )
