"""The error of everything that is done with a model of transformers."""

from __future__ import annotations

__all__ = ["ModelError", "first_line"]


class ModelError(ValueError):
    """A model is not there, or is one whose attention cannot be replaced."""


def first_line(error: Exception) -> str:
    """What an error of a library says, in one line."""
    return (str(error).strip().splitlines() or [type(error).__name__])[0].strip()
