"""The tensors of a job in memory, by the names that descriptors, counters and reports have for them."""

from __future__ import annotations

__all__ = ["PLANES"]

PLANES = ("query", "key", "key_lsb", "value")
"""In the order in which a row needs them: Q, K's MSBs (all of K if it is static), K's LSBs, V."""
