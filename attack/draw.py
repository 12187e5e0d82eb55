"""Right jobs and layers in hostile shapes."""

from __future__ import annotations

import random
from collections.abc import Mapping
from typing import Any

from attack.commands import Command, beats_of
from attack.draw_layers import LayerDraw
from attack.refusals import DENSE, NEW, PREVIOUS, Refusals
from attack.shapes import PLANES, Shapes
from hdl.spec.config import Config

__all__ = ["Draw"]


class Draw:
    """Draws commands that the model of refusals accepts and that fit its window. options: as of :class:`Shapes`."""

    def __init__(self, config: Config, rng: random.Random, model: Refusals, **options: Any):
        self.config, self.rng, self.model = config, rng, model
        self.shapes = Shapes(config, rng, model, **options)
        self._layers = LayerDraw(self.shapes, self._job)

    def layer(self, number: int) -> Command:
        """A layer; its id is ``number``."""
        return self._layers.layer(number)

    @property
    def pairs(self) -> bool:
        """Whether the configuration has pairs."""
        return bool(self.shapes.dims(1))

    def job(self, number: int) -> Command:
        """A job that fits the window; its id is ``number``. While a pair waits, its second job."""
        if self.model.waiting is not None:
            return self._second(number, self.model.waiting)
        pair = int(self.pairs and self.rng.random() < 0.15)
        for attempt in range(1000):
            command = self._job(number, pair, small=attempt > 30)
            if self.shapes.place(command.fields):
                return command
        raise ValueError(f"the window must hold a job of one key, not {self.model.limit - self.model.base} words")

    def _job(self, number: int, pair: int, *, small: bool = False) -> Command:
        """small: of one key and one row. The planes are not placed yet."""
        rng, config, model = self.rng, self.config, self.model
        dim = rng.choice(self.shapes.dims(pair))
        kind = "generation" if pair else rng.choice(("summarization", "summarization", "causal", "generation"))
        keys = 1 if small else self.shapes.size(self.shapes.most_keys(dim, pair))
        lists = [DENSE] if small else [DENSE, DENSE, NEW]
        if not small and not pair and 0 < model.tokens <= self.shapes.most_keys(dim, pair):
            lists.append(PREVIOUS)
        id_list = rng.choice(lists)
        if id_list == PREVIOUS:
            keys = model.tokens
        least = model.last_token + 1 if id_list == PREVIOUS else keys
        rows = least if small else rng.choice((least, least, rng.randint(least, config.max_tokens), config.max_tokens))
        group, queries = (1, 1) if small else self.shapes.rows(kind, keys)
        fields = {
            "job_id": number,
            "num_keys": keys,
            "num_queries": queries,
            "group": group,
            "head": rng.randint(0, config.max_heads - group),
            "accumulate": rng.randint(0, 1),
            "num_rows": rows,
            "causal": int(kind == "causal"),
            "generation": int(kind == "generation"),
            "list": id_list,
            "skew": rng.randrange(config.num_channels),
            "pair": pair,
            "value_keep": self.shapes.keep(keys),
        } | self.shapes.numbers(dim)
        command = Command(fields=fields)
        if id_list == NEW:
            command.beats = beats_of(sorted(rng.sample(range(fields["num_rows"]), keys)), config, rng)
        return command

    def _second(self, number: int, first: Mapping[str, Any]) -> Command:
        """The job that an open pair waits for."""
        same = ("dim", "num_keys", "num_rows", "key_bits", "key_lsb_bits", "skew", "key_base")
        fields = self._job(number, 1).fields | {name: first[name] for name in same}
        fields |= {"pair": 2, "list": PREVIOUS if first["list"] else DENSE}
        fields["value_keep"] = self.rng.randint(1, first["num_keys"])
        if not self.shapes.place(fields):
            fields |= {name: first[name] for name in ("query_bits", "value_bits")}
            fields |= {f"{name}_base": first[f"{name}_base"] for name in PLANES}
        return Command(fields=fields | {"key_base": first["key_base"]})
