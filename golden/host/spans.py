"""Query rows that attend a span of tokens only: sliding windows, chunks, packed texts (beyond the paper).

A layer whose rows attend different spans runs in parts, each a layer of its own on a slice of K and V. Nothing is
pruned there: importance that rows of different spans give is not comparable.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator

import torch
from torch import Tensor

from golden.host.layer_step import Dense, LayerStep
from golden.host.state import Operands
from golden.host.tables import Table
from golden.host.traces import TableTrace

__all__ = ["Spans", "run_spans", "spans_of"]

_HIDDEN = -1e4
"""A mask of this or less hides a token."""


@dataclasses.dataclass(frozen=True)
class Spans:
    """Tokens ``first[i]`` to ``last[i]`` that query row i attends; int64 (q,), the same in all sequences and heads."""

    first: Tensor
    """(q,)"""
    last: Tensor
    """(q,)"""

    @property
    def scores(self) -> int:
        """Scores of a head of a sequence."""
        return int((self.last - self.first + 1).sum())

    def mask(self, tokens: int) -> Tensor:
        """(q, tokens) bool: the tokens that each row attends."""
        ids = torch.arange(tokens)
        return (ids >= self.first[:, None]) & (ids <= self.last[:, None])

    def parts(self) -> Iterator[tuple[slice, slice, bool]]:
        """(rows, tokens, causal) of runs of rows that one layer can take: of one span, or of one that grows by one."""
        first, last = self.first.tolist(), self.last.tolist()
        start = 0
        while start < len(first):
            stop, growth = start + 1, None
            while stop < len(first) and first[stop] == first[start]:
                step = last[stop] - last[stop - 1]
                if step not in (0, 1) or growth not in (None, step):
                    break
                stop, growth = stop + 1, step
            yield slice(start, stop), slice(first[start], last[stop - 1] + 1), growth == 1
            start = stop


def spans_of(mask: Tensor, queries: int, before: int, *, causal: bool) -> Spans | None:
    """The spans of an attention mask, boolean or added to the scores: (…, q, n) of q queries after ``before`` tokens.

    None: every row attends all, or with ``causal`` all up to itself. ValueError if the rows of a mask are no spans, or
    differ between sequences or heads, or are a bias.
    """
    shown = mask if mask.dtype == torch.bool else mask == 0
    if mask.dtype != torch.bool and bool((mask[~shown] > _HIDDEN).any()):
        raise ValueError("its mask adds a bias to the scores")
    shown = shown.flatten(0, -3)
    tokens = before + queries
    if not causal and bool(shown.all()):
        return None  # of all tokens of an encoder, pruned ones too
    if not causal and shown.shape[-1] > tokens:
        raise ValueError("its mask hides tokens, where no token may be pruned: set token_keep to 1")
    if shown.shape[-2:] != (queries, tokens):
        raise ValueError(f"its mask is for {tuple(shown.shape[-2:])} queries and tokens, not {(queries, tokens)}")
    if not bool((shown == shown[:1]).all()):
        raise ValueError("its mask differs between sequences or heads beyond padding")
    shown = shown[0]
    if not bool(shown.any(-1).all()):
        raise ValueError("its mask hides every token of a query")
    # argmax gives the first of the largest.
    first, last = shown.int().argmax(-1), tokens - 1 - shown.flip(-1).int().argmax(-1)
    spans = Spans(first=first, last=last)
    if not torch.equal(shown, spans.mask(tokens)):
        raise ValueError("its mask shows a query tokens that do not follow each other")
    ends = torch.arange(before, tokens) if causal else torch.full_like(last, tokens - 1)
    if causal and not torch.equal(last, ends):
        raise ValueError("its mask shows a query other tokens than those up to itself")
    return None if torch.equal(last, ends) and not first.any() else spans


def run_spans(step: LayerStep, operands: Operands, spans: Spans) -> Tensor:
    """Output (B, K, G, q, D), Q(operand_width).8, of a layer of which each row attends its span; nothing is pruned."""
    if step.algorithm.prunes_tokens or step.algorithm.prunes_heads:
        raise ValueError(
            f"token_keep and head_keep must be 1 where a window or a packed text hides tokens, as in layer "
            f"{step.trace.layer}"
        )
    batch, kv_heads = operands.key.shape[:2]
    dense = Dense(step.state.queries, step.state.tokens, spans.scores)
    out = torch.zeros_like(operands.query)
    for rows, tokens, causal in spans.parts():
        part = dataclasses.replace(
            operands,
            query=operands.query[..., rows, :],
            key=operands.key[:, :, tokens],
            value=operands.value[:, :, tokens],
        )
        table = Table.of_all(batch, tokens.stop - tokens.start)
        heads = operands.heads.shape[1]
        outcome = step.run(part, table, token_keep=table.size, head_keep=heads, decay=0, causal=causal, dense=dense)
        out[..., rows, :] = outcome.out
        dense = Dense(0, 0, 0)
    ids = torch.arange(int(spans.first.min()), int(spans.last.max()) + 1).expand(batch, -1)
    trace = TableTrace(ids=ids, importance=torch.zeros_like(ids), keep=torch.ones_like(ids, dtype=torch.bool))
    step.trace.tables = [trace] * (kv_heads if step.algorithm.scope == "head" else 1)
    step.trace.head_keep = operands.heads
    return out
