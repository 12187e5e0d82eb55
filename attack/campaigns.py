"""The campaigns: what a batch of each does with the machine. The seed of a batch gives all that is random in it."""

from __future__ import annotations

import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

from attack.commands import Command
from attack.draw import Draw
from attack.judge import Findings, judge
from attack.machine import Machine, StuckError
from attack.memory import Memory
from attack.oracle import Expected, Oracle
from attack.shapes import random_window
from attack.wrong import Spoiler
from hdl.spec.config import Config
from sim.engine.engine import EngineError
from sim.engine.timing import MemoryTiming

__all__ = ["CAMPAIGNS", "Batch"]


class Batch:
    """A machine with random memory, host and timing, and what was found so far."""

    def __init__(self, campaign: str, config: Config, seed: int, *, model: Path | None = None):
        self.config = config
        self.rng = random.Random(f"{campaign} {config.name} {seed}")
        self.memory = Memory(config, self.rng)
        self.memory.open(*random_window(self.memory.words, self.rng))
        self.oracle = Oracle(config, self.memory)
        self.spoiler = Spoiler(config, self.rng)
        self.machine = Machine(config, model=model, seed=self.rng.randrange(1, 2**31))
        self.found = Findings()
        self.rows = 0
        """how many rows a run is to have"""
        self.set_timing(slow=self.rng.random() < 0.2)

    def __enter__(self) -> Batch:
        return self

    def __exit__(self, *_: object) -> None:
        self.machine.close()

    def set_timing(self, *, slow: bool) -> None:
        """Memory and host at random, and fewer rows where they are slow."""
        rng = self.rng
        self.rows = rng.choice((40, 120)) if slow else rng.choice((200, 800, 1600))
        queue = rng.choice((0, 0, 0, 16, 1, 3))
        far = slow and queue in (0, 16)  # a word each ``latency`` cycles would take a run's whole time
        self.machine.timing = MemoryTiming(
            latency=rng.choice((1, 100, 500, rng.randint(1, 500)) if far else (1, 2, 20, rng.randint(1, 30))),
            stall=rng.choice((0.3, 0.7, 0.95, rng.random() * 0.95) if slow else (0.0, 0.0, 0.05, 0.2)),
            skew=rng.choice((0, 30, 300) if far else (0, 0, 3, 10)),
            queue=queue,
            host_stall=rng.choice((0.0, 0.5, 0.9) if slow else (0.0, 0.0, 0.1, 0.3)),
            seed=rng.randrange(2**31),
        )

    def draw(self, *, layers: bool, wrong: float = 0.0, most: int = 60, **shapes: Any) -> list[Command]:
        """Commands of a run up to ``rows`` rows, at most ``most``; ``wrong``: share of those that are changed.

        They are answered by the oracle meanwhile, which ``expected`` keeps. No pair is left open. shapes: as of
        :class:`attack.draw.Draw`.
        """
        draw = Draw(self.config, self.rng, self.oracle.model, **shapes)
        commands: list[Command] = []
        self.expected: list[Expected] = []
        rows = 0
        while (rows < self.rows and len(commands) < most) or self.oracle.model.waiting is not None:
            over = len(commands) >= most
            command = draw.layer(len(commands)) if layers else draw.job(len(commands))
            if self.rng.random() < wrong and not over:
                self.spoiler.spoil(command)
            commands.append(command)
            self.expected.append(self.oracle.answer(command))
            rows += sum(job.rows for job in self.expected[-1].jobs)
        return commands

    def run(self, commands: list[Command], *, resume: bool = False) -> None:
        """Run the commands that were drawn last, and compare."""
        pauses = sorted(self.rng.randrange(20_000) for _ in range(self.rng.choice((0, 0, 0, 1))))
        layers = "job" in commands[0].fields
        try:
            raw = self.machine.attack(self.memory, commands, resume=resume, pauses=pauses)
            found = judge(self.expected, raw, self.config, layers=layers)
        except StuckError as error:
            found = Findings(commands=len(commands), hangs=1, problems=[str(error)])
        except EngineError as error:
            found = Findings(commands=len(commands), mismatches=1, problems=[str(error)])
        found.cycles = self.machine.cycle
        self.found.add(found)

    def reset(self) -> None:
        """The next run begins with a reset: nothing is known of what was on chip."""
        self.oracle = Oracle(self.config, self.memory)


def _jobs(batch: Batch) -> None:
    """Four in five batches are many rows on a quick memory, most of them of few keys: most of the values."""
    if batch.rng.random() < 0.8:
        batch.set_timing(slow=False)
        batch.rows = 6000
        keys = batch.rng.choice((4, 8, 8, 16, batch.config.max_tokens))
        batch.run(batch.draw(layers=False, large=0.8, dense=0.8, keys=keys, most=200))
    else:
        batch.run(batch.draw(layers=False, large=0.4))


def _layers(batch: Batch) -> None:
    batch.run(batch.draw(layers=True, large=0.4))


def _faults(batch: Batch) -> None:
    """Most descriptors have one to three fields, ids or heads wrong."""
    batch.rows = 1000
    batch.run(batch.draw(layers=batch.rng.random() < 0.4, wrong=0.9, large=0.0, keys=16, most=400))


def _resets(batch: Batch) -> None:
    """Runs that a reset ends in any cycle, and after each a right one."""
    for _ in range(8):
        batch.rows = batch.rng.choice((20, 60))
        commands = batch.draw(layers=batch.rng.random() < 0.5, large=0.2, wrong=0.1)
        if batch.machine.cut(batch.memory, commands, batch.rng.randint(1, batch.rng.choice((300, 3000)))):
            batch.found.faults += 1
        batch.reset()
        batch.rows = batch.rng.choice((8, 40))
        batch.run(batch.draw(layers=batch.rng.random() < 0.5, large=0.1))
        batch.reset()


def _tenants(batch: Batch) -> None:
    """Tenants with windows of their own take turns without a reset; some commands point into another's window."""
    rng, memory = batch.rng, batch.memory
    number = rng.randint(2, 4)
    size = memory.words // number
    for turn in range(10):
        tenant = rng.randrange(number)
        base, limit = random_window(size, rng)
        memory.open(tenant * size + base, tenant * size + limit)
        batch.oracle.model.move(memory.base, memory.limit)
        batch.rows = rng.choice((20, 80))
        batch.run(batch.draw(layers=rng.random() < 0.5, wrong=0.15, large=0.2), resume=turn > 0)
        if batch.found.mismatches or batch.found.hangs:
            return


CAMPAIGNS: dict[str, Callable[[Batch], None]] = {
    "jobs": _jobs,
    "layers": _layers,
    "faults": _faults,
    "resets": _resets,
    "tenants": _tenants,
}
"""Name -> what a batch does."""
