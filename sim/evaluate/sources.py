"""Digests of the sources that shape results: journals written by others are not gone on with."""

from __future__ import annotations

from golden.host.cache import source_digest

__all__ = ["dense_sources", "point_sources"]


def point_sources() -> str:
    """Of all that shapes the values of an algorithm, what they cost, and the figures that are made of them."""
    return source_digest("golden", "hdl/spec", "sim/evaluate")


def dense_sources() -> str:
    """Of what shapes the values of a model's own attention."""
    return source_digest("golden/models", "sim/evaluate")
