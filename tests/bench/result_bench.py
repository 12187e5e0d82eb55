"""Blocks that know of open commands: these are opened, then items go in and come out, with random stalls."""

from __future__ import annotations

import dataclasses
import random
from collections.abc import Sequence
from typing import Any

from amaranth.hdl import Value

from sim.common.packing import pack, unpack
from tests.bench.harness import check_reset, give, simulate
from tests.bench.region_bench import Monitor

__all__ = ["Opened", "Pump", "check_pump_reset", "check_written", "written_bytes"]


@dataclasses.dataclass
class Opened:
    """An open command: its number, fields of the command and of its plan, and its rows of the table of heads."""

    entry: int
    command: dict[str, Any]
    plan: dict[str, Any]
    heads: Sequence[dict[str, int]]


class Pump:
    """``items`` into the port ``i``, all that comes to ``o`` into ``got``, at least ``count``; none may follow.

    flag: name of an output; ``flags`` counts the cycles in which it was high. Bytes that a word does not write are 0.
    """

    def __init__(
        self,
        dut: Any,
        opened: Sequence[Opened],
        i: str,
        items: Sequence[Any],
        o: str,
        count: int,
        *,
        flag: str | None = None,
        stall: float = 0.3,
        seed: object = 0,
    ):
        self.dut, self.opened, self.i, self.o = dut, opened, getattr(dut, i), getattr(dut, o)
        self.items = [pack(self.i.payload.shape(), item) for item in items]
        self.count, self.stall, self.rng = count, stall, random.Random(f"{seed} pump")
        self.flag = None if flag is None else getattr(dut, flag)
        self.got: list[Any] = []
        self.flags = self.cycles = 0

    async def open(self, ctx: Any) -> None:
        for each in self.opened:
            fetched = {"command": each.command, "plan": each.plan}
            await give(ctx, self.dut.opened, {"entry": each.entry, "fetched": fetched})
            for at, row in enumerate(each.heads):
                await ctx.tick().repeat(self.rng.randint(1, 2))
                last = at == len(each.heads) - 1
                await give(ctx, self.dut.head, {"entry": each.entry, "row": row, "last": last, "error": 0})

    async def bench(self, ctx: Any) -> None:
        await self.open(ctx)
        monitor, given, taken, left = Monitor(self.o), False, 0, 30
        flag = self.o.valid if self.flag is None else self.flag
        edge = ctx.tick().sample(self.i.ready, self.o.valid, self.o.ready, Value.cast(self.o.payload), flag)
        while left:
            given = taken < len(self.items) and (given or self.rng.random() >= self.stall)
            if given:
                ctx.set(Value.cast(self.i.payload), self.items[taken])
            ctx.set(self.i.valid, given)
            ctx.set(self.o.ready, self.rng.random() >= self.stall)
            monitor.look(ctx)
            _, _, accepted, valid, ready, word, high = await edge
            self.cycles += 1
            self.flags += high
            if given and accepted:
                taken, given = taken + 1, False
            if valid and ready:
                self.got.append(_seen(unpack(self.o.payload.shape(), word)))
            left -= taken == len(self.items) and len(self.got) >= self.count
        ctx.set(self.i.valid, 0)

    def run(self, *, cycles: int = 20_000) -> list[Any]:
        simulate(self.dut, self.bench, cycles=cycles)
        assert len(self.got) == self.count, f"{len(self.got)} items, expected {self.count}"
        return self.got


def _seen(item: dict[str, Any]) -> dict[str, Any]:
    if "write" in item:
        write = item["write"]
        bytes_ = [place for place in range(64) if write["strobes"] >> place & 1]
        write["data"] = sum(write["data"] & 0xFF << 8 * place for place in bytes_)
    return item


def check_pump_reset(make: Any, use: Any, *, cycles: int = 5000) -> None:
    """:func:`check_reset` of a block with ``use(dut)``, a pump made anew each time."""

    def prepare(dut):
        pump = use(dut)
        return pump.bench, [], pump.got

    check_reset(make, prepare, cycles=cycles, resets=3)


def written_bytes(words: Sequence[dict[str, Any]], word_width: int) -> dict[int, int]:
    """Byte address -> byte, of items of ``written_word`` in their order."""
    size, found = word_width // 8, {}
    for item in words:
        write = item["write"]
        for byte in range(size):
            if write["strobes"] >> byte & 1:
                found[write["word"] * size + byte] = write["data"] >> 8 * byte & 0xFF
    return found


def check_written(pump: Pump, word_width: int, memory: dict[int, int], lasts: int, entries: dict[int, int]) -> None:
    """The pump's words are these bytes; ``lasts`` of them are ``last``, as many as its flag was high.

    entries: number of the command that owns a megabyte of addresses.
    """
    got = pump.run()
    assert written_bytes(got, word_width) == memory
    assert pump.flags == sum(item["last"] for item in got) == lasts
    assert all(item["entry"] == entries[item["write"]["word"] * word_width // 8 >> 20] for item in got)
