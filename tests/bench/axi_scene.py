"""Layers in memory, an AXI top beside it, and software that watches what becomes of their commands."""

from __future__ import annotations

import random
from typing import Any

import numpy as np

from hdl.spec.config import PRESETS, Config
from hdl.spec.formats import COMMAND_BYTES, COMPLETION_BYTES
from sim.transport.host_memory import HostMemory
from sim.transport.memory import MemoryImage
from tests.bench.axi_layers import Placed, place
from tests.bench.axi_system import AxiSystem, Queue

__all__ = ["QueueScene", "Scene"]

TINY = PRESETS["tiny"]
PATIENCE = 20_000
"""Cycles in which something must happen."""


class QueueScene:
    """A memory beside the top, in which queue 0 may read and write everything; ``bases``: of its channels."""

    TIMEOUT = 300

    def __init__(
        self,
        config: Config,
        memory: HostMemory,
        bases: list[int],
        *,
        log_completions: int = 3,
        stall: float = 0.0,
        seed: Any = 0,
        **options: Any,
    ):
        self.memory, self.bases = memory, bases
        self.system = AxiSystem(config, memory, stall=stall, seed=seed, **options)
        self.software = self.system.software
        self.queue = Queue(self.system, 0, log_commands=3, log_completions=log_completions)
        self.completions: dict[int, dict[str, int]] = {}
        self.before = self.memory.bytes.copy()

    @property
    def everything(self) -> tuple[int, int]:
        return self.memory.base, self.memory.limit

    async def start(self, ctx: Any, **windows: tuple[int, int]) -> None:
        """Registers, and the queue; its windows are all of the memory but for ``windows``."""
        await self.system.start(ctx, self.bases)
        await self.software.write(ctx, "timeout", cycles=self.TIMEOUT)
        await self.software.write(ctx, "irq_enable", fault=1)
        await self.queue.open(ctx, **{"readable": self.everything, "writable": self.everything, **windows})

    async def status(self, ctx: Any) -> dict[str, int]:
        return await self.software.fields(ctx, f"doorbell[{self.queue.index}].status")

    async def settle(self, ctx: Any) -> None:
        """Takes completions until every command submitted has one, or the queue is halted and nothing is in flight."""
        for _ in range(PATIENCE // 40):
            page = await self.status(ctx)
            tail = await self.software.read(ctx, f"doorbell[{self.queue.index}].completion_tail")
            while self.queue.read != tail:
                await self.take(ctx)
            if self.queue.read == self.queue.tail or (page["halted"] and not page["busy"]):
                return
            await ctx.tick().repeat(20)
        raise AssertionError(f"watchdog: {self.queue.read} of {self.queue.tail} commands are answered; {page}")

    async def take(self, ctx: Any) -> dict[str, int]:
        """The next completion."""
        found = await self.queue.completion(ctx, patience=PATIENCE)
        assert found["number"] not in self.completions, found
        self.completions[found["number"]] = found
        return found

    async def until(self, ctx: Any, name: str, field: str, value: int) -> dict[str, int]:
        """Fields of a register as soon as one of them has a value."""
        for _ in range(PATIENCE // 30):
            found = await self.software.fields(ctx, name)
            if found[field] == value:
                return found
            await ctx.tick().repeat(20)
        raise AssertionError(f"watchdog: {name}.{field} is not {value}: {found}")

    async def resume(self, ctx: Any) -> None:
        """At any time after the queue was halted; it goes on when nothing is in flight."""
        await self.software.write(ctx, f"queue[{self.queue.index}].ctrl", enable=1, resume=1)
        await self.until(ctx, f"doorbell[{self.queue.index}].status", "halted", 0)

    async def restart(self, ctx: Any) -> None:
        """The queue is disabled and enabled again, with an empty ring of completions; its counts begin anew."""
        name, queue = f"queue[{self.queue.index}].ctrl", self.queue
        await self.software.write(ctx, name)
        await self.until(ctx, f"doorbell[{queue.index}].status", "busy", 0)
        self.memory.write(queue.completions, np.zeros(COMPLETION_BYTES << queue.log_completions, np.uint8))
        self.before = self.memory.bytes.copy()
        queue.tail = queue.read = 0
        self.completions.clear()
        await self.software.write(ctx, name, enable=1)


class Scene(QueueScene):
    """``count`` layers that know nothing of each other.

    Commands of the queue are numbered as the layers are, if they are submitted in their order.
    """

    def __init__(self, seed: Any, count: int, *, log_completions: int = 3, tokens: int = 5, **options: Any):
        self.rng = rng = random.Random(f"{seed} scene")
        memory, image = HostMemory(1 << 18, fill=0xEE), MemoryImage(TINY)
        self.layers = [place(TINY, rng, image, memory, tag=index, tokens=tokens) for index in range(count)]
        stall = rng.choice((0, 0.2))
        super().__init__(
            TINY, memory, memory.place(image), log_completions=log_completions, stall=stall, seed=seed, **options
        )

    async def submit(self, ctx: Any, *layers: Placed) -> None:
        await self.queue.submit(ctx, *(layer.command for layer in layers))

    def check(self, *codes: int, begun: int = 0) -> None:
        """The commands submitted have one of these codes; what is done is right, and nothing else has changed since the
        last time but rings, and what these commands own, and those before number ``begun``."""
        layers = self.layers[: len(self.completions)]
        assert sorted(self.completions) == list(range(len(layers)))
        for number, layer in enumerate(layers):
            completion = self.completions[number]
            assert completion["code"] in codes, completion
            if completion["code"] == 0:
                assert completion["tag"] == number
                layer.check(self.memory, completion)
        changed = np.flatnonzero(self.memory.bytes != self.before) + self.memory.base
        free = [(self.queue.commands, COMMAND_BYTES << 3), (self.queue.completions, 256)]
        for first, size in [
            *free,
            *(part for layer in self.layers[: max(begun, len(layers))] for part in layer.owned()),
        ]:
            changed = changed[(changed < first) | (changed >= first + size)]
        assert not len(changed), [hex(address) for address in changed[:8]]
        self.before = self.memory.bytes.copy()
