"""A batch for one process: what it is told, what it answers, and the computation itself."""

from __future__ import annotations

import dataclasses
import functools
import hashlib
import statistics
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any

from golden.host.algorithm import Algorithm
from golden.host.session import Session
from golden.host.traces import LayerTrace, Totals
from golden.models.load import CausalModel, SentenceModel
from hdl.spec.config import Config
from sim.common.threads import one_thread
from sim.evaluate.sources import point_sources
from sim.evaluate.task import Item, Task, Value

__all__ = [
    "Answer",
    "Run",
    "Unit",
    "WorkerError",
    "compute",
    "compute_here",
    "forget_model",
    "load_model",
]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Unit:
    """A batch of items of equally many tokens, for one process; algorithm None: the model's own attention."""

    task: type[Task]
    model: str
    model_digest: str
    sources: str
    config: Config
    algorithm: Algorithm | None
    context: int
    items: list[Item]
    journal: str
    """name of the file that the answer belongs to"""


@dataclasses.dataclass(kw_only=True)
class Answer:
    """What a unit gave, as JSON has it."""

    keys: list[str]
    """of the items"""
    values: list[Value]
    """of the items"""
    prompt: dict[str, Any]
    """:class:`golden.host.traces.Totals`"""
    generation: dict[str, Any]
    """the same"""
    layers: list[list[float]]
    """:attr:`_LayerCounts.sums`"""
    seconds: float
    """of this process"""


Run = Callable[[Sequence[Unit]], Iterable[tuple[Unit, Answer]]]
"""Computes units in any order, here or on other processes."""


class WorkerError(RuntimeError):
    """A process that computes is not like the one that asks, or is gone."""


def compute(unit: Unit) -> Answer:
    """The unit's answer; WorkerError if this process has another model or other sources than the one that asks."""
    begin = time.perf_counter()
    model, digest = load_model(unit.task, unit.model)
    if (digest, point_sources()) != (unit.model_digest, unit.sources):
        what = "sources" if digest == unit.model_digest else f"weights of {unit.model!r}"
        raise WorkerError(f"a worker has other {what} than this process")
    counts, session = _LayerCounts(unit.task.CAUSAL), None
    if unit.algorithm is not None:
        session = Session(unit.algorithm, unit.config, on_layer=lambda trace: counts.add(trace, tokens()))

    def tokens() -> int:
        return session.num_tokens if session else 0

    with one_thread():
        values = unit.task.values(model, unit.items, unit.context, session)
    return Answer(
        keys=[item.key for item in unit.items],
        values=values,
        prompt=dataclasses.asdict(session.prompt if session else Totals()),
        generation=dataclasses.asdict(session.generation if session else Totals()),
        layers=counts.sums,
        seconds=time.perf_counter() - begin,
    )


def compute_here(units: Sequence[Unit]) -> Iterator[tuple[Unit, Answer]]:
    """A :data:`Run` in this process."""
    for unit in units:
        yield unit, compute(unit)


class _LayerCounts:
    """What each layer attended: of a language model in the steps of generation."""

    def __init__(self, causal: bool):
        self.causal = causal
        self.sums: list[list[float]] = []
        """by layer: tokens attended, tokens so far, heads computed, and how many (sequences and steps) were added"""

    def add(self, trace: LayerTrace, tokens: int) -> None:
        if self.causal and not trace.step:
            return
        while len(self.sums) <= trace.layer:
            self.sums.append([0.0, 0.0, 0.0, 0.0])
        batch = len(trace.heads)
        attended = statistics.fmean(table.ids.shape[1] for table in trace.tables)
        new = (batch * attended, batch * tokens, float(trace.heads.sum()), batch)
        self.sums[trace.layer] = [old + more for old, more in zip(self.sums[trace.layer], new, strict=True)]


@functools.lru_cache(maxsize=1)
def load_model(task: type[Task], name: str) -> tuple[Any, str]:
    """A task's model, and the digest of its configuration and weights; ModelError if it is not of the task's kind."""
    model = (CausalModel if task.CAUSAL else SentenceModel).load(name)
    digest = hashlib.blake2b(model.model.config.to_json_string().encode(), digest_size=12)
    for label, weight in model.model.named_parameters():
        digest.update(label.encode())
        digest.update(weight.detach().contiguous().numpy().data)
    return model, digest.hexdigest()


def forget_model() -> None:
    """Free the memory of the model, if others run it."""
    load_model.cache_clear()
