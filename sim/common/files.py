"""Files that commands write: whole or not at all."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

from sim.common.errors import UserError

__all__ = ["check_writable", "write_bytes", "write_text"]


def write_text(path: Path, text: str, *, errors: str = "strict") -> None:
    """:func:`write_bytes` of UTF-8. errors: as of :meth:`str.encode`."""
    write_bytes(path, text.encode("utf-8", errors))


def write_bytes(path: Path, content: bytes) -> None:
    """``path`` is at any time the old file or the whole new one; its folder is made.

    A pipe or a device is written to; of a symbolic link it is the file it leads to.
    """
    if path.exists() and not path.is_file():
        path.write_bytes(content)
        return
    path = Path(os.path.realpath(path))
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(content)
        os.chmod(name, 0o644)
        os.replace(name, path)
    except BaseException:
        Path(name).unlink(missing_ok=True)
        raise


def check_writable(option: str, path: Path, *, prefix: bool = False) -> None:
    """UserError if the file cannot be put there, with its folders; nothing is left there.

    prefix: the path is only what names of files begin with.
    """
    if not path.name or (path.is_dir() and not prefix):
        raise UserError(f"{option} must be a file, not the folder {str(path)!r}")
    folder = next(parent for parent in path.absolute().parents if parent.exists())
    try:
        with tempfile.TemporaryFile(dir=folder):
            pass
    except OSError as error:
        raise UserError(f"{option} must be a writable file, not {str(path)!r}: {error.strerror}") from None
