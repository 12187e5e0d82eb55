"""Attention of a transformers model by another system, or its own with a clock; what it cost is kept."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator
from typing import Any, Protocol

import torch
from torch import Tensor, nn
from torch.nn.functional import scaled_dot_product_attention

from sim.common.devices import wait
from sim.energy.activity import Activity
from sim.rivals.energy import blocks_of_work
from sim.rivals.heads import Heads
from sim.rivals.rival import Rival
from sim.rivals.work import Work

__all__ = ["ClockTap", "RivalTap", "Tap", "attended_by"]

_NAME = "spatten-rival"
"""Of the attention implementation, for transformers."""


class Tap(Protocol):
    """What computes a layer: query (B, H, q, D), key and value (B, K, n, D) -> (B, H, q, D)."""

    def whole(self, query: Tensor, key: Tensor, value: Tensor, scaling: float) -> Tensor:
        """All rows attend all keys."""
        ...

    def steps(self, query: Tensor, key: Tensor, value: Tensor, scaling: float) -> Tensor:
        """Steps of generation: the last row attends all keys, the one before it all but one, …"""
        ...


class RivalTap:
    """A system of the comparison."""

    def __init__(self, rival: Rival):
        self.rival = rival
        self.work = Work()
        self.blocks: dict[str, Activity] = {}

    def take(self, heads: Heads) -> Tensor:
        """Outputs (B, K, S, r, D) of heads, whose work is added."""
        done = self.rival.attend(heads)
        self.work.add(done.work)
        for name, activity in blocks_of_work(done.work, heads.dim, self.rival.bits).items():
            self.blocks.setdefault(name, Activity()).add(activity)
        return done.out

    def whole(self, query: Tensor, key: Tensor, value: Tensor, scaling: float) -> Tensor:
        batch, kv_heads, keys, dim = key.shape
        rows = query.double().reshape(batch, kv_heads, 1, -1, dim)
        lengths = torch.tensor([keys])
        return self._take(rows, key, value, lengths, scaling, generation=False).reshape(query.shape)

    def steps(self, query: Tensor, key: Tensor, value: Tensor, scaling: float) -> Tensor:
        batch, kv_heads, keys, dim = key.shape
        count = query.shape[2]
        # The query heads that share a K/V head are the rows of a step.
        rows = query.double().reshape(batch, kv_heads, -1, count, dim).transpose(2, 3)
        lengths = torch.arange(keys - count + 1, keys + 1)
        out = self._take(rows, key, value, lengths, scaling, generation=True)
        return out.transpose(2, 3).reshape(query.shape)

    def _take(
        self, rows: Tensor, key: Tensor, value: Tensor, lengths: Tensor, scaling: float, *, generation: bool
    ) -> Tensor:
        operands = {"query": rows, "key": key.double(), "value": value.double()}
        return self.take(Heads(**operands, lengths=lengths, scaling=scaling, generation=generation))


class ClockTap:
    """PyTorch's own attention in the model's floats; ``seconds`` is what it took on the device."""

    def __init__(self, device: str):
        self.device, self.seconds = device, 0.0

    def whole(self, query: Tensor, key: Tensor, value: Tensor, scaling: float) -> Tensor:
        return self._timed(query, key, value, scaling)

    def steps(self, query: Tensor, key: Tensor, value: Tensor, scaling: float) -> Tensor:
        parts, before = [], key.shape[2] - query.shape[2]
        for step in range(query.shape[2]):
            seen = slice(before + step + 1)
            parts.append(self._timed(query[:, :, step : step + 1], key[:, :, seen], value[:, :, seen], scaling))
        return torch.cat(parts, 2)

    def _timed(self, query: Tensor, key: Tensor, value: Tensor, scaling: float) -> Tensor:
        query, key, value = (tensor.contiguous().to(self.device) for tensor in (query, key, value))
        wait(self.device)
        start = time.perf_counter()
        out = scaled_dot_product_attention(query, key, value, scale=scaling, enable_gqa=True)
        wait(self.device)
        self.seconds += time.perf_counter() - start
        return out.cpu()


# In a model ----------------------------------------------------------------------------------------------------

_active: list[tuple[Tap, int]] = []
"""Taps of the models that run, with the tokens of the prompt (0: of an encoder)."""


@contextlib.contextmanager
def attended_by(model: Any, tap: Tap, context: int = 0) -> Iterator[None]:
    """In this context the attention of a transformers model is a tap's.

    context: tokens of the prompt, which float attention attends; the rows after them are steps of generation. 0: all
    rows attend all tokens (an encoder without padding).
    """
    from transformers import AttentionInterface
    from transformers.masking_utils import AttentionMaskInterface, sdpa_mask

    AttentionInterface.register(_NAME, _attention)
    AttentionMaskInterface.register(_NAME, sdpa_mask)
    before = model.config._attn_implementation
    _active.append((tap, context))
    try:
        model.set_attn_implementation(_NAME)
        yield
    finally:
        model.set_attn_implementation(before)
        _active.pop()


def _attention(
    module: nn.Module,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: Tensor | None,
    scaling: float | None = None,
    **kwargs: Any,
) -> tuple[Tensor, None]:
    """What transformers calls: query (B, H, q, D), key and value (B, K, n, D) -> (B, q, H, D)."""
    tap, context = _active[-1]
    factor = float(query.shape[-1] ** -0.5) if scaling is None else scaling
    if not context:
        out = tap.whole(query, key, value, factor)
    else:
        first, seen, weighed = (tensor[:, :, :context] for tensor in (query, key, value))
        out = scaled_dot_product_attention(first, seen, weighed, is_causal=True, scale=factor, enable_gqa=True)
        out = torch.cat((out, tap.steps(query[:, :, context:], key, value, factor).to(out.dtype)), 2)
    return out.to(value.dtype).transpose(1, 2).contiguous(), None
