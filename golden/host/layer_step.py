"""One layer in one step: how many tokens and heads the algorithm leaves it, its execution, and what that cost."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable

import torch
from torch import Tensor

from golden.datapath import cascade
from golden.host.algorithm import Algorithm
from golden.host.state import Operands, SessionState
from golden.host.tables import Table
from golden.host.traces import LayerTrace
from golden.layers.job import flat_limit_of
from golden.layers.layer import Layer, Outcome
from golden.layers.long_layer import check_long
from golden.layers.quantize import AttentionSettings, keep_count
from golden.layers.traffic import multiply_accumulates, traffic
from hdl.spec.config import Config

__all__ = ["Dense", "Execute", "LayerStep", "step_settings"]

Execute = Callable[[Layer, Config], Outcome]
"""Runs a layer: :func:`golden.layers.run_layer.run_layer`, or an accelerator. Without queries it is a selection only.
"""


@dataclasses.dataclass(frozen=True)
class Dense:
    """Dense attention of a head of a sequence, for comparison."""

    queries: int
    """query rows"""
    keys: int
    """tokens"""
    scores: int
    """scores that are not hidden"""


def step_settings(algorithm: Algorithm, state: SessionState) -> AttentionSettings:
    """Precision of the step: a prompt may have its own."""
    return (algorithm.prompt if state.is_prompt else None) or algorithm.attention


@dataclasses.dataclass(frozen=True, kw_only=True)
class LayerStep:
    """A layer of a model with ``num_layers`` in the step that ``state`` is in; what runs is added to ``trace``."""

    algorithm: Algorithm
    """what is pruned"""
    config: Config
    """of the hardware"""
    num_layers: int
    """of the model"""
    execute: Execute
    """what runs the layer"""
    state: SessionState
    """of the sequences"""
    trace: LayerTrace
    """of the layer, whose costs grow with each run"""
    dim: int
    """D of the heads; the machine's rows may be wider"""

    # What the algorithm leaves ---------------------------------------------------------------------------------

    @property
    def pin_last(self) -> int:
        """Last tokens that survive in any case: in generation the newest at least."""
        return max(self.algorithm.pin_last, 1 if self.state.step else 0)

    def token_ratios(self, layer: int, kv_heads: int) -> tuple[float, ...]:
        """Keep-ratio of each K/V head of a layer."""
        return self.algorithm.token_ratios(self.num_layers, kv_heads)[layer]

    def token_count(self, layer: int, kv_heads: int, kv: int = 0) -> int:
        """Tokens that a layer (its K/V head ``kv``) may attend, of those so far."""
        ratio = self.token_ratios(layer, kv_heads)[kv]
        return self.algorithm.token_count(ratio, self.state.tokens, pin_last=self.pin_last)

    def head_count(self, layer: int) -> int:
        """Query heads that a layer may compute."""
        return keep_count(self.algorithm.head_ratios(self.num_layers)[layer], self.state.heads.shape[1])

    # Execution -------------------------------------------------------------------------------------------------

    def run(
        self,
        operands: Operands,
        table: Table,
        *,
        token_keep: int,
        head_keep: int,
        decay: int,
        causal: bool | None = None,
        dense: Dense | None = None,
    ) -> Outcome:
        """Execute attention of a table's tokens, select ``token_keep`` tokens and ``head_keep`` heads, count costs.

        causal: as of :class:`golden.layers.layer.Layer`; None: in a prompt. dense: what is counted as dense attention
        beside it; None: that of the step. ValueError if the tokens do not fit the buffers of K and V.
        """
        settings = step_settings(self.algorithm, self.state)
        queries, rows = operands.query.shape[3], self.algorithm.importance_rows
        layer = Layer(
            name=f"layer {self.trace.layer}",
            **vars(operands),
            ids=table.ids,
            importance=table.importance,
            settings=settings,
            flat_limit=flat_limit_of(settings.threshold, self.config) if settings.key_lsb_bits else 0,
            causal=self.state.is_prompt if causal is None else causal,
            accumulate_from=max(0, queries - rows) if rows else 0,
            token_keep=token_keep,
            head_keep=head_keep,
            pin_first=self.algorithm.pin_first,
            pin_last=self.pin_last,
            decay=decay,
        )
        if layer.is_long(self.config):
            check_long(layer, self.config)
        outcome = self.execute(layer, self.config)
        state = self.state
        self._count(layer, outcome, dense or Dense(state.queries, state.tokens, state.dense_scores))
        return outcome

    def _count(self, layer: Layer, outcome: Outcome, dense: Dense) -> None:
        trace = self.trace
        size = {"dense_queries": dense.queries, "dense_keys": dense.keys, "dense_dim": self.dim}
        trace.traffic.add(traffic(layer, outcome, self.config, **size))
        trace.macs += multiply_accumulates(layer, outcome, self.config)
        trace.dense_macs += 2 * layer.heads.numel() * self.dim * dense.scores
        trace.rows += int(layer.heads.sum()) * layer.num_queries
        trace.flat_rows += int(outcome.flat.sum())

    def select(self, name: str, table: Table, token_keep: int, key: Tensor) -> Tensor:
        """Mask (B, n) of a selection without a layer; the table's importance decays.

        key: any plane (B, K, tokens, D).
        """
        if token_keep >= table.size and not self.algorithm.decay:
            return torch.ones_like(table.ids, dtype=torch.bool)
        batch, none = len(table.ids), key[:, :1, None, :0]
        empty = torch.zeros(batch, 1, dtype=torch.int64)
        layer = Layer(
            name=name,
            query=none,
            key=key[:, :1],
            value=key[:, :1],
            scale=empty + 1,
            shift=empty + 1,
            ids=table.ids,
            importance=table.importance,
            heads=empty > 0,
            head_importance=empty,
            head_weight=empty,
            settings=step_settings(self.algorithm, self.state),
            flat_limit=0,
            token_keep=token_keep,
            head_keep=1,
            pin_first=self.algorithm.pin_first,
            pin_last=self.pin_last,
            decay=self.algorithm.decay,
        )
        outcome = self.execute(layer, self.config)
        table.importance = outcome.importance
        return outcome.keep

    def normalize(self, table: Table) -> None:
        """If the algorithm asks for it: importance of the prompt's tokens as if every counted row had attended each.

        A causal prompt's first tokens are attended by all rows, its last one by one row.
        """
        if not self.algorithm.normalize:
            return
        rows = self.algorithm.importance_rows
        first = max(0, table.size - rows) if rows else 0
        could = table.size - torch.arange(table.size).clamp(min=first)
        table.importance = (table.importance * (table.size - first) // could).clamp(max=cascade.LIMIT)
