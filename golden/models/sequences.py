"""What a session knows of its sequences, kept in the cache object that transformers hands from step to step.

A cache of transformers is moved, reordered (beams), cropped (drafts that were wrong), repeated and copied by its
methods. :func:`adopt` fills an empty one with layers whose methods do all that to the session's state.
"""

from __future__ import annotations

import copy
import dataclasses
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from transformers.cache_utils import Cache, CacheLayerMixin, DynamicCache

from golden.host.session import Session
from golden.host.state import SessionState

__all__ = ["Group", "Sequences", "adopt", "call_cache", "new_cache"]


@dataclasses.dataclass(kw_only=True)
class Group:
    """Sequences of a batch whose tokens stand in the same columns: one batch of the session."""

    rows: list[int]
    """of the batch"""
    columns: list[int]
    """those with a token, of the cache's; the others are padding"""
    state: SessionState | None = None
    """None: no token yet"""
    marks: dict[int, SessionState] = dataclasses.field(default_factory=dict)
    """number of tokens -> the state then, within the last call"""

    def select(self, places: Sequence[int], rows: Sequence[int]) -> Group:
        """The sequences at ``places`` in the group, any number of times each, as the rows ``rows`` of a batch."""
        chosen = torch.tensor(places)
        return Group(
            rows=list(rows),
            columns=list(self.columns),
            state=self.state and self.state.select(chosen),
            marks={tokens: state.select(chosen) for tokens, state in self.marks.items()},
        )

    def keep(self, length: int) -> None:
        """Only the tokens in the first ``length`` columns; ValueError if pruned ones would have to come back."""
        self.columns = [column for column in self.columns if column < length]
        tokens = len(self.columns)
        if self.state is None or tokens == self.state.tokens:
            return
        if tokens in self.marks:
            self.state = self.marks[tokens]
        else:
            self.state = self.state.before(tokens) if tokens else None
        self.marks = {count: state for count, state in self.marks.items() if count <= tokens}


class Sequences:
    """The sequences of a cache: in one group, or by the columns of their padding in several."""

    def __init__(self, session: Session):
        self.session = session
        self.length = 0
        self.groups: list[Group] = []

    def __deepcopy__(self, memo: dict[int, Any]) -> Sequences:
        """A copy of the sequences, of the same session."""
        twin = memo[id(self)] = Sequences(self.session)
        twin.length, twin.groups = self.length, copy.deepcopy(self.groups, memo)
        return twin

    @property
    def batch(self) -> int:
        """Rows of the batch."""
        return sum(len(group.rows) for group in self.groups)

    def saved(self) -> list[Group]:
        """The groups as they are now, whatever the next call does to them."""
        return [
            dataclasses.replace(group, columns=list(group.columns), marks=dict(group.marks)) for group in self.groups
        ]

    def extend(self, mask: Tensor) -> None:
        """New columns: mask (B, columns) bool of all columns so far and the new ones, False where padding stands.

        ValueError if it contradicts what came before.
        """
        if not self.groups:
            self.groups = [Group(rows=list(range(len(mask))), columns=[])]
        groups = []
        for group in self.groups:
            parts: dict[tuple[int, ...], list[int]] = {}
            for place, row in enumerate(group.rows):
                parts.setdefault(tuple(mask[row].nonzero().flatten().tolist()), []).append(place)
            for columns, places in parts.items():
                if list(columns[: len(group.columns)]) != group.columns or any(
                    column < self.length for column in columns[len(group.columns) :]
                ):
                    raise ValueError("attention_mask must hide of the cache's tokens what it hid when they came")
                part = group if len(parts) == 1 else group.select(places, [group.rows[place] for place in places])
                part.columns, part.marks = list(columns), {}
                groups.append(part)
        self.groups, self.length = groups, mask.shape[1]

    def select(self, rows: Sequence[int]) -> None:
        """The batch's rows ``rows``, any number of times each."""
        groups = []
        for group in self.groups:
            chosen = [(group.rows.index(old), new) for new, old in enumerate(rows) if old in group.rows]
            if chosen:
                groups.append(group.select(*zip(*chosen, strict=True)))
        self.groups = groups

    def crop(self, length: int) -> None:
        """Only the first ``length`` columns; ValueError if pruned tokens would have to come back."""
        for group in self.groups:
            group.keep(length)
        self.length = length

    def clear(self) -> None:
        """No sequences."""
        self.length, self.groups = 0, []


class _Layer(CacheLayerMixin):
    """One layer of a cache; the first one does to the sequences what is done to all."""

    is_sliding = False
    is_croppable = True
    supports_early_init = False

    def __init__(self, sequences: Sequences, index: int):
        super().__init__()
        self.sequences, self.index = sequences, index

    def lazy_initialization(self, key_states: Tensor, value_states: Tensor) -> None:
        raise ValueError("a cache of spatten must be used with the model and the session that filled it")

    def update(self, key_states: Tensor, value_states: Tensor, *args: Any, **kwargs: Any) -> tuple[Tensor, Tensor]:
        raise ValueError("a cache of spatten must be used with the model and the session that filled it")

    def get_mask_sizes(self, query_length: int) -> tuple[int, int]:
        return self.sequences.length + query_length, 0

    def get_seq_length(self) -> int:
        return self.sequences.length

    def get_max_length(self) -> int:
        return -1

    def offload(self) -> None:
        pass

    def prefetch(self) -> None:
        pass

    def reset(self) -> None:
        self.sequences.clear()

    def reorder_cache(self, beam_idx: Tensor) -> None:
        self.batch_select_indices(beam_idx)

    def crop(self, tokens_to_remove: int) -> None:
        if tokens_to_remove > 0:
            raise ValueError(f"crop must get the tokens to remove as a number of at most 0, not {tokens_to_remove}")
        if self.index == 0:
            self.sequences.crop(max(0, self.sequences.length + tokens_to_remove))

    def batch_repeat_interleave(self, repeats: int) -> None:
        if self.index == 0:
            self.sequences.select([row for row in range(self.sequences.batch) for _ in range(repeats)])

    def batch_select_indices(self, indices: Tensor) -> None:
        if self.index == 0:
            chosen = torch.as_tensor(indices)
            rows = torch.arange(self.sequences.batch)[chosen]  # also a mask, or negative numbers
            self.sequences.select(rows.tolist())


class _NewRows(CacheLayerMixin):
    """A layer of the cache that a model sees in one call: the rows so far are a number, the new ones go through."""

    is_sliding = False
    supports_early_init = False

    def __init__(self, tokens: int):
        super().__init__()
        self.tokens = tokens

    def lazy_initialization(self, key_states: Tensor, value_states: Tensor) -> None:
        pass

    def update(self, key_states: Tensor, value_states: Tensor, *args: Any, **kwargs: Any) -> tuple[Tensor, Tensor]:
        self.tokens += key_states.shape[-2]
        return key_states, value_states

    def get_mask_sizes(self, query_length: int) -> tuple[int, int]:
        return self.tokens + query_length, 0

    def get_seq_length(self) -> int:
        return self.tokens

    def get_max_length(self) -> int:
        return -1


def call_cache(tokens: int, layers: int) -> DynamicCache:
    """The cache that a model sees in one call, after so many tokens; its layers hand on the new rows."""
    return _filled(DynamicCache(), [_NewRows(tokens) for _ in range(layers)])


def new_cache(session: Session, layers: int) -> DynamicCache:
    """An empty cache for the sequences of a session."""
    return _of(DynamicCache(), Sequences(session), layers)


def adopt(cache: Cache, session: Session, layers: int) -> Sequences:
    """The sequences of a cache; an empty one is filled with layers of ours. ValueError if it is another's."""
    first = cache.layers[0] if cache.layers else None
    if isinstance(first, _Layer):
        whole = len(cache.layers) == layers and all(
            isinstance(layer, _Layer) and layer.sequences is first.sequences and layer.index == index
            for index, layer in enumerate(cache.layers)
        )
        if not whole:
            raise ValueError("a cache must have the layers that it was filled with: some were exchanged")
        if first.sequences.session is not session:
            raise ValueError("a cache must be used with the session that filled it, not with another")
        return first.sequences
    if type(cache) is not DynamicCache:
        raise ValueError(f"past_key_values must be a DynamicCache, not {type(cache).__name__}")
    if cache.get_seq_length():
        raise ValueError(
            f"past_key_values must begin empty, not with {cache.get_seq_length()} tokens of the model's own attention"
        )
    sequences = Sequences(session)
    _of(cache, sequences, layers)
    return sequences


def _of(cache: DynamicCache, sequences: Sequences, layers: int) -> DynamicCache:
    return _filled(cache, [_Layer(sequences, index) for index in range(layers)])


def _filled(cache: DynamicCache, layers: Sequence[CacheLayerMixin]) -> DynamicCache:
    cache.layers[:] = layers
    cache.layer_class_to_replicate = None
    return cache
