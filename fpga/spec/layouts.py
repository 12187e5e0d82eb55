"""Streams and ports of the blocks around the core."""

from __future__ import annotations

from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

from hdl.spec.config import Config

__all__ = ["HostMemory", "host_access"]


def host_access(config: Config) -> data.StructLayout:
    """One word that the host writes or reads."""
    return data.StructLayout(
        {
            "channel": config.channel_bits,
            "address": config.address_width,  # word
            "write": 1,
            "data": config.channel_width,
        }
    )


def HostMemory(config: Config) -> wiring.Signature:
    """The host's way to the memory: every read is answered by a word, in order; writes are not answered.

    A read that is asked for after a write sees it, and so do the core's requests.
    """
    return wiring.Signature(
        {
            "request": Out(stream.Signature(host_access(config))),
            "response": In(stream.Signature(config.channel_width)),
        }
    )
