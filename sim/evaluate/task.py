"""What is measured: items to run through a model, in batches of equal shape, and what their values say."""

from __future__ import annotations

import dataclasses
import functools
import hashlib
import json
import math
from collections.abc import Iterable, Iterator
from typing import Any, ClassVar

from golden.host.algorithm import Algorithm
from golden.host.session import Session
from hdl.spec.config import Config

__all__ = [
    "Item",
    "Task",
    "Value",
    "digest_of",
]

Value = Any
"""Of an item, as JSON has it: a cross-entropy, or an embedding."""


def digest_of(data: Any) -> str:
    """Name of a JSON value."""
    return hashlib.sha256(json.dumps(data, sort_keys=True).encode()).hexdigest()[:24]


@dataclasses.dataclass(frozen=True)
class Item:
    """What goes through a model as one sequence: token ids of a window, or a sentence."""

    data: list[int] | str
    tokens: int

    @functools.cached_property
    def key(self) -> str:
        return digest_of(self.data)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Task:
    """Items to run through a model, and what their values say."""

    KIND: ClassVar[str]
    CAUSAL: ClassVar[bool]

    model: str
    model_digest: str
    num_layers: int
    kv_heads: int
    config: Config
    part: str
    batch: int
    """most items at a time"""
    items: list[Item]
    """no two are equal"""
    context: int = 0
    """tokens of an item that are its prompt (perplexity)"""

    @property
    def identity(self) -> Any:
        """JSON that differs where the values of the items, or what is made of them, may differ."""
        raise NotImplementedError

    @property
    def meta(self) -> dict[str, Any]:
        """Settings of the task, for its results."""
        raise NotImplementedError

    def figures(self, dense: dict[str, Value], values: dict[str, Value]) -> dict[str, Any]:
        """Quality, out of the values by the items' keys."""
        raise NotImplementedError

    @staticmethod
    def values(model: Any, items: list[Item], context: int, session: Session | None) -> list[Value]:
        """Of a batch."""
        raise NotImplementedError

    def check(self, algorithm: Algorithm) -> None:
        """ValueError if the algorithm does not fit the model or the configuration."""
        Session(algorithm, self.config)
        algorithm.token_ratios(self.num_layers, self.kv_heads)
        algorithm.head_ratios(self.num_layers)
        if not self.CAUSAL:
            algorithm.check_encoder()

    def batches(self, items: Iterable[Item]) -> Iterator[list[Item]]:
        """Items of equally many tokens, at most ``batch`` of them; the longest first."""
        lengths: dict[int, list[Item]] = {}
        for item in items:
            lengths.setdefault(item.tokens, []).append(item)
        for _, group in sorted(lengths.items(), reverse=True):
            size = math.ceil(len(group) / math.ceil(len(group) / self.batch))  # no last batch of a few
            for start in range(0, len(group), size):
                yield group[start : start + size]
