"""The integer model of a whole layer: attention, importance and selection of all sequences and heads at once."""

from __future__ import annotations

import math
from collections.abc import Iterator

import torch
from torch import Tensor

from golden.datapath import cascade
from golden.datapath.attention import attend
from golden.layers.layer import Layer, Outcome
from golden.layers.long_layer import attended, run_long
from hdl.spec.config import Config

__all__ = ["run_layer"]

_SCORES = 2**18
"""Scores computed at once: what they need stays in the processor's cache."""


def run_layer(layer: Layer, config: Config) -> Outcome:
    """Attention of a layer with importance and cascade selection (paper sections III-A to III-D), all heads at once.

    Equals what :class:`golden.layers.cascade_state.CascadeState` makes of the sequences' descriptors one by one, and of
    a layer that is long what :func:`golden.layers.long_layer.run_long` does.
    """
    if layer.in_chains(config):
        return run_long(layer, config)
    out, flat, probs = _attention(layer, config)
    # Head importance counts the rows that token importance counts.
    total = out[..., min(layer.accumulate_from, layer.num_queries) :, :].abs().sum((-1, -2)).flatten(1)
    importance = cascade.accumulate(layer.importance, probs[:, None])
    keep, head_keep, head_importance = torch.ones_like(importance, dtype=torch.bool), layer.heads, layer.head_importance
    if layer.select:
        importance = cascade.decayed(importance, layer.decay)
        keep = cascade.select_tokens(importance, layer.token_keep, pin_first=layer.pin_first, pin_last=layer.pin_last)
        updated = cascade.head_update(head_importance, total, layer.head_weight)
        head_importance = torch.where(layer.heads, updated, head_importance)
        # Dead heads never win: they stand below every importance.
        head_keep = cascade.select(torch.where(layer.heads, head_importance, -1), layer.head_keep) & layer.heads
    return Outcome(
        out=out,
        flat=flat,
        importance=importance,
        keep=keep,
        head_importance=head_importance,
        head_keep=head_keep,
    )


def _attention(layer: Layer, config: Config) -> tuple[Tensor, Tensor, Tensor]:
    """Output (B, K, G, q, D), flat rows (B, K, G, q), and each token's probabilities summed (B, n), UQ16.16."""
    batch, kv_heads, group, _, _ = layer.query.shape
    key, value = attended(layer.key, layer.ids), attended(layer.value, layer.ids)
    query, scale, shift = (tensor.flatten(0, 1) for tensor in (layer.query, layer.scale, layer.shift))
    alive = layer.heads.view(-1, group)
    out = torch.zeros_like(query)
    flat = torch.zeros(query.shape[:-1], dtype=torch.bool)
    probs = torch.zeros(batch, layer.num_keys, dtype=torch.float64)
    for heads in _head_parts(layer):
        key_part, value_part = key[heads], value[heads]
        for start, stop, keys, value_keep, counts in _blocks(layer, config):
            done = attend(
                query[heads, :, start:stop].flatten(1, 2),
                key_part[:, :keys],
                value_part[:, :keys],
                _hidden(layer, start, stop, keys),
                key_lsb_bits=layer.settings.key_lsb_bits,
                value_bits=layer.settings.value_bits,
                scale=scale[heads],
                shift=shift[heads],
                flat_limit=layer.flat_limit,
                value_keep=value_keep,
                operand_width=config.operand_width,
            )
            live = alive[heads, :, None].expand(-1, -1, stop - start).flatten(1)
            out[heads, :, start:stop] = (done.out * live[..., None]).unflatten(1, (group, -1))
            flat[heads, :, start:stop] = (done.flat & live).unflatten(1, (group, -1))
            if counts:
                probs[:, :keys].index_add_(0, heads // kv_heads, (live[:, None].double() @ done.probs)[:, 0])
    return out.view_as(layer.query), flat.view(layer.query.shape[:-1]), probs.long()


def _head_parts(layer: Layer) -> Iterator[Tensor]:
    """Numbers, among those of all sequences, of the K/V heads with a surviving query head, in parts."""
    heads = layer.heads.view(-1, layer.group).any(-1).nonzero().flatten()
    most = max(1, _SCORES // max(1, layer.group * layer.num_queries * layer.num_keys))
    yield from heads.split(most)


def _blocks(layer: Layer, config: Config) -> Iterator[tuple[int, int, int, int, bool]]:
    """(start, stop, keys, V rows kept, accumulates): chunks in blocks; a causal block sees no key beyond its end."""
    most = max(1, _SCORES // (layer.group * layer.num_keys))
    for chunk in layer.chunks(config):
        value_keep = layer.settings.keep_count(chunk.keys)
        for start in range(chunk.start, chunk.stop, most):
            stop = min(chunk.stop, start + most)
            keys = chunk.keys - (chunk.stop - stop) if layer.causal else chunk.keys
            yield start, stop, keys, value_keep, chunk.accumulate


def _hidden(layer: Layer, start: int, stop: int, keys: int) -> Tensor | None:
    """(rows, keys) -inf where a row of the block does not attend a key, else 0."""
    if not layer.causal or stop - start == 1:
        return None
    shape = (stop - start, keys)
    return torch.full(shape, -math.inf, dtype=torch.float64).triu(keys - shape[0] + 1).repeat(layer.group, 1)
