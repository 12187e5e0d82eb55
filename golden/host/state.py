"""What a session keeps of its sequences, and of each layer of theirs."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable

import torch
from torch import Tensor

from golden.host.calibration import Calibration
from golden.host.tables import Plane, Table
from golden.host.traces import Totals
from golden.layers.job import scale_of
from golden.layers.quantize import AttentionSettings

__all__ = ["LayerMemory", "Operands", "SessionState"]

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
class LayerMemory:
    """What a layer keeps of the sequences."""

    calibration: Calibration
    """constants of the first tokens, or of the whole prompt"""
    key: Plane
    """K words, as :meth:`golden.host.calibration.Calibration.key` makes them"""
    value: Plane
    """V plane elements of the same"""
    heads: Tensor
    """(B, H) bool: computed in this layer"""
    head_importance: Tensor
    """(B, H), scope layer"""
    head_weight: Tensor
    """(B, H)"""
    tables: list[Table]
    """scope layer: one; head: one of all K/V heads, or one of each; cascade: none"""
    float_key: Plane | None = None
    """float64, if errors are measured; as is V"""
    float_value: Plane | None = None
    """(B, K, tokens, D) float64"""

    def append(self, key: Tensor, value: Tensor, token: int) -> None:
        """K and V (B, K, 1, D) of the new token ``token``, quantized as those before it."""
        self.key.append(self.calibration.key(key))
        self.value.append(self.calibration.value(value))
        if self.float_key is not None and self.float_value is not None:
            self.float_key.append(key)
            self.float_value.append(value)
        for table in self.tables:
            table.append(token)

    def quantize(
        self, query: Tensor, key: Tensor, value: Tensor, settings: AttentionSettings, ids: Tensor, tokens: int
    ) -> None:
        """Planes of all tokens so far, by constants of their own. ids, tokens: as of :meth:`Plane.of_tokens`."""
        self.calibration = Calibration.of(query.unflatten(1, (key.shape[1], -1)), key, value, settings)
        self.key = Plane.of_tokens(self.calibration.key(key), ids, tokens)
        self.value = Plane.of_tokens(self.calibration.value(value), ids, tokens)

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
            query=words,
            key=self.key.rows,
            value=self.value.rows,
            scale=pairs[:, 0].view_as(scale),
            shift=pairs[:, 1].view_as(scale),
            heads=self.heads,
            head_importance=head_importance,
            head_weight=self.head_weight,
        )


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
    prompt: Totals = dataclasses.field(default_factory=Totals)
    """what the prompt cost"""
    generation: Totals = dataclasses.field(default_factory=Totals)
    """what the tokens after it cost"""

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
