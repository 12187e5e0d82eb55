"""One sequence of a layer as the RTL runs it: layer descriptors with their jobs, heads and token list."""

from __future__ import annotations

import dataclasses

from torch import Tensor

from golden.layers.job import Job
from golden.layers.layer import Chunk, Layer
from hdl.spec.config import Config

__all__ = ["LayerJob", "layer_jobs"]


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
    """unit of each surviving head's V, 16 bits"""
    head_importance: list[int]
    """of each surviving head before the layer, 32 bits"""
    ids: Tensor | None
    """(n,) token list to load with ``importance``; None: go on with the survivors on chip"""
    importance: Tensor | None
    """(n,) UQ16.16 of these tokens"""
    num_tokens: int
    """tokens in the list"""
    dense: bool = False
    """jobs attend rows 0, 1, … instead of the list's (importance counts by position all the same)"""
    select: bool = True
    """select tokens and heads at the end"""
    token_keep: int = 1
    """tokens that survive, 1 to ``num_tokens``"""
    head_keep: int = 1
    """query heads that survive"""
    pin_first: int = 0
    """first tokens that survive before all others"""
    pin_last: int = 0
    """last tokens that do"""
    decay: int = 0
    """as of :class:`golden.layers.layer.Layer`"""
    name: str = ""
    """for reports"""


def layer_jobs(layer: Layer, index: int, config: Config, *, resume: bool = False) -> list[LayerJob]:
    """Layer descriptors, one a chunk, of sequence ``index``; resume: its survivors are on chip already.

    A layer without queries is a selection only. A causal layer that does not resume begins with a descriptor which
    only loads the list, as its jobs attend rows by position.
    """
    if not layer.num_queries:
        return [_selection_only(layer, index, resume)]
    chunks = layer.chunks(config)
    parts = [_list_only(layer, index)] if layer.causal and not resume else []
    loads = not resume and not layer.causal
    for number, chunk in enumerate(chunks):
        last = number == len(chunks) - 1
        parts.append(_chunk(layer, index, chunk, load=loads and number == 0, select=layer.select and last))
    return parts


def _chunk(layer: Layer, index: int, chunk: Chunk, *, load: bool, select: bool) -> LayerJob:
    """The jobs of a chunk. load: with the token list."""
    groups = layer.live_groups(index)
    heads = layer.heads[index].nonzero().flatten().tolist()
    jobs, rank = [], 0
    for kv, places in groups:
        jobs.append(_job(layer, index, chunk, kv, places, rank))
        rank += len(places)
    return LayerJob(
        jobs=jobs,
        kv_heads=[kv for kv, _ in groups],
        head_ids=heads,
        head_weight=layer.head_weight[index, heads].tolist(),
        head_importance=layer.head_importance[index, heads].tolist(),
        ids=layer.ids[index] if load else None,
        importance=layer.importance[index] if load else None,
        num_tokens=layer.num_keys,
        dense=layer.causal,
        select=select,
        token_keep=min(layer.token_keep, layer.num_keys),
        head_keep=min(layer.head_keep, len(heads)),
        pin_first=layer.pin_first,
        pin_last=layer.pin_last,
        decay=layer.decay,
        name=layer.name,
    )


def _job(layer: Layer, index: int, chunk: Chunk, kv: int, places: list[int], rank: int) -> Job:
    """A K/V head with the query heads at ``places`` of its group, the first of which has the rank ``rank``."""
    settings = layer.settings
    return Job(
        query=layer.query[index, kv, places, chunk.start : chunk.stop].flatten(0, 1),
        key=layer.key[index, kv],
        value=layer.value[index, kv],
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
