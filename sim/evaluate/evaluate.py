"""Quality and cost of an algorithm on real text: perplexity of a language model, likeness of sentences by an encoder.

A task is cut into batches of equal shape, which any process can compute (:func:`compute`). What is finished is written
down at once, so that an interrupted evaluation goes on where it was.
"""

from __future__ import annotations

import base64
import dataclasses
import functools
import hashlib
import json
import math
import os
import statistics
import time
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import torch

from golden.host.accounting import accounting, summed
from golden.host.algorithm import Algorithm
from golden.host.cache import source_digest
from golden.host.session import LayerTrace, Session, Totals
from golden.layers.layer import Traffic
from golden.models.load import CausalModel, SentenceModel
from hdl.spec.config import Config
from sim.common.errors import UserError
from sim.common.files import write_text
from sim.common.threads import one_thread

__all__ = [
    "EVAL_DIR",
    "PARTS",
    "Answer",
    "Item",
    "Journal",
    "Pair",
    "PerplexityTask",
    "Run",
    "SentenceTask",
    "Task",
    "Unit",
    "WorkerError",
    "compute",
    "compute_here",
    "evaluate",
    "forget_model",
]

EVAL_DIR = Path("build/eval")
"""Folder of what is finished."""

PARTS = ("all", "first", "second")
"""Of a text or a file of pairs: settings are tuned on one half and reported on the other."""

Value = Any
"""Of an item, as JSON has it: a cross-entropy, or an embedding."""


# Items and batches ---------------------------------------------------------------------------------------------


@dataclasses.dataclass(frozen=True)
class Item:
    """What goes through a model as one sequence: token ids of a window, or a sentence."""

    data: list[int] | str
    tokens: int

    @functools.cached_property
    def key(self) -> str:
        return _digest(self.data)


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
    prompt: dict[str, Any]
    """:class:`Totals`"""
    generation: dict[str, Any]
    layers: list[list[float]]
    """:attr:`_LayerCounts.sums`"""
    seconds: float


Run = Callable[[Sequence[Unit]], Iterable[tuple[Unit, Answer]]]
"""Computes units in any order, here or on other processes."""


class WorkerError(RuntimeError):
    """A process that computes is not like the one that asks, or is gone."""


def compute(unit: Unit) -> Answer:
    """The unit's answer; WorkerError if this process has another model or other sources than the one that asks."""
    begin = time.perf_counter()
    model, digest = _load(unit.task, unit.model)
    if (digest, source_digest("golden", "hdl/spec")) != (unit.model_digest, unit.sources):
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
def _load(task: type[Task], name: str) -> tuple[Any, str]:
    """A model, and the digest of its configuration and weights."""
    model = (CausalModel if task.CAUSAL else SentenceModel).load(name)
    digest = hashlib.blake2b(model.model.config.to_json_string().encode(), digest_size=12)
    for label, weight in model.model.named_parameters():
        digest.update(label.encode())
        digest.update(weight.detach().contiguous().numpy().data)
    return model, digest.hexdigest()


def forget_model() -> None:
    """Free the memory of the model, if others run it."""
    _load.cache_clear()


def _digest(data: Any) -> str:
    """Name of a JSON value."""
    return hashlib.sha256(json.dumps(data, sort_keys=True).encode()).hexdigest()[:24]


# Tasks ---------------------------------------------------------------------------------------------------------


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


@dataclasses.dataclass(frozen=True, kw_only=True)
class PerplexityTask(Task):
    """Windows of a text: the tokens after the context are given to the model one by one."""

    KIND = "ppl"
    CAUSAL = True

    text: str
    text_sha256: str
    generate: int
    windows: list[tuple[int, str]]
    """first token in the text, and key of the item"""

    @classmethod
    def read(
        cls,
        model: str,
        text: Path,
        config: Config,
        *,
        context: int = 992,
        generate: int = 32,
        windows: int = 32,
        part: str = "all",
        batch: int = 8,
    ) -> PerplexityTask:
        """Windows spread evenly over a text file, or half of it; UserError that names the option."""
        for name, number in (("context", context), ("generate", generate), ("windows", windows), ("batch", batch)):
            _check_count(name, number)
        _check_part(part)
        content = _read_file(text, "--text")
        loaded, digest = _load(cls, model)
        loaded.check(config)
        length, limit = context + generate, loaded.token_limit(config)
        if length > limit:
            raise UserError(
                f"--context and --generate must be at most {limit} tokens together ({model}, preset {config.name}), "
                f"not {length}"
            )
        ids = loaded.encode(content)
        first, stop = _bounds(len(ids), part)
        if stop - first < windows * length:
            fit = (stop - first) // length
            if not fit:
                raise UserError(f"--text must have at least {length} tokens ({part}), not {stop - first}")
            raise UserError(f"--windows must be at most {fit}, of {length} tokens each, not {windows}")
        starts = [first + index * (stop - first) // windows for index in range(windows)]
        items = [Item(ids[start : start + length], length) for start in starts]
        return cls(
            model=model,
            model_digest=digest,
            num_layers=loaded.num_layers,
            kv_heads=loaded.num_kv_heads,
            config=config,
            part=part,
            batch=batch,
            items=_unique(items),
            context=context,
            text=str(text),
            text_sha256=hashlib.sha256(content.encode()).hexdigest(),
            generate=generate,
            windows=[(start, item.key) for start, item in zip(starts, items, strict=True)],
        )

    @property
    def identity(self) -> Any:
        return [self.context, self.windows]

    @property
    def meta(self) -> dict[str, Any]:
        return {
            "kind": self.KIND,
            "model": self.model,
            "text": self.text,
            "text_sha256": self.text_sha256,
            "part": self.part,
            "context": self.context,
            "generate": self.generate,
            "windows": len(self.windows),
            "batch": self.batch,
            "preset": self.config.name,
        }

    @staticmethod
    def values(model: CausalModel, items: list[Item], context: int, session: Session | None) -> list[Value]:
        """Mean cross-entropy of a token, in nats."""
        ids = torch.tensor([item.data for item in items])
        return (-model.teacher_forced(ids, context, session) / (ids.shape[1] - context)).tolist()

    def figures(self, dense: dict[str, Value], values: dict[str, Value]) -> dict[str, Any]:
        """Perplexities over all windows; the standard error is of the mean over windows."""
        before, after = ([part[key] for _, key in self.windows] for part in (dense, values))
        differences = [new - old for old, new in zip(before, after, strict=True)]
        mean, number = statistics.fmean(differences), len(differences)
        return {
            "dense_ppl": math.exp(statistics.fmean(before)),
            "ppl": math.exp(statistics.fmean(after)),
            "ppl_increase": math.expm1(mean),
            "ce_difference": mean,
            "ce_difference_stderr": statistics.stdev(differences) / math.sqrt(number) if number > 1 else None,
            "window_ces": [
                {"start": start, "dense_ce": old, "ce": new}
                for (start, _), old, new in zip(self.windows, before, after, strict=True)
            ],
        }


@dataclasses.dataclass(frozen=True)
class Pair:
    """Two sentences, by their items' keys, and how alike people find them."""

    score: float
    first: str
    second: str


@dataclasses.dataclass(frozen=True, kw_only=True)
class SentenceTask(Task):
    """Pairs of sentences: rank correlation of the cosine of their embeddings with the score that people gave."""

    KIND = "sts"
    CAUSAL = False

    files: list[tuple[str, list[Pair]]]
    unscored: int
    """pairs of all files that have no score; they are left out"""

    @classmethod
    def read(
        cls, model: str, files: Sequence[Path], config: Config, *, part: str = "all", batch: int = 32
    ) -> SentenceTask:
        """Files of pairs, or half of each; UserError that names the option, or file and line."""
        _check_count("batch", batch)
        _check_part(part)
        if not files:
            raise UserError("--pairs must name at least one file")
        rows = {str(path): _read_pairs(path, part) for path in files}
        if len(rows) < len(files):
            raise UserError("--pairs must name a file once")
        for name, (pairs, _) in rows.items():
            if len({score for _, score, _, _ in pairs}) < 2:
                raise UserError(f"--pairs file {name!r} must have pairs of different scores ({part})")
        loaded, digest = _load(cls, model)
        loaded.check(config)
        limit = loaded.token_limit(config)
        items: dict[str, Item] = {}
        for name, (pairs, _) in rows.items():
            for line, _, *sentences in pairs:
                for text in sentences:
                    if text in items:
                        continue
                    items[text] = Item(text, len(loaded.encode(text)))
                    if items[text].tokens > limit:
                        raise UserError(
                            f"--pairs {name}:{line}: a sentence must have at most {limit} tokens ({model}, preset "
                            f"{config.name}), not {items[text].tokens}"
                        )
        return cls(
            model=model,
            model_digest=digest,
            num_layers=loaded.num_layers,
            kv_heads=loaded.num_kv_heads,
            config=config,
            part=part,
            batch=batch,
            items=list(items.values()),
            files=[
                (name, [Pair(score, items[first].key, items[second].key) for _, score, first, second in pairs])
                for name, (pairs, _) in rows.items()
            ],
            unscored=sum(unscored for _, unscored in rows.values()),
        )

    @property
    def identity(self) -> Any:
        return [(name, [dataclasses.astuple(pair) for pair in pairs]) for name, pairs in self.files]

    @property
    def meta(self) -> dict[str, Any]:
        return {
            "kind": self.KIND,
            "model": self.model,
            "part": self.part,
            "pairs": sum(len(pairs) for _, pairs in self.files),
            "unscored": self.unscored,
            "sentences": len(self.items),
            "batch": self.batch,
            "preset": self.config.name,
        }

    @staticmethod
    def values(model: SentenceModel, items: list[Item], context: int, session: Session | None) -> list[Value]:
        """Embeddings, in base64."""
        rows = model.embed([str(item.data) for item in items], session)
        return [base64.b64encode(row.tobytes()).decode() for row in rows.float().numpy()]

    def figures(self, dense: dict[str, Value], values: dict[str, Value]) -> dict[str, Any]:
        """Spearman's rank correlation: the mean over files, as benchmarks of several files report it, and of all pairs
        together, which also asks whether the files' scores mean the same."""
        files, pooled = [], {}
        vectors = {"dense_spearman": _vectors(dense), "spearman": _vectors(values)}
        for name, pairs in self.files:
            entry: dict[str, Any] = {"file": name, "pairs": len(pairs)}
            for figure, vector in vectors.items():
                cosines = [float(vector[pair.first] @ vector[pair.second]) for pair in pairs]
                entry[figure] = _spearman(cosines, [pair.score for pair in pairs])
                pooled.setdefault(figure, []).extend(cosines)
            files.append(entry)
        scores = [pair.score for _, pairs in self.files for pair in pairs]
        means = {figure: statistics.fmean(entry[figure] for entry in files) for figure in vectors}
        return {
            **means,
            "points_lost": 100 * (means["dense_spearman"] - means["spearman"]),
            **{f"{figure}_pooled": _spearman(cosines, scores) for figure, cosines in pooled.items()},
            "files": files,
        }


def _vectors(values: dict[str, Value]) -> dict[str, np.ndarray]:
    return {
        key: np.frombuffer(base64.b64decode(value), dtype=np.float32).astype(np.float64)
        for key, value in values.items()
    }


def _spearman(cosines: Sequence[float], scores: Sequence[float]) -> float:
    """0 if all cosines are equal: they rank nothing."""
    from scipy.stats import spearmanr

    if len(set(cosines)) == 1:
        return 0.0
    result: Any = spearmanr(cosines, scores)
    return float(result.statistic)


def _unique(items: Iterable[Item]) -> list[Item]:
    return list({item.key: item for item in items}.values())


# Reading -------------------------------------------------------------------------------------------------------


def _check_count(name: str, value: int) -> None:
    if value < 1:
        raise UserError(f"--{name} must be at least 1, not {value}")


def _check_part(part: str) -> None:
    if part not in PARTS:
        raise UserError(f"--part must be one of {', '.join(PARTS)}, not {part!r}")


def _bounds(number: int, part: str) -> tuple[int, int]:
    """The part of so many tokens or lines."""
    return {"all": (0, number), "first": (0, number // 2), "second": (number // 2, number)}[part]


def _read_file(path: Path, option: str) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or "it is not UTF-8 text"
        raise UserError(f"{option} file {str(path)!r} cannot be read: {reason}") from None


_Row = tuple[int, float, str, str]
"""Line, score, sentence, sentence."""


def _read_pairs(path: Path, part: str) -> tuple[list[_Row], int]:
    """Rows of the part, and how many pairs of the whole file have no score: data sets have pairs nobody judged."""
    rows, unscored = [], 0
    for number, line in enumerate(_read_file(path, "--pairs").removesuffix("\n").split("\n"), 1):
        where = f"--pairs {path}:{number}:"
        columns = [column.strip() for column in line.split("\t")]
        if len(columns) != 3:
            raise UserError(f"{where} a line must have 3 columns (score, sentence, sentence), not {len(columns)}")
        score = _score(columns[0])
        if score is not None and not math.isfinite(score):
            raise UserError(f"{where} score must be a number, or empty, not {columns[0]!r}")
        if not columns[1] or not columns[2]:
            raise UserError(f"{where} a sentence must not be empty")
        if score is None:
            unscored += 1
        else:
            rows.append((number, score, columns[1], columns[2]))
    first, stop = _bounds(len(rows), part)
    return rows[first:stop], unscored


def _score(text: str) -> float | None:
    """None: no score; NaN: no number."""
    try:
        return float(text) if text else None
    except ValueError:
        return math.nan


# What is finished ----------------------------------------------------------------------------------------------


class Journal:
    """A file of JSON objects, one a line, written at once; a line torn by a crash does not count."""

    def __init__(self, path: Path):
        self.path = path

    def read(self) -> list[dict[str, Any]]:
        try:
            lines = self.path.read_text(encoding="utf-8").splitlines()
        except FileNotFoundError:
            return []
        entries = []
        for line in lines:
            try:
                entries.append(json.loads(line))
            except json.JSONDecodeError:
                continue
        return entries

    def append(self, entry: dict[str, Any]) -> None:
        self.path.parent.mkdir(parents=True, exist_ok=True)
        with self.path.open("a+b", buffering=0) as file:
            torn = file.tell() and os.pread(file.fileno(), 1, file.tell() - 1) != b"\n"
            file.write(b"\n" * bool(torn) + json.dumps(entry).encode() + b"\n")

    def replace(self, entries: Iterable[dict[str, Any]]) -> None:
        write_text(self.path, "".join(json.dumps(entry) + "\n" for entry in entries))


class _Point:
    """An algorithm (None: dense attention) on a task, with its journal."""

    def __init__(self, task: Task, algorithm: Algorithm | None, folder: Path):
        self.task, self.algorithm = task, algorithm
        name = [task.KIND, task.model_digest]
        if algorithm is None:  # its values are those of an item, whatever else runs
            name += [task.context]
        else:
            name += [
                source_digest("golden", "hdl/spec"),
                dataclasses.asdict(task.config),
                algorithm.to_json(),
                task.identity,
            ]
        self.journal = Journal(folder / f"{task.KIND}-{'point' if algorithm else 'dense'}-{_digest(name)}.jsonl")
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
                sources=source_digest("golden", "hdl/spec"),
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
        result |= {
            "dram_reduction_with_prompt": accounting(both)["dram_reduction"],
            "prompt": accounting(prompt),
        }
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


# Evaluation ----------------------------------------------------------------------------------------------------


def evaluate(
    task: Task,
    algorithms: Sequence[Algorithm],
    run: Run,
    *,
    folder: Path = EVAL_DIR,
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> Generator[tuple[int, dict[str, Any]]]:
    """(index, result) of algorithms that are all different, each as soon as it is finished.

    Batches that a journal in ``folder`` has are not computed again. progress: items done, and all of them.
    """
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
