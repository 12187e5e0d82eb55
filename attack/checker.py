"""Descriptors by the thousand against the job checker alone, compared with the model of refusals."""

from __future__ import annotations

import ctypes
import functools
import random
from pathlib import Path
from typing import Any

import numpy as np
from amaranth.hdl import Shape

from attack.columns import columns_of, pack_columns
from attack.commands import Command
from attack.draw import Draw
from attack.judge import Findings
from attack.refusals import NEW, Beat, Refusals
from attack.shapes import random_window
from attack.wrong import Spoiler
from hdl.spec.config import Config
from hdl.spec.payloads import job_descriptor, job_id_entry, job_request
from sim.engine.timing import stall_threshold

__all__ = ["Checker", "descriptors"]

SEQUENCE = 25
"""Descriptors from one reset to the next."""
_SEQUENCES, _TEMPLATES = 200, 120


class Checker:
    """The library of :func:`attack.models.checker_model`."""

    def __init__(self, folder: Path):
        library = ctypes.CDLL(str(folder / "libspatten.so"))
        library.checker_new.restype = ctypes.c_void_p
        library.checker_free.argtypes = [ctypes.c_void_p]
        pointer, number = ctypes.c_void_p, ctypes.c_uint64
        library.checker_run.argtypes = [pointer, pointer, number, pointer, number, *[number] * 4, pointer]
        library.checker_run.restype = number
        self._library, self._handle = library, library.checker_new()

    def close(self) -> None:
        self._library.checker_free(self._handle)

    def run(
        self, jobs: np.ndarray, beats: np.ndarray, window: tuple[int, int], *, stall: float = 0.0, seed: int = 0
    ) -> list[int]:
        """Codes of jobs from reset on, as many as were answered; 255: under another number.

        jobs, beats: items of the ports ``job`` and ``ids``, uint32 (items, words).
        """
        codes = np.zeros(len(jobs), dtype=np.uint8)
        limits = (*window, stall_threshold(stall), seed)
        arrays = (jobs.ctypes.data, len(jobs), beats.ctypes.data, len(beats))
        answered = self._library.checker_run(self._handle, *arrays, *limits, codes.ctypes.data)
        return codes[:answered].tolist()


class _Mix:
    """Sequences of descriptors, most of them with fields changed; all columns are changed at once."""

    def __init__(self, config: Config, rng: random.Random, window: tuple[int, int]):
        self.config, self.rng, self.window = config, rng, window
        self.numbers = np.random.default_rng(rng.getrandbits(64))
        self.layout: Any = job_descriptor(config)
        self.groups = [self._group() for _ in range(_TEMPLATES)]
        """right commands that follow each other: one, a list and a job with the same, both of a pair"""

    def _group(self) -> list[Command]:
        model = Refusals(self.config, *self.window)
        draw = Draw(self.config, self.rng, model, large=0.05)
        first = draw.job(0)
        model.job(first.fields, first.beats)
        if first.fields["list"] == NEW and not first.fields["pair"]:
            return [first, Command(fields={**first.fields, "list": 2})]
        return [first, draw.job(1)] if model.waiting else [first]

    def commands(self) -> list[Command]:
        """_SEQUENCES * SEQUENCE of them, the right ones still in place."""
        found: list[Command] = []
        while len(found) < _SEQUENCES * SEQUENCE:
            for command in self.rng.choice(self.groups):
                found += [command] * (1 + (self.rng.random() < 0.3))
        return found[: _SEQUENCES * SEQUENCE]

    def columns(self, commands: list[Command]) -> dict[str, np.ndarray]:
        """Fields by name; of 7 in 8 descriptors one to three have other values."""
        columns = columns_of(self.layout, [command.fields for command in commands])
        names = [name for name in self.layout.members if name not in ("job_id", "accumulate", "flat_limit")]
        changes = self.numbers.choice([0, 1, 1, 1, 1, 2, 2, 3], len(commands))
        # While a pair waits all else is refused: most second jobs are right.
        changes[(columns["pair"] == 2) & (self.numbers.random(len(commands)) < 0.8)] = 0
        for step in range(3):
            which = self.numbers.integers(0, len(names), len(commands))
            which[changes <= step] = len(names)
            for number, name in enumerate(names):
                self._change(columns, name, np.flatnonzero(which == number))
        columns["job_id"] = np.arange(len(commands))
        return columns

    def _change(self, columns: dict[str, np.ndarray], name: str, places: np.ndarray) -> None:
        """Ends, neighbours of the value and of limits, one bit, anything."""
        config, width = self.config, Shape.cast(self.layout.members[name]).width
        most, value, count = (1 << width) - 1, columns[name][places], len(places)
        limits = {
            "dim": [8, 24, *config.dims],
            "group": [config.max_group, config.max_group + 1],
            "head": [config.max_heads - 1, config.max_heads],
            "skew": [config.num_channels - 1, config.num_channels],
            "num_keys": [config.max_tokens, *(config.buffer_slots // config.slices(dim) + 1 for dim in config.dims)],
        }.get(name, [config.max_tokens, config.max_tokens + 1, *self.window])
        choices = [
            np.zeros(count, np.int64), np.full(count, most), value + 1, value - 1,
            value ^ 1 << self.numbers.integers(0, width, count), self.numbers.integers(0, most + 1, count),
            self.numbers.choice(limits, count), self.numbers.choice(limits, count),
        ]  # fmt: skip
        chosen = np.choose(self.numbers.integers(0, len(choices), count), choices)
        columns[name][places] = chosen & most


def _lists(mix: _Mix, commands: list[Command], kinds: np.ndarray) -> list[list[Beat]]:
    """Beats of each descriptor, some wrong; of those that bring no list none."""
    spoiler, rng, lanes = Spoiler(mix.config, mix.rng), mix.rng, mix.config.lanes
    found = []
    for command, kind in zip(commands, kinds.tolist(), strict=True):
        beats: list[Beat] = []
        if kind == NEW:
            beats = command.beats or [Beat(tuple(range(lanes)), rng.randint(1, lanes), True)]
            if rng.random() < 0.2:
                beats = spoiler.spoiled_list(beats)[1]
        found.append(beats)
    return found


def _beat_items(config: Config, lists: list[list[Beat]]) -> np.ndarray:
    layout: Any = job_id_entry(config)
    beats = [beat for beats in lists for beat in beats]
    columns = {
        "ids": np.array([beat.ids for beat in beats], dtype=np.int64).reshape(len(beats), config.lanes),
        "importance": np.zeros((len(beats), config.lanes), dtype=np.int64),
        "count": np.array([beat.count for beat in beats], dtype=np.int64),
        "last": np.array([beat.last for beat in beats], dtype=np.int64),
    }
    return pack_columns(layout, columns, len(beats))


@functools.cache
def _plain(config: Config) -> tuple[str, ...]:
    return tuple(job_descriptor(config).members)


def descriptors(config: Config, checker: Checker, seed: int) -> Findings:
    """A batch: sequences from reset, each with the window of the batch."""
    rng = random.Random(f"checker {config.name} {seed}")
    words = min(1 << config.address_width, 1 << rng.choice((12, 14, 24)))
    window = random_window(words, rng)
    mix = _Mix(config, rng, window)
    commands = mix.commands()
    columns = mix.columns(commands)
    lists = _lists(mix, commands, columns["list"])
    requests = {f"job.{name}": column for name, column in columns.items()}
    flags = {name: np.zeros(len(commands), dtype=np.int64) for name in ("layer", "list_only", "match")}
    jobs = pack_columns(job_request(config), requests | flags, len(commands))
    rows = list(zip(*(columns[name].tolist() for name in _plain(config)), strict=True))
    found = Findings(commands=len(commands))
    for start in range(0, len(commands), SEQUENCE):
        mine = slice(start, start + SEQUENCE)
        model = Refusals(config, *window)
        fields = [dict(zip(_plain(config), row, strict=True)) for row in rows[mine]]
        want = [model.job(each, beats) for each, beats in zip(fields, lists[mine], strict=True)]
        stall = rng.choice((0.0, 0.0, 0.5))
        got = checker.run(jobs[mine], _beat_items(config, lists[mine]), window, stall=stall, seed=rng.getrandbits(32))
        found.faults += sum(code != 0 for code in want)
        if len(got) < len(want):
            found.hangs += 1
            found.problems.append(f"descriptor {start + len(got)} was not answered")
        for number, (mine_code, code) in enumerate(zip(got, want, strict=False)):
            if mine_code != code:
                found.note(f"descriptor {start + number}: code {mine_code}, expected {code}: {fields[number]}")
    return found
