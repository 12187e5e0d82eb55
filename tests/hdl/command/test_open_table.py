"""OpenTable: every command is answered once, with the right code, a FENCE after all in front of it."""

import random

import pytest
from amaranth.hdl import Value

from hdl.command.open_commands import open_commands
from hdl.command.open_table import OpenTable
from hdl.spec.config import PRESETS
from hdl.spec.formats import Code, Opcode
from tests.bench.harness import check_reset, made, simulate
from tests.bench.region_bench import Monitor

CONFIG = PRESETS["tiny"]
ENTRIES = open_commands(CONFIG)
TABLES = [{"state": 0x40 * n, "heads": 0x1000 * n} for n in range(1, 6)]


class Use:
    """Commands of two queues are opened, end in any order, are answered and released, all at random.

    ``answers``: (queue, number, code) in their order.
    """

    def __init__(self, dut, *, count=60, stall=0.3, seed=0):
        self.dut, self.count, self.stall, self.rng = dut, count, stall, random.Random(seed)
        self.open, self.order, self.answers, self.numbers = {}, [], [], [0, 0]
        self.opened = self.released = 0

    async def bench(self, ctx):
        monitors = [Monitor(self.dut.entry), Monitor(self.dut.answer)]
        while self.released < self.count:
            self.offer_nothing(ctx)
            self.open_one(ctx)
            self.end_some(ctx)
            released = self.release_one(ctx)
            self.look_at_tables(ctx)
            ctx.set(self.dut.answer.ready, self.rng.random() >= self.stall)
            for monitor in monitors:
                monitor.look(ctx)
            assert ctx.get(self.dut.open) == sum(1 << entry for entry in self.open)
            sampled = (self.dut.answer.valid, self.dut.answer.ready, self.dut.answer.payload)
            _, _, valid, ready, answer = await ctx.tick().sample(*sampled)
            if released is not None:
                self.release(released)
            self.begin()
            if valid and ready:
                self.check(answer)
        self.offer_nothing(ctx)

    def offer_nothing(self, ctx):
        dut = self.dut
        for port in (dut.opened, dut.closed, dut.status, dut.release, *dut.failed):
            ctx.set(port.valid, 0)
        ctx.set(dut.entry.ready, 0)
        self.begins = None

    def open_one(self, ctx):
        """A number is taken and its command opened in the same cycle."""
        dut, rng = self.dut, self.rng
        if self.opened == self.count or not ctx.get(dut.entry.valid) or rng.random() < self.stall:
            return
        entry, queue = ctx.get(dut.entry.payload), rng.randrange(2)
        assert entry not in self.open
        kind = rng.choice([Opcode.LAYER, Opcode.LAYER, Opcode.JOB, Opcode.FENCE, Opcode.NOP, Opcode.APPEND])
        table, code = rng.choice(TABLES), rng.choice([0, 0, 0, int(Code.MALFORMED)])
        command = {"opcode": int(kind), "tag": rng.randrange(1 << 16), "irq": rng.randint(0, 1)}
        writes = rng.randint(0, 1)
        flags = {"write_state": writes}
        number = self.numbers[queue]
        fetched = {
            "queue": queue, "number": number, "code": code, "pair": 0,
            "command": {**command, "flags": flags, "state": table["state"]}, "plan": {"heads": table["heads"]},
        }  # fmt: skip
        ctx.set(dut.opened.payload, {"entry": entry, "fetched": fetched})
        ctx.set(dut.opened.valid, 1)
        ctx.set(dut.entry.ready, 1)
        plain = bool(code) or kind in (Opcode.FENCE, Opcode.NOP)
        self.begins = entry, {
            **command, "queue": queue, "number": number, "want": code, "plain": plain, "table": table, "failed": False,
            "writes": bool(writes) and not code and kind == Opcode.LAYER, "done": False, "told": False,
            "works": not plain, "alone": not code and kind == Opcode.APPEND,
        }  # fmt: skip

    def begin(self):
        """What was opened in the last cycle; a FENCE waits for those of its queue that are open now."""
        if self.begins is None:
            return
        entry, command = self.begins
        command["ahead"] = {at for at, other in self.open.items() if other["queue"] == command["queue"]}
        self.open[entry] = command
        self.numbers[command["queue"]] += 1
        self.opened += 1

    def end_some(self, ctx):
        """One open command is closed, or has its status, another one fails."""
        dut, rng = self.dut, self.rng
        running = [entry for entry, command in self.open.items() if not command["done"]]
        if running and rng.random() >= self.stall:
            entry = rng.choice(running)
            command = self.open[entry]
            command["done"] = True
            if command["plain"]:
                ctx.set(dut.closed.payload, {"entry": entry, "code": command["want"]})
                ctx.set(dut.closed.valid, 1)
            else:
                command["want"] = rng.choice([0, 0, rng.randint(1, 11)])
                ctx.set(dut.status.payload, {"job_id": entry, "code": command["want"]})
                ctx.set(dut.status.valid, 1)
        running = [entry for entry, command in self.open.items() if not command["done"] and not command["plain"]]
        if running and rng.random() < 0.2:
            entry = rng.choice(running)
            self.open[entry]["failed"] = True
            port = dut.failed[rng.randrange(2)]
            ctx.set(port.payload, entry)
            ctx.set(port.valid, 1)

    def release_one(self, ctx):
        told = [entry for entry, command in self.open.items() if command["told"]]
        if not told or self.rng.random() < self.stall:
            return None
        entry = self.rng.choice(told)
        ctx.set(self.dut.release.payload, entry)
        ctx.set(self.dut.release.valid, 1)
        return entry

    def release(self, entry):
        del self.open[entry]
        self.released += 1
        for command in self.open.values():
            command["ahead"].discard(entry)

    def look_at_tables(self, ctx):
        tables = {"state": self.rng.choice(TABLES)["state"], "heads": self.rng.choice(TABLES)["heads"]}
        alone = self.rng.randint(0, 1)
        ctx.set(self.dut.tables, tables | {"alone": alone})
        want = any(
            command["alone"] or (command["writes"] and any(command["table"][name] == tables[name] for name in tables))
            for command in self.open.values()
        )
        working = any(command["works"] for command in self.open.values())
        assert ctx.get(self.dut.working) == working
        assert ctx.get(self.dut.busy) == (want or (alone and working))

    def check(self, answer):
        command = self.open[answer.entry]
        assert command["done"] and not command["told"]
        assert command["opcode"] != Opcode.FENCE or not command["ahead"]
        command["told"] = True
        want = Code.READ_ERROR if command["failed"] else command["want"]
        for name in ("queue", "number", "opcode", "tag", "irq"):
            assert answer[name] == command[name]
        assert answer.code == want
        self.answers.append((answer.queue, answer.number, answer.code))


@pytest.mark.parametrize(("stall", "seed"), [(0, 1), (0.3, 2), (0.6, 3), (0.9, 4)])
def test_random_commands(stall, seed):
    use = Use(made(OpenTable, CONFIG, queues=2), stall=stall, seed=seed, count=40 if stall > 0.8 else 150)
    simulate(use.dut, use.bench, cycles=20_000)
    assert len(use.answers) == use.count
    for queue in range(2):
        assert sorted(number for q, number, _ in use.answers if q == queue) == list(range(use.numbers[queue]))


def test_as_many_as_there_are_numbers():
    dut = made(OpenTable, CONFIG, queues=1)

    async def bench(ctx):
        numbers = []
        ctx.set(dut.entry.ready, 1)
        for _ in range(4 * ENTRIES):
            _, _, valid, number = await ctx.tick().sample(dut.entry.valid, dut.entry.payload)
            numbers += [number] * valid
        assert sorted(numbers) == list(range(ENTRIES))
        ctx.set(dut.release.payload, 5)
        ctx.set(dut.release.valid, 1)
        await ctx.tick()
        ctx.set(dut.release.valid, 0)
        await ctx.tick()
        assert ctx.get(dut.entry.valid) and ctx.get(Value.cast(dut.entry.payload)) == 5, "2 cycles after its release"

    simulate(dut, bench, cycles=200)


def test_a_fence_waits_for_its_own_queue_only():
    dut = made(OpenTable, CONFIG, queues=2)

    async def opened(ctx, queue, opcode):
        entry = ctx.get(dut.entry.payload)
        fetched = {"queue": queue, "number": 0, "command": {"opcode": int(opcode)}}
        ctx.set(dut.opened.payload, {"entry": entry, "fetched": fetched})
        for port, name in ((dut.opened, "valid"), (dut.entry, "ready")):
            ctx.set(getattr(port, name), 1)
        await ctx.tick()
        for port, name in ((dut.opened, "valid"), (dut.entry, "ready")):
            ctx.set(getattr(port, name), 0)
        await ctx.tick()
        return entry

    async def closed(ctx, entry):
        ctx.set(dut.closed.payload, {"entry": entry, "code": 0})
        ctx.set(dut.closed.valid, 1)
        await ctx.tick()
        ctx.set(dut.closed.valid, 0)
        await ctx.tick().repeat(2)

    async def bench(ctx):
        await ctx.tick().repeat(2)
        await opened(ctx, 0, Opcode.JOB)
        waits = await opened(ctx, 0, Opcode.FENCE)
        goes = await opened(ctx, 1, Opcode.FENCE)
        await closed(ctx, waits)
        assert not ctx.get(dut.answer.valid)
        await closed(ctx, goes)
        assert ctx.get(dut.answer.valid) and ctx.get(dut.answer.payload.entry) == goes

    simulate(dut, bench, cycles=100)


def test_reset():
    def prepare(dut):
        use = Use(dut, count=10, seed=5)
        return use.bench, [], use.answers

    check_reset(lambda: OpenTable(CONFIG, queues=2), prepare, cycles=2000)
