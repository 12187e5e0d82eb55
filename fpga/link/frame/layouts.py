"""What frames are made of: header, requests, answers, and bytes of their payload's buffers. See docs/protocol.md."""

from __future__ import annotations

from amaranth.lib import data
from amaranth.lib.crc.catalog import CRC32_ISO_HDLC

from fpga.spec.protocol import MAX_PAYLOAD

__all__ = ["CRC_PARAMETERS", "HEADER", "answer_layout", "buffer_write", "request_layout"]

CRC_PARAMETERS = CRC32_ISO_HDLC(data_width=8)

HEADER = data.StructLayout({"length": 16, "type": 8, "seq": 16})
"""The first bytes of a frame."""


def request_layout() -> data.StructLayout:
    """A frame with a good CRC."""
    return data.StructLayout(
        {
            "type": 8,
            "seq": 16,
            "length": 16,  # bytes of the payload
            "too_long": 1,  # more than MAX_PAYLOAD: the rest is lost
            "crc": 32,  # of header and payload
        }
    )


def answer_layout() -> data.StructLayout:
    """What is sent before the payload in the answer buffer."""
    return data.StructLayout({"type": 8, "seq": 16, "length": 16})


def buffer_write() -> data.StructLayout:
    """A byte of a payload buffer."""
    return data.StructLayout({"address": range(MAX_PAYLOAD), "byte": 8})
