"""Whose tables a layer uses: one for all layers (the paper's cascade), or its own, or one of each K/V head."""

from __future__ import annotations

import torch
from torch import Tensor

from golden.host.layer_step import LayerStep
from golden.host.state import LayerMemory, Operands, SessionState
from golden.host.tables import Table
from golden.host.traces import TableTrace

__all__ = ["run_scope", "tables_of"]


def tables_of(scope: str, state: SessionState, ratios: tuple[float, ...]) -> list[Table]:
    """Tables of all tokens that a layer begins with. ratios: keep-ratio of each K/V head.

    scope "head": heads of equal ratios share a table in which each is a sequence of its own.
    """
    if scope == "cascade":
        return []
    if scope == "layer":
        return [Table.of_all(state.batch, state.tokens)]
    if len(set(ratios)) == 1:
        return [Table.of_all(state.batch * len(ratios), state.tokens)]
    return [Table.of_all(state.batch, state.tokens) for _ in ratios]


def run_scope(step: LayerStep, memory: LayerMemory, operands: Operands) -> Tensor:
    """Output (B, K, G, q, D), Q(operand_width).8, of a layer, which also selects what survives it."""
    run = _cascade if step.algorithm.scope == "cascade" else _local
    return run(step, memory, operands)


def _cascade(step: LayerStep, memory: LayerMemory, operands: Operands) -> Tensor:
    """One table for all layers: survivors go from layer to layer, and importance stays with all tokens."""
    state, trace = step.state, step.trace
    following = trace.layer + 1 if trace.layer + 1 < step.num_layers else None
    table = Table(ids=state.ids, importance=state.table.importance.gather(1, state.ids))
    token_keep, head_keep = table.size, _count(operands.heads)
    if following is not None and not state.is_prompt:
        token_keep = step.token_count(following, operands.key.shape[1])
    if following is not None and not state.step:
        head_keep = step.head_count(following)
    outcome = step.run(
        operands,
        table,
        token_keep=token_keep,
        head_keep=head_keep,
        decay=0 if state.causal else step.algorithm.decay,
    )
    state.table.importance = state.table.importance.scatter(1, table.ids, outcome.importance)
    state.head_importance = trace.head_importance = outcome.head_importance
    state.heads = trace.head_keep = outcome.head_keep
    trace.tables = [TableTrace(ids=table.ids, importance=outcome.importance, keep=outcome.keep)]
    state.ids = table.chosen(outcome.keep).ids
    if not state.causal:
        state.survivors.append(outcome.keep.nonzero()[:, 1].view(state.batch, -1))
    elif following is None:
        _end_step(step, operands.key)
    return outcome.out


def _end_step(step: LayerStep, key: Tensor) -> None:
    """Chooses, among all tokens, those that the first layer of the next step attends."""
    state = step.state
    if state.is_prompt:
        step.normalize(state.table)
    keep = step.select("selection", state.table, step.token_count(0, key.shape[1]), key)
    state.ids = state.table.chosen(keep).ids


def _local(step: LayerStep, memory: LayerMemory, operands: Operands) -> Tensor:
    """Each layer, or each K/V head, keeps its table from step to step."""
    state, trace, algorithm = step.state, step.trace, step.algorithm
    head_keep = _count(operands.heads)
    if state.is_prompt and algorithm.scope == "layer":
        head_keep = step.head_count(trace.layer)
    outs, importances, keeps = [], [], []
    for index, table in enumerate(memory.tables):
        part, kv = operands, 0
        if algorithm.scope == "head":
            folded = len(memory.tables) == 1
            part, kv = (operands.folded(), 0) if folded else (operands.of_head(index), index)
            head_keep = part.heads.shape[1]
        count = step.token_count(trace.layer, operands.key.shape[1], kv) if state.causal else table.size
        later = state.is_prompt and algorithm.normalize  # the host has to normalize first
        outcome = step.run(
            part,
            table,
            token_keep=table.size if later else count,
            head_keep=head_keep,
            decay=0 if later else algorithm.decay,
        )
        table.importance, keep = outcome.importance, outcome.keep
        if later:
            step.normalize(table)
            keep = step.select(f"layer {trace.layer} selection", table, count, part.key)
        trace.tables += _traces(table, keep, state.batch)
        memory.tables[index] = table.chosen(keep) if state.causal else table
        outs.append(outcome.out.reshape(state.batch, -1, *outcome.out.shape[2:]))
        importances.append(outcome.head_importance.reshape(state.batch, -1))
        keeps.append(outcome.head_keep.reshape(state.batch, -1))
    memory.head_importance = trace.head_importance = torch.cat(importances, 1)
    memory.heads = trace.head_keep = torch.cat(keeps, 1)
    return torch.cat(outs, 1)


def _traces(table: Table, keep: Tensor, batch: int) -> list[TableTrace]:
    """A folded table as the tables of its K/V heads."""
    parts = [tensor.view(batch, -1, table.size) for tensor in (table.ids, table.importance, keep)]
    return [
        TableTrace(ids=ids, importance=importance, keep=kept)
        for ids, importance, kept in zip(*(part.unbind(1) for part in parts), strict=True)
    ]


def _count(heads: Tensor) -> int:
    """Surviving heads of a sequence; all have the same number."""
    return int(heads[0].sum())
