"""The documents of the project, cut into what the tests look at."""

from __future__ import annotations

import dataclasses
import functools
import re
from pathlib import Path

from markdown_it import MarkdownIt
from markdown_it.token import Token

__all__ = ["ROOT", "Block", "Document", "documents"]

ROOT = Path(__file__).resolve().parents[2]
MARKDOWN = MarkdownIt("commonmark").enable("table")


@dataclasses.dataclass(frozen=True)
class Block:
    """A code block: its language, the line of its first text line, and the text."""

    language: str
    line: int
    text: str


@dataclasses.dataclass(frozen=True)
class Document:
    path: Path

    @property
    def name(self) -> str:
        return str(self.path.relative_to(ROOT))

    @functools.cached_property
    def lines(self) -> list[str]:
        return self.path.read_text(encoding="utf-8").split("\n")

    @functools.cached_property
    def tokens(self) -> list[Token]:
        return MARKDOWN.parse("\n".join(self.lines))

    @functools.cached_property
    def blocks(self) -> list[Block]:
        """Code blocks."""
        found = [token for token in self.tokens if token.type == "fence" and token.map]
        return [Block(token.info.strip(), (token.map or [0])[0] + 2, token.content) for token in found]

    @functools.cached_property
    def prose(self) -> list[tuple[int, str]]:
        """Number and text of every line that is no code block, table, heading or HTML."""
        hidden = {"fence", "code_block", "table_open", "heading_open", "html_block"}
        taken: set[int] = set()
        for token in self.tokens:
            if token.type in hidden and token.map:
                taken |= set(range(*token.map))
        return [(number + 1, line) for number, line in enumerate(self.lines) if number not in taken and line.strip()]

    def _inline(self, kind: str) -> list[tuple[int, Token]]:
        return [
            ((token.map or [0])[0] + 1, child)
            for token in self.tokens
            if token.type == "inline"
            for child in token.children or []
            if child.type == kind
        ]

    @functools.cached_property
    def spans(self) -> list[tuple[int, str]]:
        """Line of the paragraph (or table row), and text of every `code` in it."""
        return [(line, token.content) for line, token in self._inline("code_inline")]

    @functools.cached_property
    def links(self) -> list[tuple[int, str]]:
        """Line of the paragraph, and target of every link and picture."""
        found = [(line, str(token.attrs["href"])) for line, token in self._inline("link_open")]
        return found + [(line, str(token.attrs["src"])) for line, token in self._inline("image")]

    @functools.cached_property
    def headings(self) -> list[tuple[int, str]]:
        """Line and text of every heading."""
        return [
            ((opening.map or [0])[0] + 1, inline.content)
            for opening, inline in zip(self.tokens, self.tokens[1:], strict=False)
            if opening.type == "heading_open"
        ]

    @functools.cached_property
    def anchors(self) -> set[str]:
        """Anchors of the headings, as GitHub makes them."""
        found: set[str] = set()
        for _, text in self.headings:
            plain = re.sub(r"\[([^\]]*)\]\([^)]*\)", r"\1", text)
            anchor = base = re.sub(r"[^\w\- ]", "", plain.lower()).replace(" ", "-")
            count = 0
            while anchor in found:
                count += 1
                anchor = f"{base}-{count}"
            found.add(anchor)
        return found

    def section(self, line: int) -> str:
        """Text from the heading in this line to the next heading."""
        ends = [number for number, _ in self.headings if number > line]
        return "\n".join(self.lines[line - 1 : ends[0] - 1 if ends else None])


@functools.cache
def documents() -> dict[str, Document]:
    """Name -> document: README, CONTRIBUTING, and all pages of docs/."""
    paths = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").rglob("*.md"))]
    return {document.name: document for document in map(Document, paths)}
