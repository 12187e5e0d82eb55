"""A layer of attention with its cascade selection: one description for golden model, RTL and traffic accounting.

A layer is a set of K/V heads that share one table of tokens (ids and importance), for a batch of sequences of equal
shape. The RTL runs it sequence by sequence as :class:`LayerJob`; :func:`run_layer` computes all of them at once.
"""

from __future__ import annotations

import dataclasses
import itertools
import math
from collections.abc import Iterator

import torch
from torch import Tensor

from golden.datapath import cascade
from golden.datapath.attention import attend
from golden.layers.job import Job, JobResult, run_job
from golden.layers.quantize import AttentionSettings
from hdl.spec.config import Config
from hdl.spec.planes import PLANES

__all__ = [
    "CascadeState",
    "Chunk",
    "Layer",
    "LayerJob",
    "Outcome",
    "Selection",
    "Traffic",
    "layer_jobs",
    "multiply_accumulates",
    "run_layer",
    "traffic",
]

_SCORES = 2**18
"""Scores computed at once: what they need stays in the processor's cache."""


@dataclasses.dataclass(kw_only=True)
class Layer:
    """B sequences; H query heads, in groups of G that share one of the K K/V heads (H = K * G). Integers are int64.

    A sequence attends the tokens ``ids``; K and V planes hold the rows of all tokens, by token id. With ``causal``,
    query i of q attends the first n - q + i + 1 of them (and ids are 0…n-1: a prompt is not pruned).
    """

    name: str
    query: Tensor
    """(B, K, G, q, D)"""
    key: Tensor
    """(B, K, tokens, D) of any integer type, as is V: they are by far the largest"""
    value: Tensor
    """(B, K, tokens, D)"""
    scale: Tensor
    """(B, K) mantissa of the dequantization scale, shared by a group"""
    shift: Tensor
    """(B, K)"""
    ids: Tensor
    """(B, n) ascending"""
    importance: Tensor
    """(B, n) UQ16.16 so far"""
    heads: Tensor
    """(B, H) bool: heads that survive; the same number in every sequence"""
    head_importance: Tensor
    """(B, H) so far"""
    head_weight: Tensor
    """(B, H) unit of the outputs, 16 bits"""
    settings: AttentionSettings
    flat_limit: int
    causal: bool = False
    accumulate_from: int = 0
    """first query whose probabilities count; q: none"""
    select: bool = True
    token_keep: int
    head_keep: int
    pin_first: int = 0
    pin_last: int = 0
    decay: int = 0

    @property
    def num_keys(self) -> int:
        return self.ids.shape[-1]

    @property
    def group(self) -> int:
        return self.query.shape[2]

    @property
    def num_queries(self) -> int:
        return self.query.shape[3]

    @property
    def dim(self) -> int:
        return self.query.shape[-1]

    @property
    def gathers(self) -> bool:
        """One row a K/V head: its survivors' V rows only are read (with more rows, all V rows are)."""
        return self.num_queries == 1 and self.group == 1

    def live_groups(self, index: int) -> list[tuple[int, list[int]]]:
        """(K/V head, places of the surviving query heads in its group) of a sequence, those with any."""
        alive = self.heads[index].view(-1, self.group)
        return [(kv, row.nonzero().flatten().tolist()) for kv, row in enumerate(alive) if bool(row.any())]

    def chunks(self, config: Config) -> list[Chunk]:
        """Queries in parts whose rows, of a whole group, the machine takes in one job."""
        most = max(1, config.max_tokens // self.group)
        edges = {0, self.num_queries, min(self.accumulate_from, self.num_queries)}
        bounds = sorted(edges)
        parts = []
        for first, last in itertools.pairwise(bounds):
            for start in range(first, last, most):
                stop = min(last, start + most)
                keys = self.num_keys - self.num_queries + stop if self.causal else self.num_keys
                parts.append(Chunk(start, stop, keys, start >= self.accumulate_from))
        return parts


@dataclasses.dataclass(frozen=True)
class Chunk:
    """Queries start…stop-1 of a layer; they attend at most the first ``keys`` tokens."""

    start: int
    stop: int
    keys: int
    accumulate: bool


@dataclasses.dataclass(kw_only=True)
class Outcome:
    """Results of a layer; outputs of pruned heads are 0."""

    out: Tensor
    """(B, K, G, q, D) Q(operand_width).8"""
    flat: Tensor
    """(B, K, G, q) bool"""
    importance: Tensor
    """(B, n) after the layer, decayed if selected"""
    keep: Tensor
    """(B, n) bool: tokens that survive"""
    head_importance: Tensor
    """(B, H)"""
    head_keep: Tensor
    """(B, H) bool"""


def run_layer(layer: Layer, config: Config) -> Outcome:
    """The integer model of a layer, all sequences and heads at once."""
    batch, kv_heads, group, queries, _ = layer.query.shape
    key, value = _attended(layer.key, layer.ids), _attended(layer.value, layer.ids)
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
    out, flat = out.view_as(layer.query), flat.view(layer.query.shape[:-1])
    # Head importance counts the rows that token importance counts.
    total = out[..., min(layer.accumulate_from, queries) :, :].abs().sum((-1, -2)).flatten(1)
    importance = cascade.accumulate(layer.importance, probs[:, None].long())
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


def _attended(plane: Tensor, ids: Tensor) -> Tensor:
    """(B · K, n, D) the rows of a plane (B, K, tokens, D) that are attended."""
    if ids.shape[1] < plane.shape[2]:
        pairs = zip(plane, ids, strict=True)
        plane = torch.stack([rows.index_select(1, chosen) for rows, chosen in pairs])
    return plane.flatten(0, 1)


def _head_parts(layer: Layer) -> Iterator[Tensor]:
    """Numbers, among those of all sequences, of the K/V heads with a surviving query head, in parts."""
    heads = layer.heads.view(-1, layer.group).any(-1).nonzero().flatten()
    most = max(1, _SCORES // max(1, layer.group * layer.num_queries * layer.num_keys))
    yield from heads.split(most)


def _blocks(layer: Layer, config: Config) -> Iterator[tuple[int, int, int, int, bool]]:
    """(start, stop, keys, V rows kept, accumulates): chunks in blocks; a causal block sees no key behind its end."""
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


# Traffic -------------------------------------------------------------------------------------------------------


@dataclasses.dataclass(kw_only=True)
class Traffic:
    """Bytes of Q, K and V rows read, and the same of fp32 dense attention, each K/V head read once a pass."""

    query: float = 0.0
    key: float = 0.0
    key_lsb: float = 0.0
    value: float = 0.0
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
    def total(self) -> float:
        """Bytes read of all planes."""
        return sum(self.by_plane.values())

    def add(self, other: Traffic) -> None:
        for field in dataclasses.fields(self):
            setattr(self, field.name, getattr(self, field.name) + getattr(other, field.name))


def traffic(layer: Layer, outcome: Outcome, config: Config, *, dense_queries: int, dense_keys: int) -> Traffic:
    """Bytes of all sequences; dense attention would have so many query rows a head, and tokens.

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
        values = settings.keep_count(chunk.keys) if layer.gathers else chunk.keys
        result.key += float(kv_alive.sum()) * chunk.keys * dim * settings.key_bits / 8
        result.key_lsb += float(flat_jobs.sum()) * chunk.keys * dim * settings.key_lsb_bits / 8
        result.value += float(kv_alive.sum()) * values * dim * settings.value_bits / 8
    kv_heads, row = layer.key.shape[1], 4.0 * dim
    result.dense = row * batch * kv_heads * (layer.group * dense_queries + 2 * dense_keys)
    result.tokens = row * batch * kv_heads * (layer.group * layer.num_queries + 2 * layer.num_keys)
    queries, keys = float(alive.sum()) * layer.num_queries, float(kv_alive.sum()) * layer.num_keys
    values = float(kv_alive.sum()) * settings.keep_count(layer.num_keys) if layer.gathers else keys
    again = float(kv_alive.sum()) * sum(chunk.keys for chunk in layer.chunks(config)) - keys
    result.heads = row * (queries + 2 * keys)
    result.values = row * (queries + keys + values)
    result.passes = row * (queries + keys + values + 2 * again)
    return result


def multiply_accumulates(layer: Layer, outcome: Outcome, config: Config) -> int:
    """Products of Q·K, of flat rows twice, and of prob·V, of all sequences and surviving heads."""
    heads = int(layer.heads.sum())
    total = 0
    for chunk in layer.chunks(config):
        keys = torch.full((chunk.stop - chunk.start,), chunk.keys)
        if layer.causal:
            keys = torch.arange(chunk.start, chunk.stop) + layer.num_keys - layer.num_queries + 1
        values = keys.clamp(max=layer.settings.keep_count(chunk.keys))
        again = outcome.flat[..., chunk.start : chunk.stop] * keys
        total += (heads * int((keys + values).sum()) + int(again.sum())) * layer.dim
    return total


# One sequence, as the RTL runs it ------------------------------------------------------------------------------


@dataclasses.dataclass(kw_only=True)
class LayerJob:
    """One layer descriptor with its head entries and, if ``ids`` is given, its token list."""

    jobs: list[Job]
    """by K/V head, ascending; ``head`` is the rank of its first query head, ``group`` how many survive of its group"""
    kv_heads: list[int]
    """number of each job's K/V head"""
    head_ids: list[int]
    """numbers of the surviving query heads, in the order of their ranks"""
    head_weight: list[int]
    head_importance: list[int]
    ids: Tensor | None
    """(n,) token list to load with ``importance``; None: go on with the survivors on chip"""
    importance: Tensor | None
    num_tokens: int
    """tokens in the list"""
    dense: bool = False
    """jobs attend rows 0, 1, … instead of the list's (importance counts by position all the same)"""
    select: bool = True
    token_keep: int = 1
    head_keep: int = 1
    pin_first: int = 0
    pin_last: int = 0
    decay: int = 0
    name: str = ""


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
    head_importance: Tensor
    """(heads,)"""
    head_keep: Tensor
    """(heads,) bool"""


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


def layer_jobs(layer: Layer, index: int, config: Config, *, resume: bool = False) -> list[LayerJob]:
    """Layer descriptors, one a chunk, of sequence ``index``; resume: its survivors are on chip already.

    A layer without queries is a selection only.
    """
    if not layer.num_queries:
        return [_selection_only(layer, index, resume)]
    groups = layer.live_groups(index)
    heads = layer.heads[index].nonzero().flatten().tolist()
    settings = layer.settings
    chunks = layer.chunks(config)
    parts = []
    if layer.causal and not resume:  # its jobs attend rows by position
        parts.append(_list_only(layer, index))
    for number, chunk in enumerate(chunks):
        jobs, rank = [], 0
        for kv, places in groups:
            query = layer.query[index, kv, places, chunk.start : chunk.stop].flatten(0, 1)
            jobs.append(
                Job(
                    query=query,
                    key=layer.key[index, kv].long(),
                    value=layer.value[index, kv].long(),
                    ids=None if layer.causal else layer.ids[index],
                    keys=chunk.keys if layer.causal else None,
                    query_bits=settings.query_bits,
                    key_bits=settings.key_bits,
                    key_lsb_bits=settings.key_lsb_bits,
                    value_bits=settings.value_bits,
                    scale=int(layer.scale[index, kv]),
                    shift=int(layer.shift[index, kv]),
                    flat_limit=layer.flat_limit,
                    value_keep=settings.keep_count(chunk.keys),
                    causal=layer.causal,
                    generation=layer.gathers,
                    group=len(places),
                    head=rank,
                    accumulate=chunk.accumulate,
                    name=f"{layer.name} head {kv * layer.group + places[0]}",
                )
            )
            rank += len(places)
        last = number == len(chunks) - 1
        load = number == 0 and not resume and not layer.causal
        parts.append(
            LayerJob(
                jobs=jobs,
                kv_heads=[kv for kv, _ in groups],
                head_ids=heads,
                head_weight=layer.head_weight[index, heads].tolist(),
                head_importance=layer.head_importance[index, heads].tolist(),
                ids=layer.ids[index] if load else None,
                importance=layer.importance[index] if load else None,
                num_tokens=layer.num_keys,
                dense=layer.causal,
                select=layer.select and last,
                token_keep=min(layer.token_keep, layer.num_keys),
                head_keep=min(layer.head_keep, len(heads)),
                pin_first=layer.pin_first,
                pin_last=layer.pin_last,
                decay=layer.decay,
                name=layer.name,
            )
        )
    return parts


def _list_only(layer: Layer, index: int) -> LayerJob:
    """Loads the token list of a sequence and nothing else."""
    return LayerJob(
        jobs=[],
        kv_heads=[],
        head_ids=[],
        head_weight=[],
        head_importance=[],
        ids=layer.ids[index],
        importance=layer.importance[index],
        num_tokens=layer.num_keys,
        select=False,
        name=f"{layer.name} list",
    )


def _selection_only(layer: Layer, index: int, resume: bool) -> LayerJob:
    """Selects among the tokens of a list, and computes nothing."""
    return dataclasses.replace(
        _list_only(layer, index),
        ids=None if resume else layer.ids[index],
        importance=None if resume else layer.importance[index],
        select=True,
        token_keep=min(layer.token_keep, layer.num_keys),
        pin_first=layer.pin_first,
        pin_last=layer.pin_last,
        decay=layer.decay,
        name=layer.name,
    )
