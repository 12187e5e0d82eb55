"""What a user can put right."""

from __future__ import annotations

__all__ = ["UserError"]


class UserError(ValueError):
    """What the user asked for cannot be done: one line with option, wrong value and what would be right."""
