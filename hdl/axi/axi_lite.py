"""Signature of AXI4-Lite."""

from __future__ import annotations

import enum

from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

__all__ = ["AXI4Lite", "Response"]

DATA_WIDTH = 32


class Response(enum.IntEnum):
    """BRESP and RRESP."""

    OKAY = 0
    EXOKAY = 1
    SLVERR = 2
    DECERR = 3


def AXI4Lite(*, address_width: int) -> wiring.Signature:
    """AXI4-Lite with 32 bits of data, as the manager has it; the names are AXI's, in lower case.

    Addresses are of bytes; ``wstrb`` has a bit for each byte. Something is handed over in the cycle in which valid and
    ready of its channel are high; once high, valid stays, and all that goes with it, until then.
    """
    if not isinstance(address_width, int) or not 3 <= address_width <= 64:
        raise ValueError(f"address_width must be an integer from 3 to 64, not {address_width!r}")
    return wiring.Signature(
        {
            "awaddr": Out(address_width),
            "awprot": Out(3),
            "awvalid": Out(1),
            "awready": In(1),
            "wdata": Out(DATA_WIDTH),
            "wstrb": Out(DATA_WIDTH // 8),
            "wvalid": Out(1),
            "wready": In(1),
            "bresp": In(2),
            "bvalid": In(1),
            "bready": Out(1),
            "araddr": Out(address_width),
            "arprot": Out(3),
            "arvalid": Out(1),
            "arready": In(1),
            "rdata": In(DATA_WIDTH),
            "rresp": In(2),
            "rvalid": In(1),
            "rready": Out(1),
        }
    )
