"""What grows with a sequence: the rows of a plane, and a table of tokens with their importance."""

from __future__ import annotations

import dataclasses

import torch
from torch import Tensor

__all__ = ["Plane", "Table"]


class Plane:
    """Rows (B, K, tokens, D) of one type that grow token by token; their place is the token's id."""

    def __init__(self, rows: Tensor, dtype: torch.dtype):
        self._rows, self._count = rows.to(dtype), rows.shape[2]

    @classmethod
    def of_tokens(cls, rows: Tensor, ids: Tensor, tokens: int) -> Plane:
        """int16 rows (B, K, n, D) of the tokens ids (B, n), of ``tokens`` in all: those of the others are zeros."""
        if rows.shape[2] < tokens:
            at = ids[:, None, :, None].expand_as(rows)
            rows = rows.new_zeros(*rows.shape[:2], tokens, rows.shape[3]).scatter(2, at, rows)
        return cls(rows, torch.int16)

    def append(self, rows: Tensor) -> None:
        """Rows (B, K, n, D) of the next n tokens."""
        count = self._count + rows.shape[2]
        if count > self._rows.shape[2]:
            batch, heads, have, dim = self._rows.shape
            spare = self._rows.new_zeros(batch, heads, max(count, have + have // 2) - have, dim)
            self._rows = torch.cat([self._rows, spare], 2)
        self._rows[:, :, self._count : count] = rows
        self._count = count

    @property
    def count(self) -> int:
        """Tokens so far."""
        return self._count

    @property
    def rows(self) -> Tensor:
        """(B, K, tokens, D) of all tokens so far."""
        return self._rows[:, :, : self._count]

    def first(self, count: int) -> Plane:
        """The first ``count`` rows; they stay where they are, so that only one of the two planes may grow."""
        plane = Plane(self._rows, self._rows.dtype)
        plane._count = count
        return plane

    def select(self, rows: Tensor) -> Plane:
        """Of the sequences ``rows``, numbers of such."""
        return Plane(self.rows[rows], self._rows.dtype)


@dataclasses.dataclass(kw_only=True)
class Table:
    """Tokens of sequences, int64; in the scope "head" B counts K/V heads, too."""

    ids: Tensor
    """(B, n) ascending"""
    importance: Tensor
    """(B, n) UQ16.16"""

    @classmethod
    def of_all(cls, batch: int, tokens: int) -> Table:
        """The first ``tokens`` tokens, of importance 0."""
        ids = torch.arange(tokens).expand(batch, -1).contiguous()
        return cls(ids=ids, importance=torch.zeros_like(ids))

    @property
    def size(self) -> int:
        """n"""
        return self.ids.shape[1]

    def append(self, token: int) -> None:
        """A new token, of importance 0."""
        self.ids = torch.cat([self.ids, torch.full_like(self.ids[:, :1], token)], 1)
        self.importance = torch.cat([self.importance, torch.zeros_like(self.importance[:, :1])], 1)

    def before(self, tokens: int) -> Table:
        """A table of all of the first ``tokens`` tokens, which holds them still, with their importance."""
        if self.size < tokens or not bool((self.ids[:, :tokens] < tokens).all()):
            raise ValueError(
                f"a cache can go back to {tokens} tokens only if none of them was pruned since, or within one call "
                "after the prompt: use an algorithm that keeps all tokens"
            )
        return Table(ids=self.ids[:, :tokens], importance=self.importance[:, :tokens])

    def select(self, rows: Tensor, batch: int) -> Table:
        """Of the sequences ``rows``, of ``batch`` with one row or one of each K/V head."""
        parts = [tensor.unflatten(0, (batch, -1))[rows].flatten(0, 1) for tensor in (self.ids, self.importance)]
        return Table(ids=parts[0], importance=parts[1])

    def chosen(self, keep: Tensor) -> Table:
        """Only the tokens of the mask (B, n), which has as many in each sequence."""
        return Table(ids=self.ids[keep].view(len(keep), -1), importance=self.importance[keep].view(len(keep), -1))
