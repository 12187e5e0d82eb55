"""The digest by which hardware and software agree on a configuration."""

from __future__ import annotations

import dataclasses
import hashlib

from hdl.spec.config import Config

__all__ = ["config_digest"]


def config_digest(config: Config) -> int:
    """64 bits that tell configurations apart, whatever their names: host and hardware must agree on every layout."""
    fields = dataclasses.asdict(config)
    del fields["name"]
    return int.from_bytes(hashlib.sha256(repr(sorted(fields.items())).encode()).digest()[:8], "little")
