"""The port by which commands and tables are read, and its payloads."""

from __future__ import annotations

from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

__all__ = ["WORDS_WIDTH", "ReadPort", "check_word_width", "read_request"]

WORDS_WIDTH = 16
"""Bits of the number of words of a request."""


def check_word_width(word_width: int) -> int:
    """The width in bits of the words of the port; ValueError unless it is a power of two from 64 to 512."""
    if word_width not in (64, 128, 256, 512):
        raise ValueError(f"word_width must be 64, 128, 256 or 512, not {word_width!r}")
    return word_width


def read_request() -> data.StructLayout:
    """Words that follow each other in memory."""
    return data.StructLayout(
        {
            "address": 64,  # byte address of the first word, a multiple of its bytes
            "words": WORDS_WIDTH,  # 1…
        }
    )


def ReadPort(word_width: int) -> wiring.Signature:
    """Requests, and their words, in the order of the requests; ``error`` stands for a word that could not be read."""
    word = data.StructLayout({"data": word_width, "error": 1})
    return wiring.Signature({"request": Out(stream.Signature(read_request())), "word": In(stream.Signature(word))})
