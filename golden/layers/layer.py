"""A layer of attention with its cascade selection: one description for golden model, RTL and traffic accounting.

A layer is a set of K/V heads that share one table of tokens (ids and importance), for a batch of sequences of equal
shape. The RTL runs it sequence by sequence as :class:`golden.layers.layer_job.LayerJob`;
:func:`golden.layers.run_layer.run_layer` computes all of them at once.
"""

from __future__ import annotations

import dataclasses
import itertools

from torch import Tensor

from golden.layers.quantize import AttentionSettings
from hdl.spec.config import Config

__all__ = ["Chunk", "Layer", "Outcome"]


@dataclasses.dataclass(kw_only=True)
class Layer:
    """B sequences; H query heads, in groups of G that share one of the K K/V heads (H = K * G). Integers are int64.

    A sequence attends the tokens ``ids``; K and V planes hold the rows of all tokens, by token id. With ``causal``,
    query i of q attends the first n - q + i + 1 of them (and ids are 0…n-1: a prompt is not pruned).
    """

    name: str
    """for reports, such as ``layer 3``"""
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
    """bit widths and local pruning of V"""
    flat_limit: int
    """exp sum, UQ.16, above which a row is flat; 0 if K is static"""
    causal: bool = False
    """a prompt"""
    accumulate_from: int = 0
    """first query whose probabilities count; q: none"""
    select: bool = True
    """select tokens and heads when all queries are done"""
    token_keep: int
    """tokens that survive, at least 1; n and more: all"""
    head_keep: int
    """query heads that survive, at least 1"""
    pin_first: int = 0
    """first tokens that survive before all others"""
    pin_last: int = 0
    """last tokens that do"""
    decay: int = 0
    """a selection takes 1/2**decay of each token's importance away; 0: nothing"""

    @property
    def num_keys(self) -> int:
        """Tokens that are attended, n."""
        return self.ids.shape[-1]

    @property
    def group(self) -> int:
        """Query heads that share a K/V head, G."""
        return self.query.shape[2]

    @property
    def num_queries(self) -> int:
        """Queries of each query head, q."""
        return self.query.shape[3]

    @property
    def dim(self) -> int:
        """Elements of a row, D."""
        return self.query.shape[-1]

    @property
    def gathers(self) -> bool:
        """One row a K/V head: its survivors' V rows only are read (with more rows, all V rows are)."""
        return self.num_queries == 1 and self.group == 1

    def live_groups(self, index: int) -> list[tuple[int, list[int]]]:
        """(K/V head, places of the surviving query heads in its group) of a sequence, those with any."""
        alive = self.heads[index].view(-1, self.group).tolist()
        places = [[place for place, lives in enumerate(row) if lives] for row in alive]
        return [(kv, mine) for kv, mine in enumerate(places) if mine]

    def is_long(self, config: Config) -> bool:
        """Whether more tokens are attended than a job takes."""
        return self.num_keys > config.region_keys(self.dim)

    def in_chains(self, config: Config) -> bool:
        """Whether a head is a chain of jobs."""
        return config.chained and self.is_long(config)

    def parts(self, chunk: Chunk, config: Config) -> list[tuple[int, int]]:
        """(first, end) of the tokens of each job of a chunk; every row attends one of the last job's at least."""
        if not self.in_chains(config):
            return [(0, chunk.keys)]
        least = chunk.keys - (chunk.stop - chunk.start - 1 if self.causal else 0)  # tokens of the first row
        firsts = list(range(0, least, config.part_keys(self.dim)))
        return list(itertools.pairwise([*firsts, chunk.keys]))

    def values_kept(self, chunk: Chunk, config: Config) -> int:
        """V rows that a query of a chunk keeps: a share of those of each job."""
        return sum(self.settings.keep_count(end - first) for first, end in self.parts(chunk, config))

    def chunks(self, config: Config) -> list[Chunk]:
        """Queries in parts whose rows, of a whole group, the machine takes in one job."""
        most = max(1, (config.chain_rows if self.in_chains(config) else config.max_tokens) // self.group)
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
    """first query"""
    stop: int
    """query after the last"""
    keys: int
    """tokens attended, from the first on"""
    accumulate: bool
    """its probabilities and outputs count as importance"""


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
