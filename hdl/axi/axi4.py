"""Signatures of AXI4 channels, and what can go wrong on them."""

from __future__ import annotations

import enum

from amaranth.lib import data, wiring
from amaranth.lib.wiring import In, Out

__all__ = [
    "BEATS_WIDTH",
    "INCR",
    "MOST_BEATS",
    "OKAY",
    "PAGE_BYTES",
    "AXI4Read",
    "AXI4Write",
    "BusFault",
    "bus_fault",
    "check_bus",
]

MOST_BEATS = 256
"""Beats of a burst."""
BEATS_WIDTH = 8
"""Bits of AxLEN, the beats of a burst after its first one."""
PAGE_BYTES = 4096
"""No burst has bytes of two pages of this size."""
INCR = 0b01
"""AxBURST: each beat lies after the one before."""
OKAY = 0b00
"""RRESP and BRESP; a manager takes every other response for an error."""


class BusFault(enum.IntEnum):
    """Why a manager gave up."""

    NONE = 0
    RESPONSE = 1
    """RRESP or BRESP is not OKAY."""
    LAST = 2
    """RLAST came before the last beat of a burst, or was not with it."""
    SURPLUS = 3
    """A beat or response came that nothing had asked for."""
    TIMEOUT = 4
    """The bus owes an answer, and nothing moves."""
    WINDOW = 5
    """A word outside the window was asked for; it was kept from the bus."""


def bus_fault(address_width: int) -> data.StructLayout:
    """The first fault of a manager since its last stop."""
    return data.StructLayout(
        {
            "code": 3,  # BusFault; 0: none
            "address": address_width,  # word at which it was seen; 0 of a surplus beat
        }
    )


def check_bus(address_width: int, data_width: int) -> None:
    """ValueError if AXI4 has no such channel; a page must have addresses of its own."""
    if data_width not in (8, 16, 32, 64, 128, 256, 512, 1024):
        raise ValueError(f"data_width must be 8 … 1024, a power of two, not {data_width!r}")
    if not 13 <= address_width <= 64:
        raise ValueError(f"address_width must be 13 … 64, not {address_width!r}")


def AXI4Read(*, address_width: int, data_width: int, id_width: int = 1) -> wiring.Signature:
    """Read channels, as the manager has them; the names are AXI's, in lower case.

    A request is made in the cycle in which arvalid and arready are high, and a beat is taken in that in which rvalid
    and rready are. Once high, arvalid and rvalid stay, and all that goes with them, until then. ``araddr`` is in bytes,
    ``arlen`` the number of beats less one, ``arsize`` log2 of the bytes of a beat. Beats of one ``arid`` come in the
    order of the requests; ``rlast`` is with the last one of each.
    """
    check_bus(address_width, data_width)
    return wiring.Signature(
        {
            "arid": Out(id_width),
            "araddr": Out(address_width),
            "arlen": Out(BEATS_WIDTH),
            "arsize": Out(3),
            "arburst": Out(2),
            "arcache": Out(4),
            "arprot": Out(3),
            "arvalid": Out(1),
            "arready": In(1),
            "rid": In(id_width),
            "rdata": In(data_width),
            "rresp": In(2),
            "rlast": In(1),
            "rvalid": In(1),
            "rready": Out(1),
        }
    )


def AXI4Write(*, address_width: int, data_width: int, id_width: int = 1) -> wiring.Signature:
    """Write channels, as the manager has them; names and handshakes as in :func:`AXI4Read`.

    Beats go in the order of the requests, ``wlast`` with the last one of each, ``wstrb`` with a bit a byte. A response
    for each request comes after its last beat, in the order of the requests of one ``awid``.
    """
    check_bus(address_width, data_width)
    return wiring.Signature(
        {
            "awid": Out(id_width),
            "awaddr": Out(address_width),
            "awlen": Out(BEATS_WIDTH),
            "awsize": Out(3),
            "awburst": Out(2),
            "awcache": Out(4),
            "awprot": Out(3),
            "awvalid": Out(1),
            "awready": In(1),
            "wdata": Out(data_width),
            "wstrb": Out(data_width // 8),
            "wlast": Out(1),
            "wvalid": Out(1),
            "wready": In(1),
            "bid": In(id_width),
            "bresp": In(2),
            "bvalid": In(1),
            "bready": Out(1),
        }
    )
