"""Jobs and layers as descriptors that point into random memory, and as items of the host's streams."""

from __future__ import annotations

import dataclasses
import random
from collections.abc import Sequence
from typing import Any

import numpy as np

from attack.columns import columns_of, pack_columns
from attack.refusals import Beat
from hdl.spec.config import Config
from hdl.spec.payloads import head_entry, job_descriptor, job_id_entry, layer_descriptor

__all__ = ["Command", "beats_of", "stream_items"]


@dataclasses.dataclass(kw_only=True)
class Command:
    """A job or layer of the host, right or wrong."""

    fields: dict[str, Any]
    """of its descriptor; a layer's have those of its job in ``job``"""
    beats: list[Beat] = dataclasses.field(default_factory=list)
    """of its list, if ``list`` says that it brings one"""
    importance: list[int] = dataclasses.field(default_factory=list)
    """of the list's ids; missing ones are 0"""
    heads: list[dict[str, int]] = dataclasses.field(default_factory=list)
    """entries of a layer, the last with ``last``"""
    wrong: tuple[str, ...] = ()
    """names of the fields that were changed on purpose"""

    @property
    def job(self) -> dict[str, Any]:
        """Fields of the job, or of the layer's."""
        return self.fields.get("job", self.fields)


def beats_of(ids: Sequence[int], config: Config, rng: random.Random) -> list[Beat]:
    """A list in beats; after its end stand random ids."""
    lanes = config.lanes
    found = []
    for start in range(0, len(ids), lanes):
        part = tuple(ids[start : start + lanes])
        rest = tuple(rng.randrange(2**16) for _ in range(lanes - len(part)))
        found.append(Beat(part + rest, len(part), start + lanes >= len(ids)))
    return found


def _entries(command: Command, config: Config) -> list[dict[str, Any]]:
    """Items of its list."""
    scores, lanes = command.importance, config.lanes
    found = []
    for index, beat in enumerate(command.beats):
        mine = scores[index * lanes : (index + 1) * lanes]
        importance = [*mine, *[0] * (lanes - len(mine))]
        found.append({"ids": beat.ids, "importance": importance, "count": beat.count, "last": beat.last})
    return found


def stream_items(commands: Sequence[Command], config: Config) -> dict[str, np.ndarray]:
    """Items of the host streams (items, words): all commands are jobs, or all are layers."""
    layouts: dict[str, Any] = {
        "job": job_descriptor(config),
        "layer": layer_descriptor(config),
        "heads": head_entry(config),
        "ids": job_id_entry(config),
    }
    kind = "layer" if commands and "job" in commands[0].fields else "job"
    items: dict[str, list[dict[str, Any]]] = {
        "job": [],
        "layer": [],
        "heads": [head for command in commands for head in command.heads],
        "ids": [entry for command in commands for entry in _entries(command, config)],
    }
    items[kind] = [command.fields for command in commands]
    return {
        name: pack_columns(layouts[name], columns_of(layouts[name], found), len(found)) for name, found in items.items()
    }
