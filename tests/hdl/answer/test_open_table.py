"""OpenTable: every command is answered once, with the right code, a FENCE after all in front of it."""

import random

import pytest

from hdl.answer.open_fences import FENCES
from hdl.answer.open_table import OpenTable
from hdl.answer.open_writers import WRITERS
from hdl.spec.config import PRESETS
from hdl.spec.formats import Code, Opcode
from tests.bench.harness import check_reset, made, simulate
from tests.bench.region_bench import Monitor

CONFIG = PRESETS["tiny"]
TABLES = [{"state": 0x40 * n, "heads": 0x1000 * n} for n in range(1, 6)]

KINDS = (Opcode.LAYER, Opcode.LAYER, Opcode.JOB, Opcode.FENCE, Opcode.NOP, Opcode.APPEND)


class Use:
    """Commands of two queues are opened, end in any order, are answered and released, all at random.

    ``answers``: (queue, number, code) in their order. ``peak``: most commands that were open at a time.
    """

    def __init__(self, dut, *, count=60, stall=0.3, seed=0, kinds=KINDS):
        self.kinds, self.peak = kinds, 0
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
        kind = rng.choice(self.kinds)
        table, code = rng.choice(TABLES), rng.choice([0, 0, 0, int(Code.MALFORMED)])
        command = {"opcode": int(kind), "tag": rng.randrange(1 << 16), "irq": rng.randint(0, 1)}
        writes = rng.randint(0, 1)
        if not code and kind not in (Opcode.FENCE, Opcode.NOP) and self.waits(table, kind == Opcode.APPEND):
            kind = Opcode.NOP
            command["opcode"] = int(kind)
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
        self.peak = max(self.peak, len(self.open))
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
        ctx.set(self.dut.prefetch, tables["heads"])
        writers = [command["table"] for command in self.open.values() if command["writes"]]
        assert ctx.get(self.dut.working) == any(command["works"] for command in self.open.values())
        assert ctx.get(self.dut.busy) == self.waits(tables, alone)
        assert ctx.get(self.dut.prefetch_busy) == any(table["heads"] == tables["heads"] for table in writers)

    def waits(self, tables, alone):
        """Whether a command with these tables may not begin."""
        commands = self.open.values()
        writers = [command["table"] for command in commands if command["writes"]]
        return (
            any(command["alone"] for command in commands)
            or any(table[name] == tables[name] for table in writers for name in tables)
            or len(writers) == WRITERS
            or bool(alone and any(command["works"] for command in commands))
        )

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


def test_all_numbers_of_many_are_given_and_come_again():
    dut, kinds = made(OpenTable, PRESETS["paper"], queues=2), (Opcode.JOB, Opcode.NOP)
    use = Use(dut, stall=0.05, seed=5, count=300, kinds=kinds)
    assert use.dut.entries == 64
    use.release_one = lambda ctx: None if use.peak < 64 and use.opened < 290 else Use.release_one(use, ctx)
    simulate(use.dut, use.bench, cycles=5000)
    assert use.peak == 64 and len(use.answers) == use.count


def test_an_answer_and_a_number_a_cycle():
    dut, count = made(OpenTable, PRESETS["paper"], queues=1), 400

    async def bench(ctx):
        ctx.set(dut.answer.ready, 1)
        taken, opened, answers, cycles = 0, None, [], 0
        while len(answers) < count:
            ctx.set(dut.status.valid, opened is not None)
            ctx.set(dut.status.payload, {"job_id": opened or 0, "code": 0})
            valid, entry = ctx.get(dut.entry.valid), ctx.get(dut.entry.payload)
            ctx.set(dut.entry.ready, 1)
            ctx.set(dut.opened.valid, valid)
            fetched = {"queue": 0, "number": taken % 2**16, "command": {"opcode": int(Opcode.JOB)}}
            ctx.set(dut.opened.payload, {"entry": entry, "fetched": fetched})
            opened, taken, cycles = entry if valid else None, taken + valid, cycles + 1
            ctx.set(dut.release.valid, ctx.get(dut.answer.valid))
            ctx.set(dut.release.payload, ctx.get(dut.answer.payload.entry))
            answers += [ctx.get(dut.answer.payload.number)] * ctx.get(dut.answer.valid)
            await ctx.tick()
        assert answers == list(range(count)) and cycles < count + 20

    simulate(dut, bench, cycles=2 * count)


async def opened(ctx, dut, queue, opcode, **flags):
    """A command with the number that is on offer is opened; its number."""
    entry = ctx.get(dut.entry.payload)
    fetched = {"queue": queue, "number": 0, "command": {"opcode": int(opcode), "flags": flags}}
    ctx.set(dut.opened.payload, {"entry": entry, "fetched": fetched})
    for port, name in ((dut.opened, "valid"), (dut.entry, "ready")):
        ctx.set(getattr(port, name), 1)
    await ctx.tick()
    for port, name in ((dut.opened, "valid"), (dut.entry, "ready")):
        ctx.set(getattr(port, name), 0)
    await ctx.tick()
    return entry


async def event(ctx, port, payload):
    ctx.set(port.payload, payload)
    ctx.set(port.valid, 1)
    await ctx.tick()
    ctx.set(port.valid, 0)


@pytest.mark.parametrize(("code", "first"), [(0, "status"), (0, "survivors"), (3, "status")])
def test_a_selection_is_answered_when_its_last_survivor_was_taken(code, first):
    """Or at once, if the core refused it: then no survivor comes."""
    dut = made(OpenTable, CONFIG, queues=2)

    async def bench(ctx):
        await ctx.tick().repeat(2)
        layer = await opened(ctx, dut, 0, Opcode.LAYER, select=1)
        if first == "survivors":
            await event(ctx, dut.selected, layer)
            await ctx.tick().repeat(6)
            assert not ctx.get(dut.answer.valid)
        await event(ctx, dut.status, {"job_id": layer, "code": code})
        await ctx.tick().repeat(6)
        assert ctx.get(dut.answer.valid) == (code != 0 or first == "survivors")
        if code == 0 and first == "status":
            await event(ctx, dut.selected, layer)
            await ctx.tick().repeat(6)
        assert ctx.get(dut.answer.valid) and ctx.get(dut.answer.payload.code) == code

    simulate(dut, bench, cycles=100)


def test_fences_of_a_queue_wait_for_each_other_and_no_number_is_given_for_one_more():
    dut = made(OpenTable, CONFIG, queues=2)

    async def answered(ctx):
        for _ in range(8):
            if ctx.get(dut.answer.valid):
                entry = ctx.get(dut.answer.payload.entry)
                ctx.set(dut.answer.ready, 1)
                await ctx.tick()
                ctx.set(dut.answer.ready, 0)
                return entry
            await ctx.tick()
        return None

    async def bench(ctx):
        await ctx.tick().repeat(2)
        job = await opened(ctx, dut, 0, Opcode.JOB)
        fences = []
        for index in range(FENCES):
            assert ctx.get(dut.entry.valid)
            fences.append(await opened(ctx, dut, 0, Opcode.FENCE))
            await event(ctx, dut.closed, {"entry": fences[-1], "code": index})
        await ctx.tick().repeat(4)
        assert not ctx.get(dut.entry.valid)
        assert await answered(ctx) is None
        await event(ctx, dut.status, {"job_id": job, "code": 3})
        assert await answered(ctx) == job
        await ctx.tick().repeat(4)
        last = job
        for fence in fences:
            assert await answered(ctx) is None, "what is in front of it is not released"
            await event(ctx, dut.release, last)
            assert await answered(ctx) == fence
            last = fence
        await ctx.tick().repeat(2)
        assert ctx.get(dut.entry.valid)

    simulate(dut, bench, cycles=300)


def test_a_fence_waits_for_its_own_queue_only():
    dut = made(OpenTable, CONFIG, queues=2)

    async def bench(ctx):
        await ctx.tick().repeat(2)
        await opened(ctx, dut, 0, Opcode.JOB)
        waits = await opened(ctx, dut, 0, Opcode.FENCE)
        goes = await opened(ctx, dut, 1, Opcode.FENCE)
        for entry, answered in ((waits, 0), (goes, 1)):
            await event(ctx, dut.closed, {"entry": entry, "code": 0})
            await ctx.tick().repeat(4)
            assert ctx.get(dut.answer.valid) == answered
        assert ctx.get(dut.answer.payload.entry) == goes

    simulate(dut, bench, cycles=100)


def test_fences_that_are_due_at_once_are_all_answered():
    dut = made(OpenTable, CONFIG, queues=2)

    async def bench(ctx):
        await ctx.tick().repeat(2)
        entries = [await opened(ctx, dut, queue, opcode) for queue, opcode in ((0, Opcode.NOP), (0, Opcode.FENCE))]
        entries.append(await opened(ctx, dut, 1, Opcode.FENCE))
        for entry in entries:
            await event(ctx, dut.closed, {"entry": entry, "code": 0})
        await ctx.tick().repeat(4)
        await event(ctx, dut.release, entries[0])
        ctx.set(dut.answer.ready, 1)
        answers = []
        for _ in range(6):
            answers += [ctx.get(dut.answer.payload.entry)] * ctx.get(dut.answer.valid)
            await ctx.tick()
        assert sorted(answers) == sorted(entries)

    simulate(dut, bench, cycles=100)


def test_no_command_begins_when_all_places_of_writers_are_taken():
    dut = made(OpenTable, CONFIG, queues=1)

    async def bench(ctx):
        await ctx.tick().repeat(2)
        entries = []
        ctx.set(dut.tables, {"state": 0x40, "heads": 0x80})
        for index in range(WRITERS):
            assert not ctx.get(dut.busy)
            entry = ctx.get(dut.entry.payload)
            command = {"opcode": int(Opcode.LAYER), "flags": {"write_state": 1}, "state": 0x1000 << index}
            fetched = {"queue": 0, "command": command, "plan": {"heads": 0x1040 << index}}
            ctx.set(dut.entry.ready, 1)
            await event(ctx, dut.opened, {"entry": entry, "fetched": fetched})
            ctx.set(dut.entry.ready, 0)
            entries.append(entry)
            await ctx.tick().repeat(2)
        for index in range(WRITERS):
            for address, hit in ((0x1040 << index, 1), (0x1000 << index, 0)):
                ctx.set(dut.prefetch, address)
                assert ctx.get(dut.prefetch_busy) == hit
        assert ctx.get(dut.busy)
        await event(ctx, dut.release, entries[2])
        assert not ctx.get(dut.busy)
        ctx.set(dut.prefetch, 0x1040 << 2)
        assert not ctx.get(dut.prefetch_busy)

    simulate(dut, bench, cycles=100)


def test_reset():
    def prepare(dut):
        use = Use(dut, count=10, seed=5)
        return use.bench, [], use.answers

    check_reset(lambda: OpenTable(CONFIG, queues=2), prepare, cycles=2000)
