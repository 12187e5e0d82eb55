"""What a session keeps of its sequences, and of each layer of theirs."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable
from typing import Any, Self

import torch
from torch import Tensor
from torch.nn import functional

from golden.host.calibration import FEEDBACK_ROWS, Calibration
from golden.host.tables import Plane, Table
from golden.layers.job import scale_of
from golden.layers.quantize import AttentionSettings
from hdl.spec import numerics as N

__all__ = ["FloatRows", "LayerMemory", "Operands", "SessionState"]

_HEAD_UNIT = 2**12
"""Weight of the head with the largest V unit; V units of later layers may be 16 times larger."""

_SMALLEST_SCALE = 2.0**-300
"""Stands for a scale of 0: all scores weigh the same with either."""


@dataclasses.dataclass(kw_only=True)
class Operands:
    """Integers of a layer as :class:`golden.layers.layer.Layer` has them, for all its tokens."""

    query: Tensor
    """(B, K, G, q, D)"""
    key: Tensor
    """(B, K, tokens, D), as is V"""
    value: Tensor
    """(B, K, tokens, D)"""
    scale: Tensor
    """(B, K), as is the shift"""
    shift: Tensor
    """(B, K)"""
    heads: Tensor
    """(B, H) bool"""
    head_importance: Tensor
    """(B, H), as is the weight"""
    head_weight: Tensor
    """(B, H) 16 bits, unsigned"""

    def of_head(self, kv: int) -> Operands:
        """One K/V head."""
        return self._by_head(lambda tensor: tensor[:, kv : kv + 1])

    def folded(self) -> Operands:
        """Each K/V head as a sequence of its own: (B · K, 1, …)."""
        return self._by_head(lambda tensor: tensor.flatten(0, 1).unsqueeze(1))

    def _by_head(self, change: Callable[[Tensor], Tensor]) -> Operands:
        """``change`` applied to all tensors with K/V heads as their second dimension."""
        fields = {}
        for name, tensor in vars(self).items():
            by_query_head = name.startswith("head")  # (B, H)
            whole = tensor.unflatten(1, (self.key.shape[1], -1)) if by_query_head else tensor
            fields[name] = change(whole).flatten(1) if by_query_head else change(whole)
        return Operands(**fields)


@dataclasses.dataclass(kw_only=True)
class FloatRows:
    """What a layer's planes are made of, kept by the host."""

    query: Tensor
    """(B, K, G, q, D) of the last tokens, at most :data:`golden.host.calibration.FEEDBACK_ROWS`"""
    key: Plane
    """(B, K, tokens, D) of the type that the model gave, as is V"""
    value: Plane
    """(B, K, tokens, D)"""

    @classmethod
    def of(cls, query: Tensor, key: Tensor, value: Tensor, dtype: torch.dtype) -> FloatRows:
        """Of a layer's first tokens: query (B, H, q, D), key and value (B, K, n, D)."""
        by_group = query.unflatten(1, (key.shape[1], -1))
        return cls(query=by_group[..., -FEEDBACK_ROWS:, :], key=Plane(key, dtype), value=Plane(value, dtype))

    @property
    def floats(self) -> tuple[Tensor, Tensor]:
        """K and V (B, K, tokens, D) in float64."""
        return self.key.rows.double(), self.value.rows.double()

    def append(self, query: Tensor, key: Tensor, value: Tensor) -> None:
        """The next token: query (B, H, 1, D), key and value (B, K, 1, D)."""
        rows = torch.cat([self.query, query.unflatten(1, (key.shape[1], -1))], -2)
        self.query = rows[..., -FEEDBACK_ROWS:, :]
        self.key.append(key)
        self.value.append(value)

    def first(self, count: int) -> FloatRows:
        """With the first ``count`` rows of K and V; the queries stay."""
        return FloatRows(query=self.query, key=self.key.first(count), value=self.value.first(count))

    def select(self, rows: Tensor) -> FloatRows:
        """Of the sequences ``rows``, numbers of such."""
        return FloatRows(query=self.query[rows], key=self.key.select(rows), value=self.value.select(rows))


@dataclasses.dataclass(kw_only=True)
class LayerMemory:
    """What a layer keeps of the sequences."""

    calibration: Calibration
    """constants that follow the sequence"""
    key: Plane
    """K words, as :meth:`golden.host.calibration.Calibration.key` makes them"""
    value: Plane
    """V plane elements of the same"""
    heads: Tensor
    """(B, H) bool: computed in this layer"""
    head_importance: Tensor
    """(B, H), scope layer"""
    measure: Tensor
    """(B, 1) V unit that has the weight :data:`_HEAD_UNIT`"""
    tables: list[Table]
    """scope layer: one; head: one of all K/V heads, or one of each; cascade: none"""
    width: int
    """D of the machine's rows: that of the heads, or the next that it has; zeros fill the rest"""
    rows: FloatRows | None = None
    """of a causal model, or if errors are measured"""

    @classmethod
    def of(
        cls,
        rows: FloatRows,
        settings: AttentionSettings,
        *,
        keep: bool,
        ids: Tensor,
        tokens: int,
        width: int,
        measure: Tensor | None,
        **fields: Any,
    ) -> Self:
        """The memory of a layer's first tokens.

        keep: the rows are needed later. ids, tokens: as of :meth:`golden.host.tables.Plane.of_tokens`. measure: None:
        the layer's own largest V unit. The rest: fields of the class.
        """
        calibration = Calibration.of(rows.query, *rows.floats, settings)
        key, value = cls._planes(calibration, rows, width, ids, tokens)
        if measure is None:
            measure = calibration.value_range.amax(1, keepdim=True)
        return cls(
            calibration=calibration,
            key=key,
            value=value,
            measure=measure,
            width=width,
            rows=rows if keep else None,
            **fields,
        )

    @staticmethod
    def _planes(calibration: Calibration, rows: FloatRows, width: int, ids: Tensor, tokens: int) -> list[Plane]:
        key, value = rows.floats
        words = calibration.key(key), calibration.value(value)
        return [Plane.of_tokens(_wide(plane, width), ids, tokens) for plane in words]

    def append(self, query: Tensor, key: Tensor, value: Tensor, token: int) -> Tensor:
        """The new token ``token``: query (B, H, 1, D), K and V (B, K, 1, D).

        Returns (B, K) bool: heads whose planes were made anew, as the token exceeds their grids.
        """
        assert self.rows is not None
        self.rows.append(query, key, value)
        for table in self.tables:
            table.append(token)
        outgrown = self.calibration.outgrown(key, value, token + 1)
        if outgrown.any():
            self.calibration = self.calibration.grown(outgrown, self.rows.query, *self.rows.floats)
            every = torch.arange(token + 1).expand(len(key), -1)
            self.key, self.value = self._planes(self.calibration, self.rows, self.width, every, token + 1)
        else:
            self.key.append(_wide(self.calibration.key(key), self.width))
            self.value.append(_wide(self.calibration.value(value), self.width))
        return outgrown

    def quantize(self, settings: AttentionSettings, ids: Tensor, tokens: int) -> None:
        """Planes of all tokens so far at another precision. ids, tokens: as of :meth:`of`."""
        assert self.rows is not None
        self.calibration = Calibration.of(self.rows.query, *self.rows.floats, settings)
        self.key, self.value = self._planes(self.calibration, self.rows, self.width, ids, tokens)

    def requantized_bytes(self, outgrown: Tensor, tokens: int) -> float:
        """What making the planes of the heads ``outgrown`` (B, K) anew moves: fp32 rows read, planes written.

        tokens: rows of a head in the scope cascade; in others its table has those that are left.
        """
        settings, dim = self.calibration.settings, self.key.rows.shape[-1]
        bits = settings.key_bits + settings.key_lsb_bits + settings.value_bits
        sizes = [table.size for table in self.tables] or [tokens]
        by_head = torch.tensor(sizes if len(sizes) > 1 else sizes * outgrown.shape[1])
        return float((outgrown * by_head).sum()) * dim * (2 * 32 + bits) / 8

    @property
    def head_weight(self) -> Tensor:
        """(B, H) 16 bits, unsigned: unit of the outputs, for the importance of heads."""
        weight = self.calibration.value_range / self.measure * _HEAD_UNIT
        weight = weight.round().clamp(1, 2**N.WEIGHT_WIDTH - 1).long()
        return weight.repeat_interleave(self.heads.shape[1] // weight.shape[1], 1)

    def operands(self, query: Tensor, scaling: float, head_importance: Tensor) -> Operands:
        """Integers of query (B, H, q, D) with all K and V; ValueError if scores are too far apart for a scale."""
        words, unit = self.calibration.query(query.unflatten(1, (self.key.rows.shape[1], -1)))
        scale = unit * self.calibration.key_unit * (scaling * math.log2(math.e))
        try:
            pairs = torch.tensor([scale_of(max(value, _SMALLEST_SCALE)) for value in scale.flatten().tolist()])
        except ValueError:
            step, sizes = float(scale.max()), self.key.rows.abs().amax((-2, -1)) * self.calibration.key_unit
            raise ValueError(
                f"query (up to {float(query.abs().max()):.3g}) and key (up to {float(sizes.max()):.3g}) are too large: "
                f"a step of their scores is {step:.3g} octaves and must be below 8: make one, or scaling, smaller"
            ) from None
        return Operands(
            query=_wide(words, self.width),
            key=self.key.rows,
            value=self.value.rows,
            scale=pairs[:, 0].view_as(scale),
            shift=pairs[:, 1].view_as(scale),
            heads=self.heads,
            head_importance=head_importance,
            head_weight=self.head_weight,
        )

    # What a cache does to its sequences ------------------------------------------------------------------------

    def copy(self) -> LayerMemory:
        """A memory that goes on by itself, as long as this one does not."""
        return dataclasses.replace(
            self,
            key=self.key.first(self.key.count),
            value=self.value.first(self.value.count),
            tables=[dataclasses.replace(table) for table in self.tables],
            rows=self.rows and self.rows.first(self.rows.key.count),
        )

    def select(self, rows: Tensor, batch: int) -> LayerMemory:
        """Of the sequences ``rows``, numbers of such, of ``batch``."""
        return dataclasses.replace(
            self,
            calibration=self.calibration.select(rows),
            key=self.key.select(rows),
            value=self.value.select(rows),
            heads=self.heads[rows],
            head_importance=self.head_importance[rows],
            measure=self.measure[rows],
            tables=[table.select(rows, batch) for table in self.tables],
            rows=self.rows and self.rows.select(rows),
        )

    def before(self, tokens: int) -> LayerMemory:
        """As it is with the first ``tokens`` tokens only, but for the grids."""
        return dataclasses.replace(
            self,
            key=self.key.first(tokens),
            value=self.value.first(tokens),
            tables=[table.before(tokens) for table in self.tables],
            rows=self.rows and self.rows.first(tokens),
        )


def _wide(rows: Tensor, width: int) -> Tensor:
    """Rows (…, D) with zeros up to ``width`` elements."""
    return functional.pad(rows, (0, width - rows.shape[-1]))


@dataclasses.dataclass(kw_only=True)
class SessionState:
    """All that a session knows of its sequences.

    Others keep it for :meth:`golden.host.session.Session.save` and :meth:`golden.host.session.Session.restore` only.
    """

    batch: int
    """B"""
    causal: bool
    """a language model; False: an encoder"""
    tokens: int = 0
    """of a sequence so far, pruned ones too"""
    queries: int = 0
    """query rows of the step in its first layer"""
    step: int = -1
    """0: the prompt; -1: none has begun"""
    next_layer: int = 0
    """that :meth:`golden.host.session.Session.attention` expects"""
    layers: list[LayerMemory] = dataclasses.field(default_factory=list)
    """of the layers that ran"""
    table: Table
    """scope cascade: all tokens"""
    ids: Tensor
    """(B, n) scope cascade: tokens that the next layer attends"""
    heads: Tensor
    """(B, H) bool, scope cascade: heads that the next layer of the prompt computes"""
    head_importance: Tensor
    """(B, H), scope cascade"""
    survivors: list[Tensor] = dataclasses.field(default_factory=list)
    """encoder, by layer: (B, k) rows that survive of those which entered it"""

    @classmethod
    def begin(cls, batch: int, heads: int, tokens: int, causal: bool) -> SessionState:
        """Sequences before their first step, which brings so many tokens; ``heads`` query heads."""
        nothing = torch.zeros(batch, heads, dtype=torch.int64)
        table = Table.of_all(batch, tokens)
        return cls(batch=batch, causal=causal, table=table, ids=table.ids, heads=nothing == 0, head_importance=nothing)

    def step_with(self, tokens: int, queries: int) -> None:
        """A step begins: ``queries`` new rows of a sequence, which has ``tokens`` with them."""
        if self.step >= 0:
            self.table.append(tokens - 1)
            self.ids = torch.cat([self.ids, self.table.ids[:, -1:]], 1)
        self.tokens, self.queries = tokens, queries
        self.step += 1

    # What a cache does to its sequences ------------------------------------------------------------------------

    def copy(self) -> SessionState:
        """A state to come back to: it goes on by itself, as long as this one does not."""
        return dataclasses.replace(
            self,
            layers=[memory.copy() for memory in self.layers],
            table=dataclasses.replace(self.table),
            survivors=list(self.survivors),
        )

    def select(self, rows: Tensor) -> SessionState:
        """The sequences ``rows``, numbers of such; any number of times each."""
        return dataclasses.replace(
            self,
            batch=len(rows),
            layers=[memory.select(rows, self.batch) for memory in self.layers],
            table=self.table.select(rows, self.batch),
            ids=self.ids[rows],
            heads=self.heads[rows],
            head_importance=self.head_importance[rows],
            survivors=[kept[rows] for kept in self.survivors],
        )

    def before(self, tokens: int) -> SessionState:
        """As it is with the first ``tokens`` tokens only, but for the grids; ValueError if any of them was pruned."""
        table = self.table.before(tokens)
        return dataclasses.replace(
            self,
            tokens=tokens,
            layers=[memory.before(tokens) for memory in self.layers],
            table=table,
            ids=table.ids,
        )

    @property
    def is_prompt(self) -> bool:
        """The step is a prompt: causal, with more to come."""
        return self.causal and self.step == 0

    @property
    def dense_scores(self) -> int:
        """Scores of a head of a sequence, in this step, in dense attention."""
        if not self.causal:
            return self.queries * self.tokens
        return sum(range(self.tokens - self.queries + 1, self.tokens + 1))
