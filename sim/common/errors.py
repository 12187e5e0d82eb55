"""What a user can put right, or stopped."""

from __future__ import annotations

__all__ = ["Interrupted", "UserError"]


class UserError(ValueError):
    """What the user asked for cannot be done: one line with option, wrong value and what would be right."""


class Interrupted(Exception):
    """The user stopped the work (Ctrl-C): one line that says what is kept."""
