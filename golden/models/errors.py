"""The error of everything that is done with a model of transformers."""

from __future__ import annotations

__all__ = ["ModelError"]


class ModelError(ValueError):
    """A model is not there, or is one whose attention cannot be replaced."""
