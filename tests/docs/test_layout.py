"""One sentence a line, at most 100 columns; tables, code and what cannot be broken are exempt."""

import re

import pytest

from tests.docs.documents import ROOT, documents

COLUMNS = 100
ABBREVIATIONS = ("e.g.", "i.e.", "vs.", "Fig.", "cf.")
WORDS = {
    "behind": "after, beyond, following",
    "garbage": "undefined, stray",
    "rubbish": "undefined, stray",
    "lest": "so that … not",
    "not told yet": "outstanding",
}
"""Word -> what to write in its place."""

written = pytest.mark.parametrize("name", [name for name in documents() if name != "docs/results.md"])


def unbroken(line: str) -> str:
    """The line with code and links as one word each."""
    return re.sub(r"`[^`]*`|!?\[[^\]]*\]\([^)]*\)", lambda found: "x" * len(found.group()), line)


def two_sentences(line: str) -> bool:
    """Whether a sentence ends within the line."""
    text = re.sub(r"^\s*(?:[-*>]|\d+\.)\s+", "", unbroken(line))
    for abbreviation in ABBREVIATIONS:
        text = text.replace(abbreviation, abbreviation[:-1])
    return bool(re.search(r"[^.…][.!?][)*_\"”]*\s+\S", text))


@pytest.mark.parametrize("name", documents())
def test_no_marks_of_a_merge_are_left(name):
    lines = (ROOT / name).read_text(encoding="utf-8").splitlines()
    assert not [line for line in lines if line.startswith(("<<<<<<<", ">>>>>>>"))]


@written
def test_lines_are_short(name):
    for number, line in documents()[name].prose:
        longest = max(map(len, unbroken(line).split()))
        assert len(line) <= max(COLUMNS, longest + 4), f"{name}:{number} has {len(line)} columns, not {COLUMNS} at most"


@written
def test_a_sentence_a_line(name):
    for number, line in documents()[name].prose:
        assert not two_sentences(line), f"{name}:{number} has two sentences: {line}"


@written
def test_words(name):
    document = documents()[name]
    code = {number for block in document.blocks for number in range(block.line, block.line + block.text.count("\n"))}
    for number, line in enumerate(document.lines, 1):
        for word, better in WORDS.items():
            found = number not in code and re.search(rf"\b{word}\b", re.sub(r"`[^`]*`", "", line), re.IGNORECASE)
            assert not found, f"{name}:{number} has {word!r}: write {better}"


@pytest.mark.parametrize(
    ("line", "two"),
    [
        ("One. Two.", True),
        ("- *One.* Two.", True),
        ("1. One.", False),
        ("Version 1.2 of `a. b` and [c. d](e.md).", False),
        ("As e.g. this one.", False),
        ("Rows 0, 1, … and more.", False),
        ("Is it? Yes.", True),
    ],
)
def test_two_sentences(line, two):
    assert two_sentences(line) is two
