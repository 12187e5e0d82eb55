"""What a run of one text did, layer by layer, as plain values: written as JSON, drawn by :mod:`sim.run.page`."""

from __future__ import annotations

import codecs
import dataclasses
import re
from collections.abc import Sequence
from typing import Any

from golden.host.traces import LayerTrace, TableTrace

__all__ = ["INVISIBLE", "LayerView", "RunRecord", "TableView", "Word", "record_of", "words_of"]

_IMPORTANCE_UNIT = 2.0**-16
"""Importance of a token is UQ16.16."""


@dataclasses.dataclass(kw_only=True)
class TableView:
    """Tokens that a layer, or one of its K/V heads, attended."""

    ids: list[int]
    """ascending; numbers of :attr:`RunRecord.texts`"""
    importance: list[float]
    """after the layer: a sum of probabilities"""
    keep: list[bool]
    """survives the selection at the end of the layer"""


@dataclasses.dataclass(kw_only=True)
class LayerView:
    """One layer in one step."""

    layer: int
    step: int
    """0: the prompt (an encoder's only step)"""
    tables: list[TableView]
    """one; in the scope "head" one of each K/V head"""
    heads: list[bool]
    """query heads computed"""
    head_importance: list[float]
    """after the layer, in units that only its comparison needs"""
    rows: int
    """query rows of the surviving heads"""
    flat_rows: int
    """rows recomputed with the LSB plane"""
    bytes: dict[str, float]
    """read, by plane"""
    dense_bytes: float
    """the same of fp32 dense attention"""
    macs: int
    """multiply-accumulates of Q·K and prob·V"""
    dense_macs: int
    cycles: int | None = None
    """None from the golden engine, as are the counters"""
    counters: dict[str, int] | None = None
    """of hdl/control/counters.py"""

    @property
    def bytes_read(self) -> float:
        return sum(self.bytes.values())

    @property
    def tokens(self) -> float:
        """Tokens attended; of several tables the mean."""
        return sum(len(table.ids) for table in self.tables) / len(self.tables)

    @property
    def num_heads(self) -> int:
        """Query heads computed."""
        return sum(self.heads)


@dataclasses.dataclass(kw_only=True)
class RunRecord:
    """One text through one model."""

    model: str = ""
    text: str = ""
    engine: str = "golden"
    preset: str = ""
    algorithm: dict[str, Any] = dataclasses.field(default_factory=dict)
    """settings, nested as :class:`golden.host.algorithm.Algorithm` has them"""
    algorithm_name: str = ""
    """what the user called them"""
    revision: str = ""
    memory: str = ""
    """timing of the simulated memory, in words"""
    dram_reduction: float
    """bytes of fp32 dense attention over bytes read"""
    factors: dict[str, float] = dataclasses.field(default_factory=dict)
    """the reduction by technique, in the order in which they apply; their product is the reduction"""
    mismatches: int = 0
    values_compared: int = 0
    """with the golden model; 0 if it ran alone"""
    embedding_cosine: float | None = None
    """of an encoder's sentence embedding with that of its own attention"""
    tokens: list[str]
    """of the prompt, as the tokenizer names them"""
    generated: list[str] = dataclasses.field(default_factory=list)
    dense_generated: list[str] = dataclasses.field(default_factory=list)
    """what the model generates with its own attention"""
    conversation: bool = False
    """of the generated tokens some are further questions"""
    layers: list[LayerView]
    """in the order in which they ran: by step, then by layer"""

    @property
    def texts(self) -> list[str]:
        """Tokens by id."""
        return self.tokens + self.generated

    @property
    def pruned(self) -> bool:
        """Whether tokens, heads or rows of V are missing anywhere."""
        values = [(self.algorithm.get(part) or {}).get("value_keep", 1) for part in ("attention", "prompt")]
        return min(values) < 1 or any(
            view.num_heads < len(view.heads) or view.tokens < self.num_tokens(view.step) for view in self.layers
        )

    @property
    def last_step(self) -> int:
        return max(view.step for view in self.layers)

    def step(self, step: int) -> list[LayerView]:
        """Layers of a step."""
        return [view for view in self.layers if view.step == step]

    def num_tokens(self, step: int) -> int:
        """Tokens known in a step, pruned ones too: dense attention reads them all."""
        return len(self.tokens) + step


def record_of(
    traces: Sequence[LayerTrace],
    *,
    tokens: list[str],
    generated: Sequence[str] = (),
    dense_generated: Sequence[str] = (),
    **meta: Any,
) -> RunRecord:
    """The record of a session's traces; meta: further fields of :class:`RunRecord`.

    Without ``dram_reduction`` it is that of all the traces. Costs are sums over a batch, so it must be one sequence.
    """
    if not traces:
        raise ValueError("traces must be of at least one layer, not empty")
    if len(traces[0].heads) != 1:
        raise ValueError(f"traces must be of one sequence, not {len(traces[0].heads)}")
    layers = [_layer_view(trace) for trace in traces]
    known = len(tokens) + len(generated)
    last = max(token for view in layers for table in view.tables for token in table.ids)
    if last >= known:
        raise ValueError(f"tokens and generated must name all {last + 1} tokens of the traces, not {known}")
    if meta.get("dram_reduction") is None:
        dense, read = sum(view.dense_bytes for view in layers), sum(view.bytes_read for view in layers)
        meta["dram_reduction"] = dense / read
    return RunRecord(
        tokens=list(tokens),
        generated=list(generated),
        dense_generated=list(dense_generated),
        layers=layers,
        **meta,
    )


def _layer_view(trace: LayerTrace) -> LayerView:
    return LayerView(
        layer=trace.layer,
        step=trace.step,
        tables=[_table_view(table) for table in trace.tables],
        heads=trace.heads[0].tolist(),
        head_importance=[float(value) for value in trace.head_importance[0].tolist()],
        rows=trace.rows,
        flat_rows=trace.flat_rows,
        bytes={plane: float(count) for plane, count in trace.traffic.by_plane.items()},
        dense_bytes=float(trace.traffic.dense),
        macs=trace.macs,
        dense_macs=trace.dense_macs,
    )


def _table_view(table: TableTrace) -> TableView:
    return TableView(
        ids=table.ids[0].tolist(),
        importance=(table.importance[0].double() * _IMPORTANCE_UNIT).tolist(),
        keep=table.keep[0].tolist(),
    )


# Tokens as people write them -----------------------------------------------------------------------------------


@dataclasses.dataclass(frozen=True)
class Word:
    """A token as it is shown."""

    text: str
    """never empty"""
    space: bool
    """stands apart from the token before it"""


_CLOSING, _OPENING, _BETWEEN = set(".,;:!?)]}%’”"), set("([{“"), set("'-")
"""Punctuation that WordPiece cuts off its word, and the text has no space before, after, or around."""

_DIRECTIONS = (0x061C, 0x200E, 0x200F, *range(0x202A, 0x202F), *range(0x2066, 0x206A))
INVISIBLE: dict[int, int | None] = (
    {code: 0x2400 + code for code in range(32)}
    | {127: 0x2421}
    | {code: 0xFFFD for code in range(0xD800, 0xE000)}
    | dict.fromkeys(_DIRECTIONS)
)
"""Control characters to their pictures; halves of surrogate pairs, which no file can hold; no marks of direction, for a
token shall not turn around the tokens after it."""

_UNCHANGED = [*range(33, 127), *range(161, 173), *range(174, 256)]
_BYTES = {chr(byte): byte for byte in _UNCHANGED} | {
    chr(256 + index): byte for index, byte in enumerate(sorted(set(range(256)) - set(_UNCHANGED)))
}
"""Byte-level vocabularies write bytes that are not printable in Latin-1 as letters from U+0100 on: Ġ is a space."""


def words_of(tokens: Sequence[str]) -> list[Word]:
    """Tokens of a WordPiece (``##``), SentencePiece (``▁``) or byte-level (``Ġ``) vocabulary as people write them.

    A line break shows as ↵, a token of spaces only as ␣, one that holds the first bytes of a character as ·
    """
    if not tokens or tokens[0] == "[CLS]":
        return _word_pieces(tokens)
    for marks, bytes_of in (("ĠĊ", _byte_level), ("▁", _sentence_piece)):
        if any(mark in token for mark in marks for token in tokens):
            return _decoded([bytes_of(token) for token in tokens])
    return _word_pieces(tokens)


def _word_pieces(tokens: Sequence[str]) -> list[Word]:
    words, before = [], ""
    for token in tokens:
        continued = token.startswith("##") and len(token) > 2
        apart = not (continued or token in _CLOSING | _BETWEEN or before in _OPENING | _BETWEEN)
        words.append(Word(_visible(token[2:] if continued else token), apart and bool(words)))
        before = token
    return words


def _byte_level(token: str) -> bytes:
    if all(letter in _BYTES for letter in token):
        return bytes(_BYTES[letter] for letter in token)
    return token.encode(errors="replace")  # a token added to the vocabulary


def _sentence_piece(token: str) -> bytes:
    byte = re.fullmatch("<0x([0-9A-F]{2})>", token)
    return bytes([int(byte[1], 16)]) if byte else token.replace("▁", " ").encode(errors="replace")


def _decoded(tokens: Sequence[bytes]) -> list[Word]:
    """A character of several tokens shows with its last one."""
    decoder = codecs.getincrementaldecoder("utf-8")(errors="replace")
    words = []
    for index, token in enumerate(tokens):
        text = decoder.decode(token, final=index == len(tokens) - 1)
        inner = text.strip(" ")
        shown = inner or "␣" * len(text) or "·"
        words.append(Word(_visible(shown), bool(inner and words) and text.startswith(" ")))
    return words


def _visible(text: str) -> str:
    return text.replace("\n", "↵").translate(INVISIBLE) or "·"
