"""Jobs in contexts that take and give back regions: what the tests of the K and the V loader have in common."""

from __future__ import annotations

import dataclasses
import random
from typing import Any

from amaranth.hdl import Array, Elaboratable, Module, Signal, Value
from amaranth.lib import wiring
from amaranth.lib.wiring import In

from hdl.spec import payloads
from hdl.spec.config import PRESETS, Config
from tests.bench.harness import ProtocolError
from tests.bench.records import set_record

__all__ = ["CONFIGS", "Jobs", "Monitor", "Table"]

TINY = PRESETS["tiny"]
CONFIGS = {"tiny": TINY, "many": dataclasses.replace(TINY, contexts=8, key_rows=192, key_pages=12, banks_per_lane=2)}


class Table(Elaboratable):
    """A loader with a context table in front of it: the loader's ports, but ``words`` for ``record``."""

    def __init__(self, loader: Any, config: Config):
        self.loader = loader
        size = payloads.job_record(config).size
        self.words = [Signal(size, name=f"word_{c}") for c in range(config.contexts)]
        members = {name: member for name, member in loader.signature.members.items() if name != "record"}
        self.signature = wiring.Signature({**members, "words": In(size).array(config.contexts)})

    def __getattr__(self, name: str) -> Any:
        return getattr(self.loader, name)

    def elaborate(self, platform):
        m = Module()
        m.submodules.loader = self.loader
        m.d.comb += Value.cast(self.loader.record).eq(Array(self.words)[self.loader.context])
        return m


class Monitor:
    """A command on offer must stay until it is taken."""

    def __init__(self, stream: Any):
        self.stream, self.held = stream, None

    def look(self, ctx: Any) -> None:
        """In every cycle, when ``ready`` is set."""
        valid, word = ctx.get(self.stream.valid), ctx.get(Value.cast(self.stream.payload))
        if self.held is not None and (not valid or word != self.held):
            raise ProtocolError("a command changed before it was taken")
        self.held = word if valid and not ctx.get(self.stream.ready) else None


class Jobs:
    """Takes contexts in turn and gives them free in turn, some time after the loader's flag ``released`` is set."""

    def __init__(self, config: Config, table: Table, records: list[dict], seed: int):
        self.config, self.table, self.records = config, table, records
        self.rng = random.Random(seed)
        self.job_of: dict[int, int] = {}  # context -> job
        self.taken = self.freed = self.quiet = 0
        self.entering: int | None = None
        self.held: dict[int, tuple[int, int]] = {}  # job -> (first slot, first one after the last)

    @property
    def over(self) -> bool:
        return self.freed == len(self.records)

    def claim(self, job: int, slot: int, slots: int, limit: int) -> None:
        region = (slot, slot + slots)
        assert slot + slots <= limit
        for other in self.held.values():
            assert region[1] <= other[0] or other[1] <= region[0], "regions overlap"
        self.held[job] = region

    def begin(self, ctx: Any) -> int:
        """One cycle of the context table; returns the context that is cleared for a new job, as a mask."""
        self.quiet += 1
        assert self.quiet < 2000, "watchdog"
        loader, contexts = self.table, self.config.contexts
        clear = 0
        head = self.freed % contexts
        if self.freed < self.taken and ctx.get(loader.released) >> head & 1 and self.rng.random() < 0.3:
            ctx.set(loader.valid, ctx.get(loader.valid) & ~(1 << head))
            del self.job_of[head]
            self.freed += 1
        elif self.taken < len(self.records) and self.taken - self.freed < contexts and self.rng.random() < 0.5:
            self.entering = self.taken % contexts
            clear = 1 << self.entering
        ctx.set(loader.clear, clear)
        return clear

    def end(self, ctx: Any, clear: int, flags: Any) -> None:
        """After the clock edge: the job enters the cleared context, for which ``flags`` (a port) are reset."""
        if not clear:
            return
        context = self.entering
        assert context is not None
        record = dict.fromkeys(payloads.job_record(self.config).members, 0) | self.records[self.taken]
        set_record(ctx, self.table.words[context], self.config, record)
        ctx.set(self.table.valid, ctx.get(self.table.valid) | clear)
        ctx.set(flags, ctx.get(flags) & ~clear)
        self.job_of[context] = self.taken
        self.taken += 1
        self.quiet = 0
