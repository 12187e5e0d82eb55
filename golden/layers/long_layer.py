"""A layer of more tokens than a job takes: each head is a chain of jobs, and nothing is selected (docs/chains.md)."""

from __future__ import annotations

import dataclasses
import math

import torch
from torch import Tensor

from golden.datapath.attention import attend_part
from golden.datapath.chain import ChainSums, finish
from golden.layers.job import Job
from golden.layers.layer import Chunk, Layer, Outcome
from hdl.spec.config import Config

__all__ = ["Chain", "attended", "chains", "check_long", "long_outcome", "run_long"]


_SCORES = 2**19
"""Scores computed at once: what they need stays in the processor's cache."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Chain:
    """The jobs of a chunk of queries of a K/V head's group, in order."""

    sequence: int
    """of the layer"""
    kv_head: int
    """of the layer"""
    places: list[int]
    """of the surviving query heads in their group"""
    chunk: Chunk
    """queries of the group"""
    jobs: list[Job]
    """the last one has the outputs"""


def check_long(layer: Layer, config: Config) -> None:
    """ValueError if a layer is too long for a job, and cannot be run as chains."""
    if not config.chained:
        limit = config.region_keys(layer.dim)
        raise ValueError(f"tokens that a layer attends must be at most {limit}, not {layer.num_keys}")
    if layer.settings.key_lsb_bits:
        raise ValueError(f"key_lsb_bits must be 0 with more than {config.region_keys(layer.dim)} tokens")
    if layer.token_keep < layer.num_keys or layer.head_keep < int(layer.heads[0].sum()):
        raise ValueError(f"token_keep and head_keep must be 1 with more than {config.region_keys(layer.dim)} tokens")


def chains(layer: Layer, config: Config) -> list[Chain]:
    """The chains of all sequences, in the order in which the accelerator gets their jobs."""
    check_long(layer, config)
    return [
        Chain(
            sequence=index, kv_head=kv, places=places, chunk=chunk, jobs=_jobs(layer, index, kv, places, chunk, config)
        )
        for index in range(len(layer.ids))
        for chunk in layer.chunks(config)
        for kv, places in layer.live_groups(index)
    ]


def _jobs(layer: Layer, index: int, kv: int, places: list[int], chunk: Chunk, config: Config) -> list[Job]:
    settings, ids = layer.settings, layer.ids[index]
    key, value = (attended(plane[index : index + 1, kv : kv + 1], ids[None])[0] for plane in (layer.key, layer.value))
    query = layer.query[index, kv, places, chunk.start : chunk.stop].flatten(0, 1)
    parts = layer.parts(chunk, config)
    jobs = []
    for number, (first, end) in enumerate(parts):
        value_keep = settings.keep_count(end - first)
        jobs.append(
            Job(
                query=query,
                key=key[first:end],
                value=value[first:end],
                query_bits=settings.query_bits,
                key_bits=settings.key_bits,
                value_bits=settings.value_bits,
                scale=int(layer.scale[index, kv]),
                shift=int(layer.shift[index, kv]),
                value_keep=value_keep,
                causal=layer.causal and number == len(parts) - 1,
                generation=layer.gathers and value_keep < end - first,
                group=len(places),
                skew=(kv + number) % config.num_channels,  # the Q row, read for each job, burdens every channel
                joins=number > 0,
                more=number < len(parts) - 1,
                name=f"{layer.name} head {kv * layer.group + places[0]} keys {first} to {end - 1}",
            )
        )
    return jobs


def attended(plane: Tensor, ids: Tensor) -> Tensor:
    """(B · K, n, D) the rows of a plane (B, K, tokens, D) that are attended."""
    if ids.shape[1] < plane.shape[2]:
        pairs = zip(plane, ids, strict=True)
        plane = torch.stack([rows.index_select(1, chosen) for rows, chosen in pairs])
    return plane.flatten(0, 1)


def run_long(layer: Layer, config: Config) -> Outcome:
    """The integer model of a long layer, all heads at once; importance stays as it is."""
    check_long(layer, config)
    work = _Work(
        layer=layer,
        config=config,
        query=layer.query.flatten(0, 1),
        key=attended(layer.key, layer.ids),
        value=attended(layer.value, layer.ids),
    )
    chunks = layer.chunks(config)
    rows = _SCORES // (len(work.query) * layer.group * config.part_keys(layer.dim))
    per_block = max(1, rows // (chunks[0].stop if chunks else 1))
    out = torch.zeros_like(work.query)
    for first in range(0, len(chunks), per_block):
        block = chunks[first : first + per_block]
        out[:, :, block[0].start : block[-1].stop] = work.outputs(block)
    alive = layer.heads.view(-1, layer.group)
    return long_outcome(layer, (out * alive[:, :, None, None]).view_as(layer.query))


@dataclasses.dataclass(frozen=True, kw_only=True)
class _Work:
    """A layer with the planes that are attended, heads of all sequences in one dimension h."""

    layer: Layer
    config: Config
    query: Tensor
    """(h, G, q, D)"""
    key: Tensor
    """(h, n, D), as is V"""
    value: Tensor
    """(h, n, D)"""

    def outputs(self, chunks: list[Chunk]) -> Tensor:
        """(h, G, rows, D) of chunks that follow each other. Rows that share a job's keys are computed at once."""
        begin = chunks[0].start
        parts = [self.layer.parts(chunk, self.config) for chunk in chunks]
        shape = (*self.query.shape[:2], chunks[-1].stop - begin)
        sums = ChainSums(
            **{name: torch.zeros(shape, dtype=torch.int64) for name in ("origin", "below", "exp_sum")},
            acc=torch.zeros(*shape, self.layer.dim, dtype=torch.int64),
        )
        for number in range(len(parts[-1]) - 1):
            # Later rows of a prompt have more jobs: those that go on after this one are the last ones.
            going = next(chunk for chunk, edges in zip(chunks, parts, strict=True) if len(edges) > number + 1)
            rows = slice(going.start - begin, None)
            first, end = parts[-1][number]
            query = self.query[:, :, going.start : chunks[-1].stop]
            done = self._attend(query, first, end, None, _rows(sums, rows) if number else None)
            for name, tensor in vars(sums).items():
                tensor[:, :, rows] = getattr(done, name).unflatten(1, (shape[1], -1))
        out = torch.zeros(*shape, self.layer.dim, dtype=torch.int64)
        for chunk, edges in zip(chunks, parts, strict=True):
            rows, (first, end) = slice(chunk.start - begin, chunk.stop - begin), edges[-1]
            query, hidden = self.query[:, :, chunk.start : chunk.stop], _hidden(self.layer, chunk, first, end)
            done = self._attend(query, first, end, hidden, _rows(sums, rows) if len(edges) > 1 else None)
            out[:, :, rows] = finish(done, self.config.operand_width).unflatten(1, (shape[1], -1))
        return out

    def _attend(
        self, query: Tensor, first: int, end: int, hidden: Tensor | None, before: ChainSums | None
    ) -> ChainSums:
        """The sums with one more job, of rows (h, G, rows, D) on the tokens first…end-1."""
        return attend_part(
            query.flatten(1, 2),
            self.key[:, first:end],
            self.value[:, first:end],
            hidden,
            before,
            value_bits=self.layer.settings.value_bits,
            scale=self.layer.scale.flatten(),
            shift=self.layer.shift.flatten(),
            value_keep=self.layer.settings.keep_count(end - first),
            operand_width=self.config.operand_width,
        ).sums


def _rows(sums: ChainSums, rows: slice) -> ChainSums:
    """(h, G · rows, …) of some rows."""
    return ChainSums(**{name: tensor[:, :, rows].flatten(1, 2) for name, tensor in vars(sums).items()})


def _hidden(layer: Layer, chunk: Chunk, first: int, end: int) -> Tensor | None:
    """(rows, keys) -inf where a row does not attend a token of the last job, else 0."""
    rows = chunk.stop - chunk.start
    if not layer.causal or rows == 1:
        return None
    shape = (rows, end - first)
    return torch.full(shape, -math.inf, dtype=torch.float64).triu(shape[1] - rows + 1).repeat(layer.group, 1)


def long_outcome(layer: Layer, out: Tensor) -> Outcome:
    """Outputs (B, K, G, q, D) of a layer in which nothing is flat, selected or counted."""
    return Outcome(
        out=out,
        flat=torch.zeros(layer.query.shape[:-1], dtype=torch.bool),
        importance=layer.importance,
        keep=torch.ones_like(layer.ids, dtype=torch.bool),
        head_importance=layer.head_importance,
        head_keep=layer.heads,
    )
