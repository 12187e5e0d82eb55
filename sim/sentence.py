"""The text of a run: the default sentence, a string, or a file."""

from __future__ import annotations

from pathlib import Path

__all__ = ["DEFAULT_SENTENCE", "TextError", "read_text"]

DEFAULT_SENTENCE = (
    "A small accelerator skips the words that do not matter, keeps the ones that do, "
    "and still reads the sentence just as well as the dense model."
)


class TextError(ValueError):
    """The text of a run is empty or cannot be read."""


def read_text(text: str | None = None) -> str:
    """The default sentence for None, the contents of the file that ``text`` names, or else ``text`` itself.

    ``@FILE`` must be a file.
    """
    if text is None:
        return DEFAULT_SENTENCE
    if _is_file(text):
        return _read_file(text)
    if text.startswith("@"):
        return _read_file(text[1:])
    if not text.strip():
        raise TextError("text is empty")
    return text.strip()


def _read_file(name: str) -> str:
    try:
        content = Path(name).read_text(encoding="utf-8").strip()
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or "it is not UTF-8 text"
        raise TextError(f"text file {name!r} cannot be read: {reason}") from None
    if not content:
        raise TextError(f"text file {name!r} is empty")
    return content


def _is_file(text: str) -> bool:
    try:
        return Path(text).is_file()
    except (OSError, ValueError):  # a sentence can be longer than a name may be
        return False
