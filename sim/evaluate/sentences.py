"""Likeness of sentences by an encoder."""

from __future__ import annotations

import base64
import dataclasses
import statistics
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from golden.host.session import Session
from golden.models.load import SentenceModel
from hdl.spec.config import Config
from sim.common.errors import UserError
from sim.evaluate.pairs import Row, read_pairs
from sim.evaluate.reading import check_count, check_part
from sim.evaluate.task import Item, Task, Value
from sim.evaluate.units import load_model

__all__ = [
    "Pair",
    "SentenceTask",
]


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
        check_count("batch", batch)
        check_part(part)
        if not files:
            raise UserError("--pairs must name at least one file")
        rows = {str(path): read_pairs(path, part) for path in files}
        if len(rows) < len(files):
            raise UserError("--pairs must name a file once")
        for name, (pairs, _) in rows.items():
            if len({score for _, score, _, _ in pairs}) < 2:
                raise UserError(f"--pairs file {name!r} must have pairs of different scores ({part})")
        loaded, digest = load_model(cls, model)
        loaded.check(config)
        items = _items(loaded, {name: pairs for name, (pairs, _) in rows.items()}, config)
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

    def first(self, number: int) -> SentenceTask:
        """The task with the first so many pairs of each file."""
        files = [(name, pairs[:number]) for name, pairs in self.files]
        used = {key for _, pairs in files for pair in pairs for key in (pair.first, pair.second)}
        return dataclasses.replace(self, files=files, items=[item for item in self.items if item.key in used])

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


def _items(model: SentenceModel, files: dict[str, list[Row]], config: Config) -> dict[str, Item]:
    """Each sentence of the files once; UserError that names the line of one that is too long."""
    limit = model.token_limit(config)
    items: dict[str, Item] = {}
    for name, pairs in files.items():
        for line, _, *sentences in pairs:
            for text in sentences:
                if text in items:
                    continue
                items[text] = Item(text, len(model.encode(text)))
                if items[text].tokens > limit:
                    raise UserError(
                        f"--pairs {name}:{line}: a sentence must have at most {limit} tokens ({model.name}, preset "
                        f"{config.name}), not {items[text].tokens}"
                    )
    return items


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
