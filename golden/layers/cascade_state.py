"""The golden twin of the chip's tables: what runs of consecutive layer descriptors leave in them."""

from __future__ import annotations

import dataclasses

import torch
from torch import Tensor

from golden.datapath import cascade
from golden.layers.job import JobResult, run_job
from golden.layers.layer_job import LayerJob
from hdl.spec.config import Config

__all__ = ["CascadeState", "Selection", "Survivors"]


@dataclasses.dataclass(kw_only=True)
class Selection:
    """What a selection reports."""

    ids: Tensor
    """(n,) tokens before the selection"""
    importance: Tensor
    """(n,)"""
    keep: Tensor
    """(n,) bool"""
    head_ids: list[int]
    """numbers of the heads before the selection, ascending"""
    head_importance: Tensor
    """(heads,)"""
    head_keep: Tensor
    """(heads,) bool"""

    def survivors(self) -> Survivors:
        """Those of its tokens and heads that it keeps."""
        ranks = self.head_keep.nonzero().flatten().tolist()
        return Survivors(
            ids=self.ids[self.keep],
            importance=self.importance[self.keep],
            head_ids=[self.head_ids[rank] for rank in ranks],
            head_importance=self.head_importance[ranks],
        )


@dataclasses.dataclass(kw_only=True)
class Survivors:
    """What some engines tell of a selection: those that survive, and nothing of the others."""

    ids: Tensor
    """(n,) tokens, ascending"""
    importance: Tensor
    """(n,)"""
    head_ids: list[int]
    """numbers of the heads, ascending"""
    head_importance: Tensor
    """(heads,)"""


class CascadeState:
    """The tables on chip as the golden model has them: tokens with their importance, and Σ abs(out) of the heads."""

    def __init__(self) -> None:
        self.ids = torch.zeros(0, dtype=torch.int64)
        self.importance = torch.zeros(0, dtype=torch.int64)
        self.head_totals: dict[int, int] = {}

    def run(self, layer: LayerJob, config: Config) -> tuple[list[JobResult], Selection | None]:
        """One layer job after the other, as the layer walker does it."""
        if layer.ids is not None and layer.importance is not None:
            self.ids, self.importance, self.head_totals = layer.ids.clone(), layer.importance.clone(), {}
        results = []
        for job in layer.jobs:
            listed = job if layer.dense else dataclasses.replace(job, ids=self.ids)
            result = run_job(listed, config)
            results.append(result)
            if job.accumulate:
                self.importance[: listed.num_keys] = cascade.accumulate(
                    self.importance[: listed.num_keys], result.probs
                )
                for place, total in enumerate(result.abs_sum.view(job.group, -1).sum(-1).tolist()):
                    rank = job.head + place
                    self.head_totals[rank] = self.head_totals.get(rank, 0) + total
        return results, self._select(layer) if layer.select else None

    def _select(self, layer: LayerJob) -> Selection:
        importance = cascade.decayed(self.importance, layer.decay)
        keep = cascade.select_tokens(importance, layer.token_keep, pin_first=layer.pin_first, pin_last=layer.pin_last)
        totals = torch.tensor([self.head_totals.get(rank, 0) for rank in range(len(layer.head_ids))], dtype=torch.int64)
        before = torch.tensor(layer.head_importance, dtype=torch.int64)
        weight = torch.tensor(layer.head_weight, dtype=torch.int64)
        heads = cascade.head_update(before, totals, weight)
        head_keep = cascade.select(heads, layer.head_keep) if len(heads) else torch.zeros(0, dtype=torch.bool)
        ids = self.ids
        self.ids, self.importance = ids[keep], importance[keep]
        for rank in range(len(layer.head_ids)):
            self.head_totals.pop(rank, None)
        return Selection(
            ids=ids,
            importance=importance,
            keep=keep,
            head_ids=layer.head_ids,
            head_importance=heads,
            head_keep=head_keep,
        )
