"""Revision of the sources, for every figure that is written down."""

from __future__ import annotations

import subprocess
from pathlib import Path

__all__ = ["revision"]


def revision() -> str:
    """Git revision of this checkout, with ``+`` if files were changed since; ``unknown`` without git."""
    command = ["git", "describe", "--always", "--dirty=+", "--abbrev=12"]
    try:
        result = subprocess.run(command, cwd=Path(__file__).parent, capture_output=True, text=True, check=True)
    except (OSError, subprocess.CalledProcessError):
        return "unknown"
    return result.stdout.strip()
