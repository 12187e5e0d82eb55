"""Files that commands read as text, and those that they write: whole or not at all."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Mapping
from pathlib import Path

from sim.common.errors import UserError

__all__ = ["check_distinct", "check_writable", "read_text", "write_bytes", "write_text"]


def read_text(path: Path, what: str) -> str:
    """Text of a UTF-8 file, without the byte order mark that it may begin with; UserError that begins with ``what``."""
    try:
        return path.read_text(encoding="utf-8-sig")
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or "it is not UTF-8 text"
        raise UserError(f"{what} {str(path)!r} cannot be read: {reason}") from None


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


def check_distinct(outputs: Mapping[str, Path | None], inputs: Mapping[str, Path | str | None]) -> None:
    """UserError if a file that a command writes is one that it reads, or writes as something else too.

    Both by option; None, and texts that name no file, are nothing. Pipes and devices take any number of writers.
    """
    names = {name: path for name, path in inputs.items() if path is not None and os.path.isfile(path)}
    owners = {os.path.realpath(path): name for name, path in names.items()}
    for option, path in outputs.items():
        if path is None or (path.exists() and not path.is_file()):
            continue
        owner = owners.setdefault(os.path.realpath(path), option)
        if owner != option:
            raise UserError(f"{option} must be another file than that of {owner}, not {str(path)!r}")
