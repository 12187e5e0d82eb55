"""Descriptors, lists and heads with one to three things changed, most of them to what must be refused."""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import Any

from amaranth.hdl import Shape

from attack.commands import Command
from attack.refusals import NEW, Beat
from hdl.spec.config import Config
from hdl.spec.payloads import head_entry, job_descriptor, layer_descriptor

__all__ = ["Spoiler", "wrong_value"]


def wrong_value(name: str, value: int, width: int, config: Config, rng: random.Random) -> int:
    """Another value of a field: an end of its range, a neighbour of the right value or of a limit, or any."""
    most = (1 << width) - 1
    near = {
        "dim": (8, 24, *config.dims, config.max_dim + 16),
        "num_keys": (config.max_tokens, config.max_tokens + 1),
        "num_rows": (config.max_tokens, config.max_tokens + 1),
        "num_queries": (config.max_tokens, config.max_tokens + 1),
        "group": (config.max_group, config.max_group + 1),
        "head": (config.max_heads - 1, config.max_heads),
        "num_heads": (config.max_heads, config.max_heads + 1),
        "skew": (config.num_channels - 1, config.num_channels),
    }.get(name, ())
    choices = (0, most, value + 1, value - 1, value ^ 1 << rng.randrange(width), rng.randrange(most + 1), *near)
    found = [choice for choice in choices if choice != value and 0 <= choice <= most]
    return rng.choice(found)


class Spoiler:
    """Changes commands."""

    def __init__(self, config: Config, rng: random.Random):
        self.config, self.rng = config, rng
        self._job: Any = job_descriptor(config)
        self._layer: Any = layer_descriptor(config)
        self._head: Any = head_entry(config)

    def spoil(self, command: Command) -> Command:
        """The command with one to three fields changed, or its list, or its heads."""
        rng = self.rng
        layer = "job" in command.fields
        for _ in range(rng.choice((1, 1, 2, 3))):
            kinds: list[Callable[[Command], str]] = [self._spoil_job]
            if layer:
                kinds += [self._spoil_layer, *([self._spoil_heads] if command.heads else [])]
            if command.beats:
                kinds.append(self._spoil_list)
            command.wrong += (rng.choice(kinds)(command),)
        self._in_step(command)
        return command

    def _change(self, fields: dict[str, Any], layout: Any, leave: tuple[str, ...]) -> str:
        name = self.rng.choice([name for name in layout.members if name not in leave])
        width = Shape.cast(layout.members[name]).width
        fields[name] = wrong_value(name, fields[name], width, self.config, self.rng)
        return name

    def _spoil_job(self, command: Command) -> str:
        return self._change(command.job, self._job, ("job_id", "accumulate", "flat_limit"))

    def _spoil_layer(self, command: Command) -> str:
        return self._change(command.fields, self._layer, ("job", "pin_first", "pin_last", "decay"))

    def _spoil_heads(self, command: Command) -> str:
        rng, heads = self.rng, command.heads
        kind = rng.choice(("field", "more", "fewer", "order"))
        if kind == "more" and len(heads) < 2 * self.config.max_heads:
            heads.insert(rng.randrange(len(heads)), {**rng.choice(heads), "last": 0})
        elif kind == "fewer" and len(heads) > 1:
            del heads[rng.randrange(len(heads) - 1)]
        elif kind == "order":
            rng.shuffle(heads)
        else:
            self._change(rng.choice(heads), self._head, ("last", "head", "weight", "importance"))
        for index, head in enumerate(heads):
            head["last"] = int(index == len(heads) - 1)
        return f"heads: {kind}"

    def _spoil_list(self, command: Command) -> str:
        kind, command.beats = self.spoiled_list(command.beats)
        return f"ids: {kind}"

    def spoiled_list(self, beats: list[Beat]) -> tuple[str, list[Beat]]:
        """What was done to it, and the list, which still ends with its first ``last``."""
        rng, beats = self.rng, list(beats)
        kind = rng.choice(("id", "count", "drop", "twice", "order"))
        place = rng.randrange(len(beats))
        beat = beats[place]
        if kind == "id":
            ids = list(beat.ids)
            lane = rng.randrange(len(ids))
            ids[lane] = wrong_value("id", ids[lane], 16, self.config, rng)
            beats[place] = beat._replace(ids=tuple(ids))
        elif kind == "count":
            beats[place] = beat._replace(count=rng.randrange(1 << self.config.lanes.bit_length()))
        elif kind == "drop" and len(beats) > 1:
            del beats[place]
        elif kind == "twice":
            beats.insert(place, beat)
        else:
            rng.shuffle(beats)
        return kind, [beat._replace(last=index == len(beats) - 1) for index, beat in enumerate(beats)]

    def _in_step(self, command: Command) -> None:
        """Ids and heads come exactly if the descriptor announces some."""
        if command.job["list"] != NEW:
            command.beats, command.importance = [], []
        elif not command.beats:
            lanes = self.config.lanes
            command.beats = [Beat(tuple(range(lanes)), self.rng.randint(1, lanes), True)]
        if "job" in command.fields:
            if not command.fields["num_heads"]:
                command.heads = []
            elif not command.heads:
                shape = {name: Shape.cast(field).width for name, field in self._head.members.items()}
                entry = {name: self.rng.randrange(1 << width) for name, width in shape.items()}
                command.heads = [entry | {"last": 1}]
