"""Pins, commands and geometry of a single data rate SDRAM of 256 Mbit, 16 bits wide."""

from __future__ import annotations

import enum

from amaranth.lib import wiring
from amaranth.lib.wiring import Out

__all__ = [
    "ALL_BANKS",
    "BANKS",
    "BANK_BITS",
    "BEAT_WIDTH",
    "COLUMN_BITS",
    "ROW_BITS",
    "WORD_WIDTHS",
    "SdramCommand",
    "SdramPins",
    "capacity",
    "mode_register",
]

ROW_BITS, BANK_BITS, COLUMN_BITS = 13, 2, 9
BANKS = 1 << BANK_BITS
BEAT_WIDTH = 16
"""Bits of a column: what one clock edge moves."""

ALL_BANKS = 1 << 10
"""A10 with PRECHARGE: of every bank."""

WORD_WIDTHS = (32, 64, 128)
"""Widths of a memory word, which is one burst of 2, 4 or 8 columns."""


class SdramCommand(enum.IntEnum):
    """ras_n, cas_n, we_n, from the most significant bit."""

    MODE = 0b000
    REFRESH = 0b001
    PRECHARGE = 0b010
    ACTIVATE = 0b011
    WRITE = 0b100
    READ = 0b101
    STOP = 0b110
    NOP = 0b111


def capacity(word_width: int) -> int:
    """Words of the chip."""
    return 1 << (ROW_BITS + BANK_BITS + COLUMN_BITS) >> (word_width // BEAT_WIDTH).bit_length() - 1


def mode_register(*, beats: int, cas_latency: int) -> int:
    """Sequential bursts of 2, 4 or 8, for reads and writes."""
    return cas_latency << 4 | (beats.bit_length() - 1)


def SdramPins() -> wiring.Signature:
    """Pins from the controller's side; all but dq_i are flip-flops of the controller.

    A board puts one more register at each pin (in and out), a tristate buffer on dq, and drives the chip's clock.
    """
    return wiring.Signature(
        {
            "cke": Out(1, init=1),
            "cs_n": Out(1),
            "ras_n": Out(1),
            "cas_n": Out(1),
            "we_n": Out(1),
            "ba": Out(BANK_BITS),
            "a": Out(ROW_BITS),
            "dqm": Out(2),
            "dq_o": Out(BEAT_WIDTH),
            "dq_oe": Out(1),
            "dq_i": wiring.In(BEAT_WIDTH),
        }
    )
