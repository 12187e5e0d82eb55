"""Values of the presets; :data:`hdl.spec.config.PRESETS` are the configurations that they make."""

from __future__ import annotations

from typing import Any

__all__ = ["PRESET_VALUES"]

PRESET_VALUES: dict[str, dict[str, Any]] = {
    # The smallest with every block: for tests and for first runs in a simulator.
    "tiny": {
        "num_multipliers": 32,
        "lanes": 2,
        "max_dim": 64,
        "dims": (16, 32, 48, 64),
        "max_tokens": 64,
        "buffer_dim": 32,
        "key_rows": 128,
        "value_rows": 128,
        "key_pages": 16,
        "value_pages": 16,
        "num_channels": 2,
        "channel_width": 64,
        "address_width": 16,
        "topk_parallelism": 4,
        "num_topk_engines": 1,
        "norm_lanes": 4,
        "outstanding": 16,
        "slice_queue": 4,
        "query_queue": 2,
        "line_queue": 65,
    },
    # For the board ULX3S-85F.
    "ulx3s": {
        "num_multipliers": 64,
        "lanes": 2,
        "max_dim": 64,
        "dims": (32, 64),
        "operand_width": 10,
        "max_tokens": 1024,
        "key_rows": 1024,
        "value_rows": 1024,
        "num_channels": 1,
        "channel_width": 64,
        "address_width": 22,
        "topk_parallelism": 2,
        "num_topk_engines": 1,
        "norm_lanes": 2,
        "loads": 2,
        "outstanding": 8,
        "slice_queue": 4,
        "max_heads": 16,
        "max_group": 4,
        "query_queue": 2,
        "line_queue": 1025,
        "adder_levels": 1,
        "packing": False,
    },
    # An eighth of the paper's multipliers (its Table III).
    "eighth": {
        "num_multipliers": 64,
        "lanes": 2,
        "max_dim": 128,
        "num_channels": 2,
        "topk_parallelism": 16,
        "norm_lanes": 4,
        "line_queue": 1025,
    },
    # The paper's Table I; fields that are not named are those of ``Config`` itself.
    "paper": {
        "key_rows": 3072,
        "value_rows": 1024,
        "key_pages": 24,
        "value_pages": 32,
        "banks_per_lane": 2,
        "contexts": 32,
        "loads": 8,
        "query_queue": 32,
        "num_topk_engines": 4,
        "outstanding": 128,
    },
    # For the board ULX3S-85F, small: the fewest block RAMs.
    "ulx3s-d32": {
        "num_multipliers": 16,
        "lanes": 1,
        "max_dim": 32,
        "dims": (16, 32),
        "operand_width": 10,
        "max_tokens": 128,
        "buffer_dim": 32,
        "key_rows": 128,
        "value_rows": 128,
        "key_pages": 8,
        "value_pages": 8,
        "num_channels": 1,
        "channel_width": 64,
        "address_width": 21,
        "topk_parallelism": 2,
        "num_topk_engines": 1,
        "norm_lanes": 1,
        "loads": 2,
        "outstanding": 8,
        "slice_queue": 4,
        "max_heads": 12,
        "max_group": 1,
        "query_queue": 2,
        "line_queue": 257,
    },
}
"""Preset -> its fields; those not named have the default of :class:`hdl.spec.config.Config`."""

# For contexts of any length: the same arrays, channels, and elements of K and V on chip.
PRESET_VALUES["ulx3s-4k"] = PRESET_VALUES["ulx3s"] | {"chain_rows": 8}
PRESET_VALUES["paper-32k"] = PRESET_VALUES["paper"] | {
    "key_rows": 2048,
    "value_rows": 2048,
    "key_pages": 32,
    "chain_rows": 64,
}
