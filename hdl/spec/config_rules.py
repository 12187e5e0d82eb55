"""What a configuration must fulfil, rule by rule; each error names the field, what it must be, and what it is."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Callable

from hdl.spec.config_sizes import ConfigSizes
from hdl.spec.numerics import PLANE_WIDTHS

__all__ = ["RANGES", "ConfigError", "check"]

RANGES = {
    "num_multipliers": (1, 4096),
    "lanes": (1, 256),
    "max_tokens": (8, 4096),
    "buffer_dim": (1, 1024),
    "key_rows": (8, 2**16),
    "value_rows": (8, 2**16),
    "key_pages": (1, 256),
    "value_pages": (1, 256),
    "banks_per_lane": (1, 8),
    "num_channels": (1, 128),
    "channel_width": (32, 8192),
    "address_width": (4, 32),
    "topk_parallelism": (1, 256),
    "num_topk_engines": (1, 16),
    "outstanding": (1, 1024),
    "slice_queue": (1, 1024),
    "contexts": (4, 32),
    "loads": (2, 16),
    "max_heads": (1, 128),
    "max_group": (1, 16),
    "chain_rows": (0, 1024),
    "query_queue": (1, 1024),
    "line_queue": (1, 2**16),
    "adder_levels": (1, 8),
}
"""Field -> least and largest value. The largest are several times what the paper's machine has: an extra zero or three
are told at once, before they fill the memory. Other fields narrow some of them further."""

POWERS_OF_TWO = (
    "num_multipliers",
    "lanes",
    "num_channels",
    "channel_width",
    "topk_parallelism",
    "norm_lanes",
    "contexts",
    "loads",
    "banks_per_lane",
)

NAME = re.compile(r"[A-Za-z0-9._-]{1,64}")
"""Names stand in paths of files: no separators, and not only dots."""


class ConfigError(ValueError):
    """A configuration value is not one that the generator can build."""


def is_power_of_two(value: int) -> bool:
    return value > 0 and value & (value - 1) == 0


def check(config: ConfigSizes) -> None:
    """Raise :class:`ConfigError` for the first rule that the configuration breaks."""
    for rule in RULES:
        rule(config)


def _types(config: ConfigSizes) -> None:
    for field in dataclasses.fields(config):
        value = getattr(config, field.name)
        least = min(1, RANGES.get(field.name, (1,))[0])
        if field.type == "int" and (not isinstance(value, int) or isinstance(value, bool) or value < least):
            kind = "positive integer" if least else "integer from 0 on"
            raise ConfigError(f"{field.name} must be a {kind}, not {value!r}")
    if not isinstance(config.packing, bool):
        raise ConfigError(f"packing must be true or false, not {config.packing!r}")


def _name(config: ConfigSizes) -> None:
    name = config.name
    if not isinstance(name, str) or not NAME.fullmatch(name) or not name.strip("."):
        raise ConfigError(f"name must be 1 to 64 of the characters A-Z a-z 0-9 . _ - and not only dots, not {name!r}")


def _powers_of_two(config: ConfigSizes) -> None:
    for name in POWERS_OF_TWO:
        if not is_power_of_two(getattr(config, name)):
            raise ConfigError(f"{name} must be a power of two, not {getattr(config, name)!r}")


def _multipliers(config: ConfigSizes) -> None:
    if config.num_multipliers % config.lanes:
        raise ConfigError(f"lanes must divide num_multipliers ({config.num_multipliers}), not {config.lanes!r}")
    if not 8 <= config.operand_width <= 16 or config.operand_width % 2:
        raise ConfigError(f"operand_width must be 8, 10, 12, 14 or 16, not {config.operand_width!r}")


def _dims(config: ConfigSizes) -> None:
    dims = config.dims
    if not is_power_of_two(config.max_dim) or not 16 <= config.max_dim <= 128:
        raise ConfigError(f"max_dim must be 16, 32, 64 or 128, not {config.max_dim!r}")
    if not isinstance(dims, tuple):
        raise ConfigError(f"dims must be a list, not {dims!r}")
    for dim in dims:
        if not isinstance(dim, int) or isinstance(dim, bool) or dim % 16 or not 16 <= dim <= config.max_dim:
            raise ConfigError(f"dims must be multiples of 16 from 16 to max_dim ({config.max_dim}), not {dim!r}")
    if not dims or list(dims) != sorted(set(dims)):
        raise ConfigError(f"dims must be ascending, without repeats and not empty, not {dims!r}")


def _ranges(config: ConfigSizes) -> None:
    for name, (least, largest) in RANGES.items():
        if not least <= getattr(config, name) <= largest:
            raise ConfigError(f"{name} must be from {least} to {largest}, not {getattr(config, name)!r}")


def _buffers(config: ConfigSizes) -> None:
    if config.max_tokens * config.buffer_dim % config.num_multipliers:
        raise ConfigError(
            f"buffer_dim must make max_tokens * buffer_dim a multiple of num_multipliers, not {config.buffer_dim!r}"
        )
    for what, rows, pages in (
        ("key", config.key_rows, config.key_pages),
        ("value", config.value_rows, config.value_pages),
    ):
        if rows < config.max_tokens:
            raise ConfigError(f"{what}_rows must be at least max_tokens ({config.max_tokens}), not {rows!r}")
        elements = rows * config.buffer_dim
        slots, least = elements // config.lane_width, max(config.key_banks, config.max_slices)
        size = slots // pages
        if size * pages != slots or size < least or not is_power_of_two(size) or elements % config.lane_width:
            raise ConfigError(
                f"{what}_pages must cut the buffer's {slots} slices in pages of a power of two of slices, at least "
                f"{least}; not {pages!r}"
            )


def _jobs(config: ConfigSizes) -> None:
    """Every dimension has a legal job: a key fits the region, and its planes fit the memory."""
    for dim in config.dims:
        if config.slices(dim) > config.buffer_slots:
            raise ConfigError(
                f"buffer_dim must give a job's region the {config.slices(dim)} slices of a key of {dim} elements, "
                f"not {config.buffer_dim!r} ({config.buffer_slots} slices)"
            )
        words = 3 * config.plane_words(1, dim, PLANE_WIDTHS[0])  # Q, K and V
        if words > 1 << config.address_width:
            raise ConfigError(
                f"address_width must reach the {words} words of the planes of one key of {dim} elements, "
                f"not {config.address_width!r}"
            )


def _others(config: ConfigSizes) -> None:
    """What is limited by other fields."""
    limits = {
        "norm_lanes": ("max_dim", "num_multipliers"),
        "max_group": ("max_heads",),
    }
    for name, others in limits.items():
        for other in others:
            if getattr(config, name) > getattr(config, other):
                raise ConfigError(
                    f"{name} must be at most {other} ({getattr(config, other)}), not {getattr(config, name)!r}"
                )
    if config.topk_parallelism < config.lanes:
        raise ConfigError(f"topk_parallelism must be at least lanes ({config.lanes}), not {config.topk_parallelism!r}")
    if config.line_queue < config.buffer_depth + 1:
        raise ConfigError(
            f"line_queue must hold the longest row and a line ({config.buffer_depth + 1}), not {config.line_queue!r}"
        )


def _chains(config: ConfigSizes) -> None:
    """A group of query heads, and a region that holds a part of a context and the keys of the rows themselves."""
    if not config.chain_rows:
        return
    keys = min(config.region_keys(dim) for dim in config.dims)
    if not config.max_group <= config.chain_rows <= keys // 2:
        raise ConfigError(
            f"chain_rows must be 0, or from max_group ({config.max_group}) to half of the {keys} keys of the largest "
            f"dimension's region, not {config.chain_rows!r}"
        )


RULES: tuple[Callable[[ConfigSizes], None], ...] = (
    _types,
    _name,
    _powers_of_two,
    _multipliers,
    _dims,
    _ranges,
    _buffers,
    _jobs,
    _others,
    _chains,
)
"""In the order in which they are checked: later rules rely on earlier ones."""
