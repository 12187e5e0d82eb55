"""Where downloaded and compiled things are kept, and digests of the sources that shape them."""

from __future__ import annotations

import ast
import functools
import hashlib
import io
import os
import tokenize
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


@functools.lru_cache(maxsize=1024)
def _names(text: str) -> frozenset[str]:
    """What a source imports, and what it may import of that, those inside functions included."""
    names: set[str] = set()
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.Import):
            names.update(alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            names.update({node.module, *(f"{node.module}.{alias.name}" for alias in node.names)})
    return frozenset(names)


def _files(name: str, known: dict[str, list[str]]) -> list[str]:
    """Sources of this project that run on the import of a name: its module, or what it stands in, and all packages
    above. known: those of the names asked for before, which are not looked for again."""
    if name not in known:
        above = name.rpartition(".")[0]
        base = os.path.join(_ROOT, *name.split("."))
        own = [file for file in (f"{base}.py", os.path.join(base, "__init__.py")) if os.path.isfile(file)]
        known[name] = own + (_files(above, known) if above else [])
    return known[name]


def _with_imports(path: Path) -> set[Path]:
    """The source and all that it imports from this project, over any number of steps."""
    known: dict[str, list[str]] = {}
    seen: set[str] = set()
    found, left = {str(path)}, [str(path)]
    while left:
        for name in _names(Path(left.pop()).read_text(encoding="utf-8")) - seen:
            seen.add(name)
            files = set(_files(name, known)) - found
            left += files
            found |= files
    return set(map(Path, found))


@functools.lru_cache(maxsize=1024)
def _code(text: str) -> str:
    """A source without comments, docstrings and empty lines, which shape nothing that it makes."""
    lines = text.splitlines()
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant) and isinstance(node.value.value, str):
            for number in range(node.lineno - 1, node.end_lineno or node.lineno):
                lines[number] = ""
    for token in tokenize.generate_tokens(io.StringIO(text).readline):
        if token.type == tokenize.COMMENT and lines[token.start[0] - 1]:
            lines[token.start[0] - 1] = lines[token.start[0] - 1][: token.start[1]]
    return "\n".join(line.rstrip() for line in lines if line.strip())


@functools.cache
def source_digest(*names: str) -> str:
    """Digest (hex) of Python sources: of a package such as ``hdl`` or ``hdl/spec``, all in it and in its sub-folders;
    of a file such as ``hdl/spatten.py``, it and what it imports from this project.

    Names of files count as well as their code; comments, docstrings and empty lines do not. No package imports one
    above it (tests/test_imports.py), so a package and those below it are all that shapes what it makes. ValueError for
    a package without sources and for a file that is not there.

    It is computed once a process, which imports its sources once: what is edited later counts in the next process.
    """
    digest = hashlib.sha256()
    for name in names:
        base = _ROOT / name
        paths = _with_imports(base) if base.is_file() else set(base.rglob("*.py"))
        if not paths:
            raise ValueError(f"package must be a folder with Python sources, or one of these, not {name!r}")
        for path in sorted(paths):
            code = _code(path.read_text(encoding="utf-8"))
            digest.update(f"{path.relative_to(_ROOT).as_posix()}\0{code}\0".encode())
    return digest.hexdigest()
