"""What the blocks of a memory channel make of rows, in software: words, slices and their tags (hdl/fetch)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from amaranth.hdl import Shape

from hdl.fetch.fetch_layouts import granule, load_info, num_loads, slice_elements, unit_bits, units_per_word
from hdl.spec.config import Config
from hdl.spec.payloads import KEY, KEY_LSB, QUERY
from sim.common.packing import pack

Fields = dict[str, Any]


def load_name(config: Config, kind: int, index: int) -> int:
    """Name of a load: its place in the table."""
    return kind << config.load_width | index


def load_fields(
    config: Config, *, dim: int, width: int, pair: bool = False, listed: bool = False, which: int = 0, **others: int
) -> Fields:
    """Entry of the table for a load of rows of ``dim`` elements, or of twice as many for a ``pair``.

    others: base, skew, slot, seq, count, repeat, pair_offset, shift; 0 if not given.
    """
    last = -(-dim // config.lane_width) - 1
    tail = dim - last * config.lane_width
    unit = unit_bits(config)
    full = config.lane_width * width // unit  # of a lane wider than any row it is not used, and cut off
    names = ("base", "skew", "slot", "seq", "count", "repeat", "pair_offset", "shift")
    return {
        **{name: others.get(name, 0) for name in names},
        "row_units": dim * (2 if pair else 1) * width // unit,
        "full_units": full % (1 << load_info(config)["full_units"].width),
        "tail_units": tail * width // unit,
        "last_slice": last,
        "tail_granules": tail // granule(config),
        "log_slices": config.log_slices(dim),
        "width": width,
        "pair": int(pair),
        "listed": int(listed),
        "list": which,
    }


def table_word(config: Config, table: dict[int, Fields]) -> int:
    """The bits of a port ``table``, from entries by the loads' names."""
    info = load_info(config)
    width = Shape.cast(info).width
    word = 0
    for name in range(num_loads(config)):
        if name in table:
            word |= pack(info, table[name]) << name * width
    return word


def local_row(load: int, index: int = 0, position: int = 0, *, joined: bool = False, end: bool = False) -> Fields:
    return {"load": load, "index": index, "position": position, "joined": int(joined), "end": int(end)}


def requested(config: Config, table: dict[int, Fields], rows: Sequence[Fields]) -> tuple[list[int], list[Fields]]:
    """Word addresses that rows and end marks of one channel ask for, and the rows for the assembler.

    A word is shared with the row before if that is of the same load, which has not ended since, and not a Q row.
    """
    addresses, slots = [], []
    shared = None  # (load, address) of the last word that may be shared
    per_word = units_per_word(config)
    for row in rows:
        load, info = row["load"], table[row["load"]]
        if row["end"]:
            slots.append({"load": load, "end": 1, "whole": 1, "reuse": 0})
            shared = None if shared and shared[0] == load else shared
            continue
        start = row["index"] * info["row_units"]
        first, last = (info["base"] + unit // per_word for unit in (start, start + info["row_units"] - 1))
        reuse = shared == (load, first)
        repeated, short = row["position"] < info["repeat"], info["last_slice"] == 0
        addresses += range(first + reuse, last + 1)
        slots.append(
            {
                "load": load,
                "position": row["position"],
                "offset": start % per_word,
                "reuse": int(reuse),
                "repeated": int(repeated),
                "short": int(short),
                "whole": int(short and not info["pair"] and not repeated),
                "end": 0,
            }
        )
        shared = None if load >> config.load_width == QUERY else (load, last)
    return addresses, slots


def cut_slices(config: Config, table: dict[int, Fields], rows: Sequence[Fields], memory: Sequence[int]) -> list[Fields]:
    """Slices of rows and end marks of one channel, whose words are ``memory``, with their tags.

    ``raw`` has the bits of the slice alone; of an end mark only ``load``, ``mark``, ``units`` and ``end`` are told.
    """
    slices = []
    for row in rows:
        info, kind = table[row["load"]], row["load"] >> config.load_width
        if row["end"]:
            mark = (info["seq"] + info["count"] + info["repeat"]) % (1 << config.seq_width)
            slices.append({"load": row["load"], "mark": mark, "units": 0, "end": 1})
            continue
        unit = (info["base"] * units_per_word(config)) + row["index"] * info["row_units"]
        parts = [(half, j) for half in range(1 + info["pair"]) for j in range(info["last_slice"] + 1)]
        times = 1 + (kind != QUERY and row["position"] < info["repeat"])
        for number, (half, j) in enumerate(parts):
            tail = j == info["last_slice"]
            units = info["tail_units" if tail else "full_units"]
            for again in range(times):
                position = row["position"] + again * info["count"]
                place = 0 if kind == QUERY else position << info["log_slices"]
                slot = info["slot"] + j + half * info["pair_offset"] + place
                slices.append(
                    {
                        "load": row["load"],
                        "mark": (info["seq"] + row["position"]) % (1 << config.seq_width),
                        "slot": slot % (1 << config.slot_width),
                        "units": units if again == times - 1 else 0,
                        "low": int(kind != KEY or info["shift"] == 0),
                        "row_last": int(number == len(parts) - 1 and again == times - 1),
                        "end": 0,
                        "width": [int(info["width"] == width) for width in config.plane_widths],
                        "signed": int(kind != KEY_LSB),
                        "shift": info["shift"],
                        "granules": info["tail_granules"] if tail else slice_elements(config) // granule(config),
                        "raw": read_units(config, memory, unit, units),
                        "bits": units * unit_bits(config),
                    }
                )
            unit += units
    return slices


def read_units(config: Config, memory: Sequence[int], first: int, count: int) -> int:
    """The bits of ``count`` memory units from unit ``first`` on."""
    bits = unit_bits(config)
    per_word = units_per_word(config)
    units = ((memory[u // per_word] >> u % per_word * bits) & ((1 << bits) - 1) for u in range(first, first + count))
    return sum(unit << i * bits for i, unit in enumerate(units))
