"""Texts of several kinds out of what the machine has installed: sources, manuals, tables, several languages.

An algorithm that keeps its promise on one text may not on another. Nothing is downloaded, and no text belongs to this
project: the files are made where they are needed, of the Python library, the packages beside it and the manual pages.
"""

from __future__ import annotations

import dataclasses
import gzip
import hashlib
import itertools
import re
import sysconfig
import unicodedata
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path

from sim.common.files import write_text

__all__ = ["HALVES", "KINDS", "Places", "gather", "manual_text"]

HALVES = ("first", "second")
"""Folders of the files: settings are tuned on one, and reported on the other."""
_FILE_SHARE = 32
"""A file gives at most one of so many parts of a text."""
_PARAGRAPH = 60
"""Characters of a paragraph that is written once only: licences, and whole files, stand in many places."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Places:
    """Folders that texts are taken from; one that does not exist has none."""

    library: Path
    """of Python"""
    packages: Path
    """installed beside it"""
    share: Path
    """``man`` and ``doc`` of the machine"""

    @classmethod
    def here(cls) -> Places:
        """Of this Python and this machine."""
        paths = sysconfig.get_paths()
        return cls(library=Path(paths["stdlib"]), packages=Path(paths["purelib"]), share=Path("/usr/share"))


def _plain(content: str) -> str:
    return content


_FONTS = re.compile(r"\\f(?:\[[^]]*\]|\(..|.)|\\s[-+]?\d+")
_NAMED = re.compile(r"\\\*?(?:\[([^]]*)\]|\((..))")
_ACCENTS = {"'": "\u0301", "`": "\u0300", "^": "\u0302", ":": "\u0308", "~": "\u0303", ",": "\u0327"}
"""Of roff's names of letters, as combining characters."""
_SIGNS = {
    "ss": "ß",
    "aq": "'",
    "lq": '"',
    "rq": '"',
    "dq": '"',
    "em": "—",
    "en": "–",
    "bu": "•",
    "ha": "^",
    "ti": "~",
    "cq": "'",
    "oq": "'",
    "Aq": "'",
}
_TEXT_MACROS = ("B", "I", "BR", "IR", "RB", "RI", "BI", "IB", "SM", "SB", "SH", "SS", "IP", "UR", "TQ")
"""Macros whose arguments are words of the page."""


def manual_text(source: str) -> str:
    """The words of a manual page, without the macros of roff (man, not mdoc)."""
    lines = []
    for line in source.splitlines():
        macro = re.match(r"[.'][ \t]*([A-Za-z]*)(.*)", line)
        if macro is None:
            lines.append(line)
        elif macro[1] in _TEXT_MACROS:
            joint = "" if len(macro[1]) == 2 and set(macro[1]) <= set("BIR") else " "
            words = re.findall(r'"([^"]*)"|(\S+)', macro[2])
            lines.append(joint.join(quoted or word for quoted, word in words))
        elif macro[1] in ("TP", "PP", "P", "LP", "sp"):
            lines.append("")
    text = _FONTS.sub("", "\n".join(lines))
    text = _NAMED.sub(lambda match: _sign(match[1] or match[2] or ""), text)
    return re.sub(r"\\(.)", lambda match: {"e": "\\", "&": "", "-": "-"}.get(match[1], match[1]), text)


def _sign(name: str) -> str:
    """The character that roff calls so: a letter with an accent, a number of Unicode, or one of a few signs."""
    if len(name) == 2 and name[0] in _ACCENTS:
        return unicodedata.normalize("NFC", name[1] + _ACCENTS[name[0]])
    return chr(int(name[1:], 16)) if re.fullmatch("u[0-9A-F]{4,5}", name) else _SIGNS.get(name, "")


@dataclasses.dataclass(frozen=True, kw_only=True)
class _Kind:
    """What a kind of text is made of."""

    patterns: tuple[str, ...]
    """of files, each after the name of a field of :class:`Places`"""
    text: Callable[[str], str] = _plain
    """of a file's content"""


def _manuals(language: str) -> _Kind:
    return _Kind(patterns=tuple(f"share/man/{language}man{part}/*.gz" for part in range(1, 9)), text=manual_text)


KINDS = {
    "prose": _Kind(
        patterns=(
            "packages/*.dist-info/METADATA",
            "packages/*.dist-info/**/LICENSE*",
            "packages/**/*.md",
            "library/**/*.rst",
            "packages/**/*.rst",
            *(f"share/doc/*/{name}" for name in ("README*", "NEWS.gz", "FAQ*")),
        )
    ),
    "source": _Kind(patterns=("library/**/*.py", "packages/**/*.py", "packages/**/*.h")),
    "table": _Kind(
        patterns=(
            *(f"{place}/**/*.{end}" for place in ("library", "packages") for end in ("csv", "tsv", "dat")),
            *(f"share/{name}" for name in ("zoneinfo/*.tab", "i18n/charmaps/*.gz", "perl/*/unicore/*.txt")),
        )
    ),
    "manual": _manuals(""),
    "german": _manuals("de/"),
    "french": _manuals("fr/"),
    "spanish": _manuals("es/"),
    "russian": _manuals("ru/"),
    "japanese": _manuals("ja/"),
}
"""Kinds of text by name."""


def gather(folder: Path, places: Places, *, size: int) -> dict[str, tuple[int, int]]:
    """Write ``folder/HALF/KIND.txt`` of at most ``size`` bytes each; returns the bytes of both halves by kind.

    The halves of a kind are made of different files, in an order that looks random but is always the same, and have no
    long paragraph in common. A kind of which the machine has nothing in either half is left out.
    """
    written = {}
    for name, kind in KINDS.items():
        halves = _halves(kind, places, size)
        if all(halves):
            for half, text in zip(HALVES, halves, strict=True):
                write_text(folder / half / f"{name}.txt", text)
            written[name] = (len(halves[0].encode()), len(halves[1].encode()))
    return written


def _halves(kind: _Kind, places: Places, size: int) -> tuple[str, str]:
    """Two texts of at most ``size`` bytes; a paragraph that both would have, the first to come has."""
    texts: tuple[list[str], list[str]] = [], []
    left, seen = [size, size], set()
    for half, path in _files(kind, places):
        if not any(left):
            break
        content = _content(path) if left[half] else None
        if content is None:
            continue
        share = _cut(_new(kind.text(content), seen), min(left[half], max(1, size // _FILE_SHARE)))
        texts[half].append(share)
        left[half] -= len(share.encode())
    return "".join(texts[0]), "".join(texts[1])


def _files(kind: _Kind, places: Places) -> Iterator[tuple[int, Path]]:
    """(half, file) of all files of a kind: one of each pattern, then the next of each, in turn for the two halves."""
    for index, files in enumerate(itertools.zip_longest(*(_matching(pattern, places) for pattern in kind.patterns))):
        yield from ((index % 2, path) for path in files if path is not None)


def _matching(pattern: str, places: Places) -> list[Path]:
    """Files of a pattern in the order of a digest of their names."""
    place, rest = pattern.split("/", 1)
    base: Path = getattr(places, place)
    # A Python inside the library's folder has its packages there, which are not of the library.
    found = [path for path in base.glob(rest) if place != "library" or "site-packages" not in path.parts]
    names = {path.relative_to(base).as_posix(): path for path in found if path.is_file()}
    return [names[name] for name in sorted(names, key=lambda name: hashlib.sha256(name.encode()).digest())]


def _content(path: Path) -> str | None:
    """Text of a UTF-8 file, packed or not; None if it is none."""
    try:
        content = path.read_bytes()
        return (gzip.decompress(content) if path.suffix == ".gz" else content).decode("utf-8")
    except (OSError, EOFError, zlib.error, UnicodeDecodeError):
        return None


def _new(text: str, seen: set[str]) -> str:
    """The paragraphs of a text but the long ones that were ``seen``, to which they are added."""
    paragraphs = []
    for paragraph in re.split(r"\n\s*\n", text.replace("\r\n", "\n").strip("\n")):
        words = " ".join(paragraph.split())
        if len(words) < _PARAGRAPH or words not in seen:
            paragraphs.append(paragraph.rstrip())
        if len(words) >= _PARAGRAPH:
            seen.add(words)
    return "\n\n".join(paragraphs) + "\n\n" if any(paragraphs) else ""


def _cut(text: str, size: int) -> str:
    """The first ``size`` bytes of a text, in whole characters."""
    return text.encode()[:size].decode("utf-8", "ignore")
