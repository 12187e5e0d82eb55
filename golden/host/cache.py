"""Where downloaded and compiled things are kept, and digests of the sources that shape them."""

from __future__ import annotations

import functools
import hashlib
import os
from pathlib import Path

import platformdirs

__all__ = ["cache_folder", "source_digest"]

_ROOT = Path(__file__).resolve().parents[2]
"""Folder of the packages."""


def cache_folder() -> Path:
    """Folder for what can be made again: ``SPATTEN_CACHE`` if it is set; ``build`` of a checkout; else the user's."""
    named = os.environ.get("SPATTEN_CACHE")
    if named:
        return Path(named)
    return _ROOT / "build" if (_ROOT / "pyproject.toml").is_file() else Path(platformdirs.user_cache_dir("spatten"))


@functools.cache
def source_digest(*packages: str) -> str:
    """Digest (hex) of all Python sources of the packages, such as ``hdl`` or ``hdl/spec``, with their sub-folders.

    Names of files count as well as their contents. No package imports one above it (tests/test_imports.py), so these
    and the packages below them are all that shapes what they make. ValueError for a package without sources.

    It is computed once a process, which imports its sources once: what is edited later counts in the next process.
    """
    digest = hashlib.sha256()
    for package in packages:
        paths = sorted((_ROOT / package).rglob("*.py"))
        if not paths:
            raise ValueError(f"package must be a folder with Python sources, not {package!r}")
        for path in paths:
            digest.update(f"{path.relative_to(_ROOT)}\0".encode() + path.read_bytes() + b"\0")
    return digest.hexdigest()
