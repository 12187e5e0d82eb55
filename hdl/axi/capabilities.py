"""What the registers tell of a configuration."""

from __future__ import annotations

from collections.abc import Iterable

from hdl.spec.config import Config
from hdl.spec.digest import config_digest
from hdl.spec.register_map import MAP, MAX_QUEUES
from hdl.spec.version import VERSION

__all__ = ["FEATURES", "capabilities"]

FEATURES = tuple(field.name for field in MAP.by_name["cap4"].register.fields if field.lsb >= 16)
"""What hardware may have or not, as bits of CAP4."""


def capabilities(
    config: Config, *, queues: int, address_bits: int, features: Iterable[str] = ()
) -> dict[str, dict[str, int]]:
    """Register -> field -> value, of those that the configuration gives.

    ``queues``: of commands; ``address_bits``: of an address of memory; ``features``: of FEATURES.
    """
    if not isinstance(queues, int) or not 1 <= queues <= MAX_QUEUES:
        raise ValueError(f"queues must be from 1 to {MAX_QUEUES}, not {queues!r}")
    features = tuple(features)
    for feature in features:
        if feature not in FEATURES:
            raise ValueError(f"features must be of {', '.join(FEATURES)}, not {feature!r}")
    digest = config_digest(config)
    major, minor, patch = map(int, VERSION.split("."))
    return {
        "version": {"major": major, "minor": minor, "patch": patch},
        "config_digest_lo": {"digest": digest & 0xFFFFFFFF},
        "config_digest_hi": {"digest": digest >> 32},
        "cap0": {
            "channels": config.num_channels,
            "queues": queues,
            "log_word_bytes": (config.channel_width // 8).bit_length() - 1,
            "address_bits": address_bits,
        },
        "cap1": {"max_tokens": config.max_tokens, "contexts": config.contexts},
        "cap2": {"max_heads": config.max_heads, "max_group": config.max_group, "max_dim": config.max_dim},
        "cap3": {"dims": sum(1 << (dim // 16 - 1) for dim in config.dims)},
        "cap4": {"operand_width": config.operand_width} | dict.fromkeys(features, 1),
    }
