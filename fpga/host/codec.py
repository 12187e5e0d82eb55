"""Frames in software: what the host sends and how it reads the board's answers. See docs/protocol.md."""

from __future__ import annotations

import struct
import zlib
from typing import NamedTuple

from fpga.spec.protocol import CRC_BYTES, ESCAPE, ESCAPE_XOR, FLAG, HEADER_BYTES, MAX_PAYLOAD

__all__ = ["Frame", "FrameDecoder", "encode_frame", "frame_crc", "stuff"]

_HEADER = struct.Struct("<HBH")
_CRC = struct.Struct("<I")
_MAX_CONTENT = HEADER_BYTES + MAX_PAYLOAD + CRC_BYTES


class Frame(NamedTuple):
    type: int
    seq: int
    payload: bytes
    crc: int


def _header(type: int, seq: int, payload: bytes) -> bytes:
    return _HEADER.pack(len(payload), type, seq)


def frame_crc(type: int, seq: int, payload: bytes = b"") -> int:
    """CRC of a frame, by which the board knows a repeated request."""
    return zlib.crc32(_header(type, seq, payload) + payload)


def stuff(content: bytes) -> bytes:
    """Content between two flags; flags and escapes inside become an escape and the changed byte."""
    stuffed = bytearray((FLAG,))
    for byte in content:
        if byte in (FLAG, ESCAPE):
            stuffed += bytes((ESCAPE, byte ^ ESCAPE_XOR))
        else:
            stuffed.append(byte)
    stuffed.append(FLAG)
    return bytes(stuffed)


def encode_frame(type: int, seq: int, payload: bytes = b"") -> bytes:
    """Bytes of a frame on the line."""
    if len(payload) >= 1 << 16:
        raise ValueError(f"payload must be shorter than 65536 bytes, not {len(payload)}")
    return stuff(_header(type, seq, payload) + payload + _CRC.pack(frame_crc(type, seq, payload)))


class FrameDecoder:
    """Finds the frames in a stream of bytes; ``dropped`` counts those that were damaged.

    Every flag ends what came before it and begins anew, so that noise on the line never costs the frame after it.
    """

    def __init__(self) -> None:
        self.dropped = 0
        self._content = bytearray()
        self._escaped = False

    def feed(self, data: bytes) -> list[Frame]:
        """The frames that ``data`` completes."""
        frames = []
        for byte in data:
            if byte == FLAG:
                if self._content or self._escaped:
                    frame = self._decode()
                    self.dropped += frame is None
                    frames += [frame] if frame else []
                self._content.clear()
                self._escaped = False
            elif byte == ESCAPE and not self._escaped:
                self._escaped = True
            elif len(self._content) <= _MAX_CONTENT:  # one byte too many marks a frame as too long
                self._content.append(byte ^ ESCAPE_XOR if self._escaped else byte)
                self._escaped = False
        return frames

    def _decode(self) -> Frame | None:
        content = bytes(self._content)
        if self._escaped or not HEADER_BYTES + CRC_BYTES <= len(content) <= _MAX_CONTENT:
            return None
        length, type, seq = _HEADER.unpack_from(content)
        payload = content[HEADER_BYTES:-CRC_BYTES]
        (crc,) = _CRC.unpack_from(content, len(content) - CRC_BYTES)
        if length != len(payload) or crc != zlib.crc32(content[:-CRC_BYTES]):
            return None
        return Frame(type, seq, payload, crc)
