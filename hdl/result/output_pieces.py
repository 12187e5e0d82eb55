"""Formatted outputs to pieces of words."""

from __future__ import annotations

from amaranth.hdl import Cat, Const, Module, Mux, Signal
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

from hdl.command.open_commands import ENTRY_WIDTH
from hdl.result.out_formatter import formatted_elements
from hdl.result.written_word import ADDRESS_WIDTH, row_piece
from hdl.spec.config import Config
from hdl.spec.widths import DIM_WIDTH, bits_for_count

__all__ = ["MAX_WORD_WIDTH", "OutputPieces", "check_row_word", "placed_group"]

MAX_WORD_WIDTH = 256
"""Bits: rows begin at multiples of so many, and 16 elements of bf16, of which D is a multiple, fill a word."""


def check_row_word(word_width: int) -> int:
    """The width in bits of the words in which rows are written; ValueError unless rows can begin and end with one."""
    if word_width not in (64, 128, MAX_WORD_WIDTH):
        raise ValueError(f"word_width must be 64, 128 or {MAX_WORD_WIDTH}, not {word_width!r}")
    return word_width


def placed_group() -> data.StructLayout:
    """Where norm_lanes elements go."""
    return data.StructLayout(
        {
            "entry": ENTRY_WIDTH,
            "address": ADDRESS_WIDTH,  # byte, of the first one
            "left": DIM_WIDTH,  # elements of the row from it on, at least 1
            "short": 1,  # 2 bytes an element, not 4
            "last": 1,  # of the row
        }
    )


class OutputPieces(wiring.Component):
    """Cuts groups of norm_lanes elements into words, or puts them at their place in one.

    Elements after the row's end are left out. Latency 0; a piece a cycle, norm_lanes · 4 (2) bytes / bytes of a word of
    them a group, at least one.

    Members
    -------
    group : In(stream.Signature(placed_group))       the same group as ``elements``, which are taken together
    elements : In(stream.Signature(formatted_elements))
    o : Out(stream.Signature(row_piece))
    """

    def __init__(self, config: Config, *, word_width: int):
        self.config, self.word_width = config, check_row_word(word_width)
        super().__init__(
            {
                "group": In(stream.Signature(placed_group())),
                "elements": In(stream.Signature(formatted_elements(config))),
                "o": Out(stream.Signature(row_piece(word_width))),
            }
        )

    def elaborate(self, platform):
        m = Module()
        words, lanes, group = self.elements.payload.words, self.config.norm_lanes, self.group.payload
        long = [words[lane] for lane in range(lanes)]
        short = [words[lane][:16] for lane in range(lanes)]
        most = max(1, 32 * lanes // self.word_width)
        piece = Signal(bits_for_count(most))
        wide, narrow = (self._of_format(parts, size, piece) for parts, size in ((long, 32), (short, 16)))
        chosen = [Mux(group.short, few, many) for few, many in zip(narrow, wide, strict=True)]
        data_, strobes, done, over = chosen
        write, low = self.o.payload.write, (self.word_width // 8).bit_length() - 1
        both = self.group.valid & self.elements.valid
        m.d.comb += [
            self.o.valid.eq(both),
            write.word.eq(group.address[low:] + piece),
            write.data.eq(data_),
            write.strobes.eq(strobes),
            self.o.payload.entry.eq(group.entry),
            self.o.payload.last.eq(group.last & over),
            self.o.payload.done.eq(done | (group.last & over)),
            self.group.ready.eq(self.elements.valid & self.o.ready & over),
            self.elements.ready.eq(self.group.valid & self.o.ready & over),
        ]
        with m.If(both & self.o.ready):
            m.d.sync += piece.eq(Mux(over, 0, piece + 1))
        return m

    def _of_format(self, parts, bits, piece):
        """(data, strobes, whether the word is done, whether the group is) of elements of so many bits."""
        group, width = self.group.payload, self.word_width
        chunk = Cat(parts)
        if len(chunk) >= width:
            count = len(chunk) // width
            each = width // bits  # elements of a piece
            over = (piece == count - 1) | (group.left <= (piece + 1) * each)
            return chunk.word_select(piece, width), Const(-1, width // 8), 1, over
        places = width // len(chunk)
        size = len(chunk) // 8
        low = size.bit_length() - 1
        place = group.address[low : low + places.bit_length() - 1]
        strobes = Cat((place == index).replicate(size) for index in range(places))
        return chunk.replicate(places), strobes, place == places - 1, 1
