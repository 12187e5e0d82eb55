"""Revision of the sources, for every figure that is written down."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

from hdl.spec.version import VERSION

__all__ = ["revision"]

_ROOT = Path(__file__).resolve().parents[2]
"""Folder of the packages."""


def revision() -> str:
    """Git revision of this checkout, with ``+`` if files were changed since; ``unknown`` without git.

    Of an installed copy it is the version: a repository around ``site-packages`` is somebody else's.
    """
    if not ((_ROOT / ".git").exists() and (_ROOT / "pyproject.toml").is_file()):
        return VERSION
    command = ["git", "describe", "--always", "--dirty=+", "--abbrev=12"]
    # Variables such as GIT_DIR, which git sets in its hooks, name another repository.
    environment = {name: value for name, value in os.environ.items() if not name.startswith("GIT_")}
    try:
        result = subprocess.run(command, cwd=_ROOT, env=environment, capture_output=True, text=True, check=True)
    except (OSError, subprocess.CalledProcessError):
        return "unknown"
    return result.stdout.strip()
