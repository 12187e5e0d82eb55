"""Quality and cost of algorithms on real text, against the model's own attention.

A task is cut into batches of equal shape, which any process can compute (:mod:`sim.evaluate.units`). What is finished
is written down at once, so that an interrupted evaluation goes on where it was.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Generator, Iterator, Sequence
from pathlib import Path
from typing import Any

from golden.host.accounting import accounting, summed
from golden.host.algorithm import Algorithm
from golden.host.cache import cache_folder
from golden.host.traces import Totals
from golden.layers.traffic import Traffic
from sim.common.errors import UserError
from sim.evaluate.journal import Journal
from sim.evaluate.sources import dense_sources, point_sources
from sim.evaluate.task import Task, Value, digest_of
from sim.evaluate.units import Answer, Run, Unit

__all__ = [
    "eval_folder",
    "evaluate",
]


def eval_folder() -> Path:
    """Folder of the journals of what is finished."""
    return cache_folder() / "eval"


class _Point:
    """An algorithm (None: dense attention) on a task, with its journal."""

    def __init__(self, task: Task, algorithm: Algorithm | None, folder: Path):
        self.task, self.algorithm = task, algorithm
        name = [task.KIND, task.model_digest]
        if algorithm is None:  # its values are those of an item, whatever else runs
            name += [dense_sources(), task.context]
        else:
            name += [point_sources(), dataclasses.asdict(task.config), algorithm.to_json(), task.identity]
        self.journal = Journal(folder / f"{task.KIND}-{'point' if algorithm else 'dense'}-{digest_of(name)}.jsonl")
        self.result: dict[str, Any] | None = None
        self.answers: list[Answer] = []
        self.values: dict[str, Value] = {}
        self.missing = {item.key for item in task.items}
        for entry in self.journal.read():
            if "result" in entry:
                self.result = entry["result"]
                self.missing.clear()
            else:
                self.take(Answer(**entry))

    def take(self, answer: Answer) -> None:
        self.answers.append(answer)
        self.values.update(zip(answer.keys, answer.values, strict=True))
        self.missing.difference_update(answer.keys)

    def units(self) -> list[Unit]:
        task = self.task
        return [
            Unit(
                task=type(task),
                model=task.model,
                model_digest=task.model_digest,
                sources=point_sources(),
                config=task.config,
                algorithm=self.algorithm,
                context=task.context,
                items=items,
                journal=str(self.journal.path),
            )
            for items in task.batches(item for item in task.items if item.key in self.missing)
        ]

    def finish(self, dense: dict[str, Value]) -> dict[str, Any]:
        """The result, which takes the place of the answers in the journal."""
        if self.result is None:
            self.result = self.task.figures(dense, self.values) | _cost(self.task, self.answers)
            self.journal.replace([{"result": self.result}])
            self.answers, self.values = [], {}
        return self.result


def _cost(task: Task, answers: list[Answer]) -> dict[str, Any]:
    """What the answers' attention read and computed. A language model's is counted in generation, as in the paper."""
    prompt = summed(*(_totals(answer.prompt) for answer in answers))
    generation = summed(*(_totals(answer.generation) for answer in answers))
    both = summed(prompt, generation)
    result = accounting(generation if task.CAUSAL else prompt)
    if task.CAUSAL:
        names = ("dram_reduction", "dram_reduction_everything", "dram_reduction_everything_fp16")
        result |= {f"{name}_with_prompt": accounting(both)[name] for name in names}
        result["prompt"] = accounting(prompt)
    layers = zip(*(answer.layers for answer in answers), strict=True)
    sums = [[sum(column) for column in zip(*rows, strict=True)] for rows in layers]
    result["survivors"] = [
        {"layer": layer, "tokens": tokens / count, "token_share": tokens / known, "heads": heads / count}
        for layer, (tokens, known, heads, count) in enumerate(sums)
    ]
    result["seconds"] = sum(answer.seconds for answer in answers)
    return result


def _totals(data: dict[str, Any]) -> Totals:
    return Totals(**{**data, "traffic": Traffic(**data["traffic"])})


def _check_lengths(task: Task, algorithms: Sequence[Algorithm]) -> None:
    longest, most = max(item.tokens for item in task.items), task.config.max_tokens
    if longest > most and not all(algorithm.any_length for algorithm in algorithms):
        raise UserError(
            f"algorithms must prune neither tokens nor heads, and not split K, for {longest} tokens: "
            f"preset {task.config.name} takes {most} otherwise"
        )


def evaluate(
    task: Task,
    algorithms: Sequence[Algorithm],
    run: Run,
    *,
    folder: Path | None = None,
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> Generator[tuple[int, dict[str, Any]]]:
    """(index, result) of algorithms that are all different, each as soon as it is finished.

    Batches that a journal in ``folder`` (None: :func:`eval_folder`) has are not computed again. progress: items done,
    and all of them.
    """
    _check_lengths(task, algorithms)
    folder = folder or eval_folder()
    dense = _Point(task, None, folder)
    points = [_Point(task, algorithm, folder) for algorithm in algorithms]
    everything = [dense, *points]
    waiting = dict(enumerate(points))

    def finished() -> Iterator[tuple[int, dict[str, Any]]]:
        for index, point in list(waiting.items()):
            if not point.missing and (point.result or not dense.missing):
                del waiting[index]
                yield index, point.finish(dense.values)

    def count() -> None:
        total = len(task.items) * len(everything)
        progress(total - sum(len(point.missing) for point in everything), total)

    count()
    yield from finished()
    by_journal = {str(point.journal.path): point for point in everything}
    units = [unit for point in everything for unit in point.units()] if waiting else []
    for unit, answer in run(units) if units else ():
        point = by_journal[unit.journal]
        point.journal.append(dataclasses.asdict(answer))
        point.take(answer)
        count()
        yield from finished()
