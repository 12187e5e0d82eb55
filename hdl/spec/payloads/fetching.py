"""Memory ports, buffer ports, and what the Q-K-V fetcher is asked."""

from __future__ import annotations

from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

from hdl.spec import numerics as N
from hdl.spec.config import Config
from hdl.spec.widths import DIM_WIDTH, ELEMENT_BITS_WIDTH, LOG_SLICES_WIDTH, PLANE_SHIFT_WIDTH, lane_count, signed

__all__ = [
    "KEY",
    "KEY_LSB",
    "QUERY",
    "VALUE",
    "BufferRead",
    "BufferWrite",
    "MemoryPort",
    "fetch_command",
    "gather_line",
    "id_write",
    "plane",
    "query_request",
]

S = data.StructLayout
A = data.ArrayLayout


def MemoryPort(config: Config) -> wiring.Signature:
    """One read-only channel; responses come in the order of the requests."""
    return wiring.Signature(
        {
            "request": Out(stream.Signature(config.address_width)),  # word address
            "response": In(stream.Signature(config.channel_width)),  # the word, little endian
        }
    )


def BufferRead(config: Config) -> wiring.Signature:
    """Read of lanes consecutive slices, any alignment: bank b returns the slice s = b (mod lanes) of the window.

    data is valid ``KVBuffer.READ_LATENCY`` cycles after en, for one cycle.
    """
    return wiring.Signature(
        {
            "en": Out(1),
            "first": Out(config.slot_width),  # first slice of the window
            "data": In(A(A(signed(config.operand_width), config.lane_width), config.lanes)),  # by bank
        }
    )


def BufferWrite(config: Config) -> wiring.Signature:
    """Write of one slice into one bank."""
    return wiring.Signature(
        {
            "en": Out(1),
            "addr": Out(config.slot_width),  # slice // banks
            "high": Out(1),  # write the upper operand_width-4 bits of the words
            "low": Out(1),  # write the lower 4 bits
            "data": Out(A(signed(config.operand_width), config.lane_width)),
        }
    )


KEY, KEY_LSB, VALUE, QUERY = 0, 1, 2, 3


def plane(config: Config) -> S:
    """Where the rows of a tensor plane lie: row r is in channel (r + skew) mod C, at bit (r // C) * D * width."""
    return S(
        {
            "base": config.address_width,  # word address of the plane in every channel
            "width": ELEMENT_BITS_WIDTH,  # bits of an element
            "dim": DIM_WIDTH,  # D; 2·D of a pair
            "log_slices": LOG_SLICES_WIDTH,  # of D elements
            "skew": config.channel_bits,
        }
    )


def fetch_command(config: Config) -> S:
    """Load the rows of a plane into a region, at positions 0…n-1 (and repeat the first ``repeat`` after them)."""
    return S(
        {
            "plane": plane(config),
            "slot": config.slot_width,  # first slot of the region, a multiple of lanes
            "seq": config.seq_width,  # sequence number of position 0; position p has seq + p (K and V each their own)
            "count": config.count_width,  # n rows, 1…max_tokens; of a gathered row: survivors
            "repeat": lane_count(config),  # keys repeated at positions n, n+1, … for packed lines
            "pair": 1,  # rows of 2·D elements: the last D go to a second region,
            "pair_offset": config.slot_width,  # which begins so many slots after the first
            "listed": 1,  # row of position p: ids[p] of the list, else p itself
            "list": 1,  # which id list
            "shift": PLANE_SHIFT_WIDTH,  # K: LSB bits below an MSB word; V: left-justification
        }
    )


def gather_line(config: Config) -> S:
    """Keep mask of S consecutive key positions of one row; the V rows of the kept ones are fetched.

    The kept positions of a row get buffer positions 0, 1, 2, … in order.
    """
    return S(
        {
            "start": config.count_width,  # key position of lane 0, a multiple of S
            "keep": config.lanes,  # bit i: position start+i survives
            "last": 1,  # the row ends
        }
    )


def id_write(config: Config) -> S:
    """Entries of an id list: key position p holds row ``ids[p mod lanes]`` of the planes. Strictly ascending ids."""
    return S(
        {
            "list": 1,
            "first": 1,  # clears the list first
            "word": config.position_width,  # positions word * lanes … word * lanes + lanes - 1
            "mask": config.lanes,  # those of them that are written, one run
            "ids": A(config.position_width, config.lanes),
            "importance": A(N.IMPORTANCE_WIDTH, config.lanes),  # UQ16.16, kept in TokenImportance
        }
    )


def query_request(config: Config) -> S:
    """Fetch row ``row`` of a Q plane; rows come back in the order of the requests."""
    return S({"plane": plane(config), "row": config.position_width})
