"""The datapath as the controller sees it: takes commands and queries, and tells what becomes of the rows."""

from __future__ import annotations

import random
from collections import deque
from typing import Any

from amaranth.hdl import Value

from hdl.spec.config import Config
from sim.common.packing import pack, unpack
from tests.bench.region_bench import Monitor

__all__ = ["Datapath"]

COMMANDS = ("key", "key_lsb", "value", "gather_command")
OUTPUTS = (*COMMANDS, "query_request", "query", "softmax_row", "prune_row", "status")
LSB_CYCLES = 8


class Datapath:
    """Everything around a controller, one step a cycle, in random time but in the order of the real one.

    ``records``: jobs, given in turn. Rows of progressive jobs are flat at random. What was seen: ``answers`` (job ids;
    None: a job of a layer), ``commands`` by port, ``rows`` (tag, length, low) as queried, ``parameters`` of rows.
    """

    def __init__(self, dut: Any, config: Config, records: list[dict], seed: int):
        self.dut, self.config, self.records, self.rng = dut, config, records, random.Random(seed)
        self.ready = {name: self.rng.choice((0.3, 0.6, 1)) for name in OUTPUTS}
        self.monitors = [Monitor(getattr(dut, name)) for name in OUTPUTS]
        self.given = self.cycle = self.quiet = 0
        self.job_in: dict[int, dict] = {}  # context -> record
        self.answers: list[int | None] = []
        self.commands: dict[str, list[dict]] = {name: [] for name in COMMANDS}
        self.rows: list[dict] = []
        self.parameters: dict[str, list[dict]] = {"softmax_row": [], "prune_row": []}
        self.elements: list[list[int]] = []
        self.lsb_loads: deque[int] = deque()  # cycle of the command
        self.requests = 0
        # tags of rows on their way: taken by Q×K, read, decided; rows to gather, V lines to come
        self.taken, self.to_read, self.to_decide = deque(), deque(), deque()
        self.to_gather, self.gathering, self.to_accumulate = deque(), deque(), deque()
        self.outputs, self.probs = deque(), deque()

    @property
    def over(self) -> bool:
        return len(self.answers) == len(self.records)

    def chance(self, probability: float) -> bool:
        return self.rng.random() < probability

    async def bench(self, ctx: Any) -> None:
        while not self.over:
            self.cycle, self.quiet = self.cycle + 1, self.quiet + 1
            assert self.quiet < 600, f"watchdog: {len(self.answers)} of {len(self.records)} jobs answered"
            self._offer(ctx)
            self._tell(ctx)
            fired = self._look(ctx)
            await ctx.tick()
            self._after(ctx, fired)

    def _stream(self, ctx, name, payload):
        """An item on offer stays until it is taken."""
        port = getattr(self.dut, name)
        if not ctx.get(port.valid):
            ctx.set(
                Value.cast(port.payload), payload if isinstance(payload, int) else pack(port.payload.shape(), payload)
            )
            ctx.set(port.valid, 1)

    def _offer(self, ctx):
        for name in OUTPUTS:
            ctx.set(getattr(self.dut, name).ready, self.chance(self.ready[name]))
        if self.given < len(self.records) and self.chance(0.3):
            self._stream(ctx, "job", self.records[self.given])
        if self.requests and self.chance(0.5) and not ctx.get(self.dut.query_elements.valid):
            self.elements.append([self.rng.randrange(-500, 500) for _ in range(self.config.max_dim)])
            self._stream(ctx, "query_elements", self.elements[-1])
        if self.taken and self.chance(0.5):
            self._stream(ctx, "row", self.taken[0])
        if self.to_gather and self.chance(0.5):
            self._stream(ctx, "gather_row", self.to_gather[0])

    def _event(self, ctx, name, queue, chance, word=lambda item: item):
        """The oldest item of a queue, told for a cycle."""
        port = getattr(self.dut, name)
        happens = bool(queue) and self.chance(chance)
        ctx.set(port.valid, happens)
        if not happens:
            return None
        item = queue.popleft()
        value = word(item)
        ctx.set(Value.cast(port.payload), value if isinstance(value, int) else pack(port.payload.shape(), value))
        return item

    def _tell(self, ctx):
        loaded = bool(self.lsb_loads) and self.cycle - self.lsb_loads[0] > LSB_CYCLES and self.chance(0.2)
        ctx.set(self.dut.key_lsb_done, loaded)
        if loaded:
            self.lsb_loads.popleft()
        read = self._event(
            ctx, "row_read", self.to_read, 0.4, lambda row: {"context": row["tag"]["context"], "low": row["low"]}
        )
        if read:
            self.to_decide.append((read["tag"], self._flat(read["tag"])))
        decided = self._event(ctx, "decided", self.to_decide, 0.3, lambda item: {"tag": item[0], "flat": item[1]})
        if decided:
            self._decided(*decided)
        self._event(ctx, "value_done", self.to_accumulate, 0.3)
        self._event(ctx, "output", self.outputs, 0.3)
        self._event(ctx, "probs", self.probs, 0.3)

    def _flat(self, tag):
        return int(not tag["second"] and self.job_in[tag["context"]]["progressive"] and self.chance(0.5))

    def _decided(self, tag, flat):
        generation = self.job_in[tag["context"]]["generation"]
        if not flat:
            self.outputs.append(tag["context"])
            self.probs.append(tag["context"])
            if generation:
                self.to_gather.append(tag)
        if not generation:  # V lines of a dropped row are accumulated, too
            self.to_accumulate.append(tag)

    def _look(self, ctx):
        """Name -> item that is taken in this cycle."""
        for monitor in self.monitors:
            monitor.look(ctx)
        fired: dict[str, Any] = {}
        for name in (*OUTPUTS, "job", "query_elements", "row", "gather_row"):
            port = getattr(self.dut, name)
            if ctx.get(port.valid) and ctx.get(port.ready):
                fired[name] = unpack(port.payload.shape(), ctx.get(Value.cast(port.payload)))
        if ctx.get(self.dut.layer_done):
            self.answers.append(None)
        return fired

    def _after(self, ctx, fired):
        if fired:
            self.quiet = 0
        for name in ("job", "query_elements", "row", "gather_row"):
            if name in fired:
                ctx.set(getattr(self.dut, name).valid, 0)
        if "job" in fired:
            self.job_in[self.given % self.config.contexts] = self.records[self.given]
            self.given += 1
        for name in (name for name in COMMANDS if name in fired):
            self.commands[name].append(fired[name])
        if "key_lsb" in fired:
            self.lsb_loads.append(self.cycle)
        self.requests += ("query_request" in fired) - ("query_elements" in fired)
        if "query" in fired:
            row = {name: fired["query"][name] for name in ("tag", "length", "low")}
            self.rows.append(fired["query"])
            self.taken.append({"tag": row["tag"], "length": row["length"]})
            self.to_read.append(row)
        if "row" in fired:
            self.taken.popleft()
        if "gather_row" in fired:
            self.gathering.append(self.to_gather.popleft())
        if "gather_command" in fired:
            self.to_accumulate.append(self.gathering.popleft())
        for name in self.parameters:
            if name in fired:
                self.parameters[name].append(fired[name])
        if "status" in fired:
            assert fired["status"]["code"] == 0
            self.answers.append(fired["status"]["job_id"])
