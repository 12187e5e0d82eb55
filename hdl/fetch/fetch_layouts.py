"""Payloads and sizes inside the Fetcher (its outer ports are in hdl/spec/payloads)."""

from __future__ import annotations

from amaranth.hdl import Cat, Const, Mux, Signal, ValueLike, signed
from amaranth.lib import data

from hdl.spec.config import Config
from hdl.spec.widths import bits_for_count, lane_count

S = data.StructLayout

LSB_LOADS = 2
"""KEY_LSB loads that can be in flight."""


def granule(config: Config) -> int:
    """Elements in whose multiples rows and slices are cut: 16, or a lane if that is narrower."""
    return min(16, config.lane_width)


def unit_bits(config: Config) -> int:
    """Bits of a memory unit, the alignment of every row and slice: 32 (widths are even)."""
    return 2 * granule(config)


def units_per_word(config: Config) -> int:
    return config.channel_width // unit_bits(config)


def log_units(config: Config) -> int:
    return units_per_word(config).bit_length() - 1


def offset_width(config: Config) -> int:
    """Bits of a unit's place in its word. Where a word is one unit it is always 0, in the one bit a field must have."""
    return max(1, log_units(config))


def slice_elements(config: Config) -> int:
    """Elements of a slice that can be other than padding."""
    return min(config.lane_width, config.max_dim)


def real_slices(config: Config) -> int:
    """Slices of the widest row, without those that only pad it."""
    return -(-config.max_dim // config.lane_width)


def slice_units(config: Config) -> int:
    return slice_elements(config) * config.operand_width // unit_bits(config)


def words_per_slice(config: Config) -> int:
    """Most memory words that a slice touches."""
    return -(-(slice_units(config) + units_per_word(config) - 1) // units_per_word(config))


def num_loads(config: Config) -> int:
    """Entries of the table of loads, those of a kind together."""
    return 4 * config.loads


def load_width(config: Config) -> int:
    """Bits of a load's name, ``Cat(index, kind)``: its place in the table."""
    return config.load_width + 2


def kind_of(load):
    """KEY, KEY_LSB, VALUE or QUERY."""
    return load[-2:]


def local_rows(config: Config) -> int:
    """Most rows of a plane in one channel."""
    return -(-config.max_tokens // config.num_channels)


def local_width(config: Config) -> int:
    """Bits of a row index within a channel, ``row // num_channels``."""
    return max(1, config.position_width - (config.num_channels - 1).bit_length())


def load_info(config: Config) -> S:
    """What must be known of a load; constant from its start to its end."""
    units = bits_for_count(config.row_bits_max // unit_bits(config))
    return S(
        {
            "base": config.address_width,  # word address of the plane
            "row_units": units,  # memory units of a row
            "full_units": units,  # of a slice that is not the last of its D elements
            "tail_units": units,  # of the last slice
            "last_slice": bits_for_count(real_slices(config) - 1),  # index of the last slice that is not padding
            "tail_granules": bits_for_count(slice_elements(config) // granule(config)),  # granules of that slice
            "log_slices": 3,
            "width": 5,  # bits of an element
            "skew": config.channel_bits,
            "slot": config.slot_width,  # these as in fetch_command
            "seq": config.seq_width,
            "count": config.count_width,
            "repeat": lane_count(config),
            "pair": 1,
            "pair_offset": config.slot_width,
            "listed": 1,
            "list": 1,
            "shift": 4,
        }
    )


def small_product(a, b):
    """``a * b`` by shifts and additions: multipliers are for the arrays."""
    parts = [Mux(bit, b << i, 0) for i, bit in enumerate(a)]
    while len(parts) > 1:
        parts = [sum(parts[i + 1 : i + 2], parts[i]) for i in range(0, len(parts), 2)]
    return parts[0]


def plane_fields(config: Config, plane, pair: ValueLike = 0) -> dict[str, ValueLike]:
    """Fields of :func:`load_info` that follow from a plane: two small products and shifts.

    A row of a pair is cut in slices like two rows of D elements, which have whole slices only.
    """
    log_granule = granule(config).bit_length() - 1
    log_full = (config.lane_width // granule(config)).bit_length() - 1
    granules = plane.dim[log_granule:]
    last = Mux(pair, granules >> 1, granules) - 1
    half_width = plane.width[1:]
    tail = last[:log_full] + 1 if log_full else 1
    return {
        "base": plane.base,
        "row_units": small_product(granules, half_width),
        "full_units": half_width << log_full,
        "tail_units": small_product(tail, half_width) if log_full else half_width,
        "last_slice": last.as_unsigned() >> log_full,
        "tail_granules": tail,
        "log_slices": plane.log_slices,
        "width": plane.width,
        "skew": plane.skew,
    }


def place_width(config: Config) -> int:
    """Bits of a position in a load, or of a place in QueryStore."""
    return max(config.count_width, (config.query_queue - 1).bit_length())


def load_start(config: Config) -> S:
    """A load that is to be walked."""
    return S({"load": load_width(config), "skew": config.channel_bits})


def local_row(config: Config) -> S:
    """A row of a load in one channel."""
    return S(
        {
            "load": load_width(config),
            "index": local_width(config),  # row // num_channels
            "position": place_width(config),  # of a Q row: its place in QueryStore
            "joined": 1,  # K and V loads: it begins in the word in which the row in front of it ends
            "end": 1,  # not a row: the channel's part of the load ends here
        }
    )


def row_slot(config: Config) -> S:
    """A row whose words are requested."""
    return S(
        {
            "load": load_width(config),
            "position": place_width(config),
            "offset": offset_width(config),  # unit of its first word at which it starts
            "reuse": 1,  # its first word is the last one of the row before
            "repeated": 1,  # its position is below ``repeat``: it is sent a second time
            "short": 1,  # its first slice is the last one of its D elements
            "whole": 1,  # it is one slice, sent once, or an end mark
            "end": 1,
        }
    )


def slice_tag(config: Config) -> S:
    """Where a slice goes."""
    return S(
        {
            "load": load_width(config),
            "mark": max(config.seq_width, place_width(config)),  # sequence number of its row; end: of the next load;
            # of a Q row: its place
            "slot": config.slot_width,  # in the buffer; of a Q row: index of the slice
            "units": bits_for_count(slice_units(config)),  # memory units used up with it; 0 if it is sent again
            "low": 1,  # the lower 4 bits of its words are written too
            "row_last": 1,  # the row is complete with this slice
            "end": 1,  # not a slice: the channel's part of the load ends here
        }
    )


def packed_slice(config: Config, tag) -> S:
    """A slice as it lies in memory, with what must be known to unpack it."""
    return S(
        {
            "raw": slice_elements(config) * config.operand_width,  # element e at bit e * width
            "width": len(config.plane_widths),  # bits of an element, one-hot in their order
            "signed": 1,
            "shift": 4,
            "granules": bits_for_count(slice_elements(config) // granule(config)),  # granules that are valid
            "tag": tag,
        }
    )


def word_slice(config: Config, tag) -> S:
    """A slice of words for the multipliers."""
    return S({"words": data.ArrayLayout(signed(config.operand_width), slice_elements(config)), "tag": tag})


def pick(m, index, options, name: str):
    """``options[index]`` as a multiplexer (the last option also beyond the end)."""
    options = list(options)
    picked = Signal(options[0].shape(), name=name)
    with m.Switch(index):
        for i, option in enumerate(options):
            if i == len(options) - 1:
                with m.Default():
                    m.d.comb += picked.eq(option)
            else:
                with m.Case(i):
                    m.d.comb += picked.eq(option)
    return picked


def add_modulo(value, step, modulus: int):
    """``(value + step) % modulus`` for value < modulus and step <= modulus."""
    total = value + step
    if modulus & (modulus - 1) == 0:
        return total[: modulus.bit_length() - 1] if modulus > 1 else 0
    return Mux(total >= modulus, total - modulus, total)


def channel_position(config: Config, channel: int, index):
    """Row ``index`` of a dense load in this class: ``index * num_channels + channel``."""
    log_channels = config.num_channels.bit_length() - 1
    return Cat(Const(channel, log_channels), index) if log_channels else index
