"""Numbers of the protocol between host and board, the same for both sides; docs/protocol.md is its specification."""

from __future__ import annotations

import dataclasses
import enum

__all__ = [
    "ANSWER",
    "CRC_BYTES",
    "ESCAPE",
    "ESCAPE_XOR",
    "FLAG",
    "HEADER_BYTES",
    "HOST_STREAM",
    "MAX_PAYLOAD",
    "RESULT_STREAM",
    "STAMP_BYTES",
    "VERSION",
    "Command",
    "Error",
    "Identity",
]

VERSION = 1

FLAG, ESCAPE, ESCAPE_XOR = 0x7E, 0x7D, 0x20
"""Byte stuffing of RFC 1662: a frame stands between flags; a flag or escape in it becomes escape, byte ^ 0x20."""

HEADER_BYTES = 5
"""length u16 (of the payload), type u8, sequence u16; all numbers of the protocol are little endian."""

CRC_BYTES = 4
"""CRC-32/ISO-HDLC (amaranth.lib.crc.catalog.CRC32_ISO_HDLC, zlib.crc32) of header and payload."""

MAX_PAYLOAD = 1024
"""Bytes of the longest payload, of requests and of answers."""

ANSWER = 0x80
"""The type of an answer is the type of its request + ANSWER, or ERROR."""

STAMP_BYTES = 8
"""A status record ends with the cycle, since reset, in which the core gave it."""


class Command(enum.IntEnum):
    """Types of requests. Payload of the request → payload of the answer."""

    VERSION = 0x01
    """Nothing → an :class:`Identity`."""
    RESET = 0x02
    """Anything → the same. Core, queues, results and counters are as after power-on; memory is kept."""
    WRITE = 0x03
    """channel u16, first word u32, words → nothing."""
    READ = 0x04
    """channel u16, first word u32, count u16 → words."""
    PUSH = 0x05
    """stream u8 (HOST_STREAM), items of a whole number of bytes each → items taken u16."""
    PULL = 0x06
    """most bytes u16 → whole records, maybe none."""
    COUNTERS = 0x07
    """clear u8 (1: clear them afterwards) → counters (u64 each), words read of each channel (u64 each), then
    frames dropped u64 (since power-on)."""
    RESULTS = 0x08
    """mask u8: bit s: records of RESULT_STREAM s are kept; status is always kept → nothing. After reset: all."""
    ERROR = 0xFF
    """Only as an answer: code u8 (:class:`Error`), type of the request u8."""


class Error(enum.IntEnum):
    UNKNOWN_COMMAND = 1
    BAD_LENGTH = 2
    """The payload is not as long as the command asks."""
    OUTSIDE_WINDOW = 3
    """Channel or words outside the window given to the host; nothing was read or written."""
    BAD_STREAM = 4
    TOO_LONG = 5
    """The payload is longer than MAX_PAYLOAD."""


HOST_STREAM = {"job": 0, "layer": 1, "heads": 2, "ids": 3}
"""Streams into the core."""

RESULT_STREAM = {"out": 0, "prob": 1, "status": 2, "survivor": 3}
"""Streams out of it. A record is the stream's number u8, then the item in whole bytes (status: and the stamp)."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Identity:
    """What a board is: the answer to VERSION, fields in this order."""

    protocol: int
    """u16, VERSION"""
    channels: int
    """u16"""
    word_bytes: int
    """u16"""
    max_payload: int
    """u16"""
    window_base: int
    """u32, first word of each channel that the host may use"""
    window_words: int
    """u32"""
    clock_hz: int
    """u32"""
    digest: int
    """u64, of the configuration: :func:`fpga.spec.settings.config_digest`"""

    FORMAT = "<HHHHIIIQ"
