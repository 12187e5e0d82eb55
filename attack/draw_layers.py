"""Right layers in hostile shapes."""

from __future__ import annotations

from collections.abc import Callable

from attack.commands import Command, beats_of
from attack.refusals import DENSE, NEW, PREVIOUS
from attack.shapes import PLANES, Shapes

__all__ = ["LayerDraw"]


class LayerDraw:
    """job: draws a job with an id, in a pair or not, whose planes are not placed."""

    def __init__(self, shapes: Shapes, job: Callable[[int, int], Command]):
        self.shapes, self._job = shapes, job
        self.config, self.rng, self.model = shapes.config, shapes.rng, shapes.model

    def layer(self, number: int) -> Command:
        """A layer that fits the window: heads and a selection, or one of both, on a new list or on what is on chip."""
        rng = self.rng
        lists = rng.random() < 0.15 or not self.model.summed
        if rng.random() < (0.3 if lists else 0.05):
            return self._list_layer(number, fresh=lists)
        for attempt in range(40):
            command = self._heads_layer(number, fresh=lists, small=attempt > 20)
            if command is not None:
                return command
        return self._list_layer(number)

    def _selection(self, tokens: int, heads: int) -> dict[str, int]:
        rng = self.rng
        pins = rng.choice(((0, 0), (0, 0), (1, 1), (4, 2), (0, tokens), (2**16 - 1, 0), (tokens, tokens)))
        return {
            "select": int(rng.random() < 0.75),
            "token_keep": rng.choice((1, tokens, 2**16 - 1, rng.randint(1, tokens), rng.randint(1, tokens))),
            "head_keep": rng.choice((1, 255, rng.randint(1, heads))) if heads else rng.randint(0, 255),
            "pin_first": pins[0],
            "pin_last": pins[1],
            "decay": rng.choice((0, 0, 1, 4, 31)),
        }

    def _ids(self, rows: int, count: int) -> tuple[list[int], list[int]]:
        """A list with its importance."""
        rng = self.rng
        most = 2 ** rng.choice((1, 8, 20, 32))
        ids = sorted(rng.sample(range(rows), count))
        return ids, [rng.choice((most - 1, rng.randrange(most))) for _ in ids]

    def _list_layer(self, number: int, *, fresh: bool = True) -> Command:
        """A list, a selection, or both, without heads: of the other fields only D, keys, rows and skew count."""
        rng, config, model = self.rng, self.config, self.model
        rows = rng.randint(1 if fresh else model.last_token + 1, config.max_tokens)
        keys = self.shapes.size(rows) if fresh else model.tokens
        job = self._job(number, 0).fields
        job |= {f"{name}_base": rng.randrange(1 << config.address_width) for name in PLANES}
        job |= {"num_keys": keys, "num_rows": rows, "list": NEW if fresh else PREVIOUS}
        strides = {f"{name}_stride": rng.randrange(1 << config.address_width) for name in PLANES}
        command = Command(fields={"job": job, "num_heads": 0, **strides, **self._selection(keys, 0)})
        if fresh:
            ids, command.importance = self._ids(rows, keys)
            command.beats = beats_of(ids, config, rng)
        return command

    def _heads_layer(self, number: int, *, fresh: bool, small: bool) -> Command | None:
        """None: the planes do not fit."""
        rng, config, model = self.rng, self.config, self.model
        dim = rng.choice(self.shapes.dims(0))
        most = 1 if small else self.shapes.most_keys(dim, 0)
        keys = self.shapes.size(most)
        if not fresh:
            keys = model.tokens
        if keys > self.shapes.most_keys(dim, 0):
            return None
        dense = not fresh and rng.random() < 0.3
        selection = self._selection(keys, 1)
        if dense and not selection["select"]:
            keys = rng.randint(1, keys)
        least = keys if fresh else max(keys, model.last_token + 1)
        kind = rng.choice(("summarization", "summarization", "causal", "generation"))
        group, queries = self.shapes.rows(kind, keys)
        numbers = self.shapes.numbers(dim)
        job = {
            "job_id": number,
            "num_keys": keys,
            "num_queries": 1 if small else queries,
            "group": group,
            "head": rng.randrange(2**8),
            "accumulate": int(rng.random() < 0.8),
            "num_rows": rng.choice((least, rng.randint(least, config.max_tokens))),
            "causal": int(kind == "causal"),
            "generation": int(kind == "generation"),
            "list": NEW if fresh else DENSE if dense else PREVIOUS,
            "skew": rng.randrange(config.num_channels),
            "pair": 0,
            "value_keep": self.shapes.keep(keys),
        } | numbers
        return self._with_heads(job, selection)

    def _with_heads(self, job: dict[str, int], selection: dict[str, int]) -> Command | None:
        """job: of a K/V head whose query heads all survive."""
        rng = self.rng
        heads = self._heads(job["group"])
        strides: dict[str, int] = {}
        if not self.shapes.place(job, strides, heads[-1]["kv_head"]):
            return None
        job |= {"group": rng.randrange(2**5), "scale": rng.randrange(2**16), "shift": rng.randrange(2**6)}
        selection["head_keep"] = rng.choice((1, 255, rng.randint(1, len(heads))))
        command = Command(fields={"job": job, "num_heads": len(heads), **strides, **selection}, heads=heads)
        if job["list"] == NEW:
            ids, command.importance = self._ids(job["num_rows"], job["num_keys"])
            command.beats = beats_of(ids, self.config, rng)
        return command

    def _heads(self, group: int) -> list[dict[str, int]]:
        """Entries of groups of at most ``group`` heads, at most max_heads of them."""
        rng, config = self.rng, self.config
        number = rng.randint(1, min(3, config.max_heads // group))
        entries = []
        for kv_head in sorted(rng.sample(range(rng.choice((number, 8, 256))), number)):
            numbers = self.shapes.numbers(16)
            for _ in range(rng.randint(1, group)):
                entries.append(
                    {
                        "head": rng.randrange(2**8),
                        "kv_head": kv_head,
                        "scale": numbers["scale"],
                        "shift": numbers["shift"],
                        "weight": rng.choice((0, 2**16 - 1, rng.randrange(2**16))),
                        "importance": rng.randrange(2 ** rng.choice((1, 16, 32))),
                        "last": 0,
                    }
                )
        entries[-1]["last"] = 1
        return entries
