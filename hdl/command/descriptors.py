"""Descriptors of the core, of a command and its plan.

A value that a descriptor has too few bits for becomes one that the core refuses: the largest one of its field (no
configuration serves it), or 0 where every value but that is served. Nothing is cut off.
"""

from __future__ import annotations

from amaranth.hdl import Mux, Value, ValueLike

from hdl.spec import payloads
from hdl.spec.config import Config
from hdl.spec.formats import Opcode

__all__ = ["head_fields", "is_append", "is_layer", "is_plain", "job_fields", "layer_fields", "limited"]


def limited(value: Value, width: int, *, instead: int | None = None) -> Value:
    """``value`` in ``width`` bits; if it needs more, the largest number of these bits, or ``instead``."""
    if len(value) <= width:
        return value
    return Mux(value[width:].any(), (1 << width) - 1 if instead is None else instead, value[:width])


def _words(config: Config, value: Value) -> Value:
    """A number of bytes of a channel as words; bytes beyond the address space become its last word."""
    low = (config.channel_width // 8).bit_length() - 1
    return limited(value[low:], config.address_width)


def job_fields(config: Config, command, plan, *, job_id: ValueLike, pair: ValueLike) -> dict[str, ValueLike]:
    """Fields of ``payloads.job_descriptor`` but for the scale, which lies in the table of heads."""
    layout, flags = payloads.job_descriptor(config), command.flags

    def fit(name: str, value: Value) -> Value:
        return limited(value, layout[name].width)

    counts = ("num_keys", "num_queries", "num_rows", "value_keep")
    widths = ("dim", "query_bits", "key_bits", "key_lsb_bits", "value_bits", "skew", "flat_limit")
    return {
        "job_id": job_id,
        "group": fit("group", command.num_heads),
        "head": fit("head", command.head_keep),
        "list": flags.list,
        "pair": pair,
        **{name: flags[name] for name in ("causal", "generation", "accumulate")},
        **{name: fit(name, command[name]) for name in counts},
        **{name: fit(name, plan[name]) for name in widths},
        "query_base": _words(config, command.query),
        **{f"{name}_base": _words(config, plan[name]) for name in ("key", "key_lsb", "value")},
    }


def layer_fields(config: Config, command, plan) -> dict[str, ValueLike]:
    """Fields of ``payloads.layer_descriptor`` but for its job; SELECT is a layer without heads."""
    layout = payloads.layer_descriptor(config)
    names = ("token_keep", "num_heads", "head_keep")
    return {
        "select": command.flags.select,
        **{name: limited(command[name], layout[name].width) for name in names},
        **{name: limited(plan[name], layout[name].width) for name in ("pin_first", "pin_last", "decay")},
        **{f"{name}_stride": _words(config, plan[f"{name}_stride"]) for name in ("query", "key", "key_lsb", "value")},
    }


def head_fields(config: Config, row) -> dict[str, ValueLike]:
    """Fields of ``payloads.head_entry`` but for ``last``; a shift of more than 63 is 0, which the core refuses."""
    layout = payloads.head_entry(config)
    return {
        "head": limited(row.head, layout["head"].width),
        "kv_head": limited(row.kv_head, layout["kv_head"].width),
        "scale": row.scale,
        "shift": limited(row.shift, layout["shift"].width, instead=0),
        "weight": row.weight,
        "importance": row.importance,
    }


def is_layer(command) -> Value:
    """Whether a command is a layer to the core."""
    return (command.opcode == Opcode.LAYER) | (command.opcode == Opcode.SELECT)


def is_append(command) -> Value:
    """Whether a command is worked on beside the core."""
    return command.opcode == Opcode.APPEND


def is_plain(command) -> Value:
    """Whether a command has nothing but its first bytes."""
    return (command.opcode == Opcode.NOP) | (command.opcode == Opcode.FENCE)
