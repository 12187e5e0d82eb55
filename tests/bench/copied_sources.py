"""A copy of the sources for tests of cache keys, which change it."""

import shutil
from pathlib import Path

from golden.host import cache

ROOT = Path(__file__).resolve().parents[2]


class CopiedSources:
    """Digests are of the copies of packages in a folder, until :meth:`done`."""

    def __init__(self, folder, monkeypatch, *packages):
        self.folder = folder
        for package in packages:
            shutil.copytree(ROOT / package, folder / package, ignore=shutil.ignore_patterns("__pycache__"))
        monkeypatch.setattr(cache, "_ROOT", folder)
        cache.source_digest.cache_clear()

    def append(self, path, text="\nCHANGED = 1\n"):
        """Change a file; the next digest is made anew, as in a new process."""
        with (self.folder / path).open("a") as file:
            file.write(text)
        cache.source_digest.cache_clear()

    def done(self):
        """A process keeps its digests: no other test gets those of the copies."""
        cache.source_digest.cache_clear()
