"""Perplexity of a language model in generation."""

from __future__ import annotations

import dataclasses
import hashlib
import math
import statistics
from pathlib import Path
from typing import Any

import torch

from golden.host.session import Session
from golden.models.load import CausalModel
from hdl.spec.config import Config
from sim.common.errors import UserError
from sim.common.files import read_text
from sim.evaluate.reading import bounds, check_count, check_part
from sim.evaluate.task import Item, Task, Value
from sim.evaluate.units import load_model

__all__ = [
    "PerplexityTask",
]


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
            check_count(name, number)
        check_part(part)
        content = read_text(text, "--text file")
        loaded, digest = load_model(cls, model)
        loaded.check(config)
        length = context + generate
        _check_length(loaded, length, config)
        ids = loaded.encode(content)
        starts = _starts(len(ids), part, windows, length)
        items = [Item(ids[start : start + length], length) for start in starts]
        return cls(
            model=model,
            model_digest=digest,
            num_layers=loaded.num_layers,
            kv_heads=loaded.num_kv_heads,
            config=config,
            part=part,
            batch=batch,
            items=list({item.key: item for item in items}.values()),
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


def _check_length(model: CausalModel, length: int, config: Config) -> None:
    limit = model.token_limit(config)
    if length > limit:
        raise UserError(
            f"--context and --generate must be at most {limit} tokens together ({model.name}, preset {config.name}), "
            f"not {length}"
        )


def _starts(tokens: int, part: str, windows: int, length: int) -> list[int]:
    """First tokens of windows spread evenly over a part of a text of ``tokens`` tokens."""
    first, stop = bounds(tokens, part)
    if stop - first < windows * length:
        fit = (stop - first) // length
        if not fit:
            raise UserError(f"--text must have at least {length} tokens ({part}), not {stop - first}")
        raise UserError(f"--windows must be at most {fit}, of {length} tokens each, not {windows}")
    return [first + index * (stop - first) // windows for index in range(windows)]
