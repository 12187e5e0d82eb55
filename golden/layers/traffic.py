"""What a layer reads from memory and computes, against fp32 dense attention."""

from __future__ import annotations

import dataclasses

import torch

from golden.layers.layer import Layer, Outcome
from hdl.spec.config import Config
from hdl.spec.planes import PLANES
from hdl.spec.widths import ID_WIDTH

__all__ = ["Traffic", "multiply_accumulates", "traffic"]


@dataclasses.dataclass(kw_only=True)
class Traffic:
    """Bytes of Q, K and V rows, and the same of fp32 dense attention, each K/V head read once a pass."""

    query: float = 0.0
    """Q rows, those of flat rows twice"""
    key: float = 0.0
    """K rows of the MSB plane"""
    key_lsb: float = 0.0
    """K rows of the LSB plane"""
    value: float = 0.0
    """V rows"""
    requantized: float = 0.0
    """fp32 rows that the host read, and planes that it wrote, where K and V outgrew the range of their integers"""
    ids: float = 0.0
    """lists of the tokens attended, where those are not all"""
    scales: float = 0.0
    """fp32 constants of K's and V's integers, once a pass: units, and with transformations numbers of each channel"""
    dense: float = 0.0
    """4 bytes an element, no token or head pruned, every row once"""
    tokens: float = 0.0
    """of these, what is left without the pruned tokens"""
    heads: float = 0.0
    """and without the pruned heads"""
    values: float = 0.0
    """and without the V rows pruned locally"""
    passes: float = 0.0
    """and with K and V read once for each chunk of a prompt: all rows that are read, but in fp32 and of one plane"""

    @property
    def by_plane(self) -> dict[str, float]:
        """Bytes read of each of :data:`hdl.spec.planes.PLANES`."""
        return {plane: getattr(self, plane) for plane in PLANES}

    @property
    def read(self) -> float:
        """Bytes read of all planes."""
        return sum(self.by_plane.values())

    @property
    def total(self) -> float:
        """Bytes read, and those that making planes anew moved."""
        return self.read + self.requantized

    @property
    def everything(self) -> float:
        """The same, with ids and scales."""
        return self.total + self.ids + self.scales

    def add(self, other: Traffic) -> None:
        """Take up the bytes of ``other``."""
        for field in dataclasses.fields(self):
            setattr(self, field.name, getattr(self, field.name) + getattr(other, field.name))


def traffic(
    layer: Layer,
    outcome: Outcome,
    config: Config,
    *,
    dense_queries: int,
    dense_keys: int,
    dense_dim: int | None = None,
) -> Traffic:
    """Bytes of all sequences and the layer alone; dense attention would have so many query rows a head, and tokens.

    dense_dim: D of the heads, if the layer's rows are wider.

    A job reads Q of its rows (of flat ones again), K's MSB plane, the LSB plane if any of its rows is flat, and V: all
    rows, or the survivors' where one row is alone with its K/V head.
    """
    settings, dim = layer.settings, layer.dim
    batch = layer.query.shape[0]
    alive = layer.heads.view(batch, -1, layer.group)
    kv_alive = alive.any(-1)
    result = Traffic()
    rows = float(alive.sum()) * layer.num_queries + float(outcome.flat.sum())
    result.query = rows * dim * settings.query_bits / 8
    for chunk in layer.chunks(config):
        flat_jobs = outcome.flat[..., chunk.start : chunk.stop].flatten(2).any(-1) & kv_alive
        values = layer.values_kept(chunk, config) if layer.gathers else chunk.keys
        result.key += float(kv_alive.sum()) * chunk.keys * dim * settings.key_bits / 8
        result.key_lsb += float(flat_jobs.sum()) * chunk.keys * dim * settings.key_lsb_bits / 8
        result.value += float(kv_alive.sum()) * values * dim * settings.value_bits / 8
    result.ids = _id_bytes(layer)
    kv_heads, row = layer.key.shape[1], 4.0 * (dense_dim or dim)
    result.dense = row * batch * kv_heads * (layer.group * dense_queries + 2 * dense_keys)
    result.tokens = row * batch * kv_heads * (layer.group * layer.num_queries + 2 * layer.num_keys)
    queries, keys = float(alive.sum()) * layer.num_queries, float(kv_alive.sum()) * layer.num_keys
    values = float(kv_alive.sum()) * settings.keep_count(layer.num_keys) if layer.gathers else keys
    again = float(kv_alive.sum()) * sum(chunk.keys for chunk in layer.chunks(config)) - keys
    result.heads = row * (queries + 2 * keys)
    result.values = row * (queries + keys + values)
    result.passes = row * (queries + keys + values + 2 * again)
    return result


def _id_bytes(layer: Layer) -> float:
    """The list of each sequence, which a layer's K/V heads share; there is none if they attend all tokens."""
    return layer.ids.numel() * ID_WIDTH / 8 if layer.num_keys < layer.key.shape[2] else 0.0


def multiply_accumulates(layer: Layer, outcome: Outcome, config: Config) -> int:
    """Products of Q·K, of flat rows twice, and of prob·V, of all sequences and surviving heads."""
    heads = int(layer.heads.sum())
    total = 0
    for chunk in layer.chunks(config):
        keys = torch.full((chunk.stop - chunk.start,), chunk.keys)
        if layer.causal:
            keys = torch.arange(chunk.start, chunk.stop) + layer.num_keys - layer.num_queries + 1
        values = keys.clamp(max=layer.values_kept(chunk, config))
        again = outcome.flat[..., chunk.start : chunk.stop] * keys
        total += (heads * int((keys + values).sum()) + int(again.sum())) * layer.dim
    return total
