"""CommandRing: every command of the ring once, in order, never one that the host has not written."""

import random

import pytest

from hdl.command.command_ring import CommandRing
from hdl.spec.formats import COMMAND_BYTES
from tests.bench.harness import check_reset, made, simulate
from tests.bench.region_bench import Monitor
from tests.bench.table_memory import TableMemory

BASE = 0x12_3456_7000


class Host:
    """Writes random commands, moves the tail, takes what comes; ``got``: (number, command, error)."""

    def __init__(self, dut, *, log_size=2, count=30, stall=0.3, seed=0, bad=()):
        self.dut, self.log_size, self.count, self.stall, self.got = dut, log_size, count, stall, []
        self.rng = random.Random(seed)
        self.memory = TableMemory(dut.port, dut.word_width, stall=stall, seed=seed)
        self.commands = [self.rng.getrandbits(8 * COMMAND_BYTES) for _ in range(count)]
        self.bad = set(bad)

    def write(self, number):
        at = BASE + COMMAND_BYTES * (number % (1 << self.log_size))
        self.memory.write(at, self.commands[number], COMMAND_BYTES)
        words = range(at // self.memory.bytes, (at + COMMAND_BYTES) // self.memory.bytes)
        self.memory.bad -= set(words)
        if number in self.bad:
            self.memory.bad.add(words[-1])

    async def bench(self, ctx):
        dut, rng, written, monitor = self.dut, self.rng, 0, Monitor(self.dut.o)
        ctx.set(dut.base, BASE)
        ctx.set(dut.log_size, self.log_size)
        ctx.set(dut.enable, 1)
        ctx.set(dut.run, 1)
        ctx.set(dut.log_completions, 15)
        ctx.set(dut.completion_head, 0)
        while len(self.got) < self.count:
            room = ctx.get(dut.head) + (1 << self.log_size) - written
            assert 0 <= room <= 1 << self.log_size
            if written < self.count and room and rng.random() < 0.2:
                for number in range(written, min(self.count, written + rng.randint(1, room))):
                    self.write(number)
                    written = number + 1
                ctx.set(dut.tail, written)
            ready = rng.random() >= self.stall
            ctx.set(dut.o.ready, ready)
            monitor.look(ctx)
            _, _, valid, slot = await ctx.tick().sample(dut.o.valid, dut.o.payload)
            if valid and ready:
                assert slot.number < written
                self.got.append((slot.number, slot.command, slot.error))
        assert len(self.memory.reads) == self.count and ctx.get(dut.idle)

    def want(self):
        return [(number, command, int(number in self.bad)) for number, command in enumerate(self.commands)]


@pytest.mark.parametrize("word_width", [64, 256, 512])
@pytest.mark.parametrize(("log_size", "stall"), [(0, 0), (1, 0.3), (2, 0), (4, 0.5)])
def test_commands(word_width, log_size, stall):
    host = Host(made(CommandRing, word_width=word_width), log_size=log_size, stall=stall, bad={3, 4, 9})
    simulate(host.dut, host.bench, host.memory.process, cycles=20_000)
    assert {number for number, _, error in host.got if error} == host.bad
    assert [item for item in host.got if not item[2]] == [item for item in host.want() if not item[2]]


def test_disabled_it_reads_nothing_and_begins_anew():
    host = Host(CommandRing(word_width=64), count=2, stall=0)
    dut = host.dut

    async def bench(ctx):
        for _ in range(2):
            host.got.clear()
            host.memory.reads.clear()
            await host.bench(ctx)
            ctx.set(dut.enable, 0)
            ctx.set(dut.tail, 7)
            await ctx.tick().repeat(30)
            assert ctx.get(dut.head) == 0 and not ctx.get(dut.o.valid) and len(host.memory.reads) == 2
            ctx.set(dut.tail, 0)
        assert host.got == host.want()

    simulate(dut, bench, host.memory.process, cycles=2000)


@pytest.mark.parametrize("log_completions", [0, 1, 3])
def test_no_command_leaves_without_room_for_its_answer(log_completions):
    host = Host(CommandRing(word_width=64), log_size=4, count=20, stall=0.2)
    dut, room = host.dut, 1 << log_completions
    host.read = 0

    async def reader(ctx):
        ctx.set(dut.log_completions, log_completions)
        while True:
            if host.rng.random() < 0.05:
                host.read = min(len(host.got), host.read + host.rng.randint(1, 2))
                ctx.set(dut.completion_head, host.read)
            await ctx.tick()

    async def bench(ctx):
        ctx.set(dut.enable, 1)
        ctx.set(dut.run, 1)
        ctx.set(dut.base, BASE)
        ctx.set(dut.log_size, host.log_size)
        for number in range(16):
            host.write(number)
        ctx.set(dut.tail, 16)
        ctx.set(dut.o.ready, 1)
        while len(host.got) < 16:
            _, _, valid, slot = await ctx.tick().sample(dut.o.valid, dut.o.payload)
            if valid:
                assert len(host.got) < host.read + room
                host.got.append((slot.number, slot.command, slot.error))
        assert ctx.get(dut.number) == 16
        host.count = 16

    simulate(dut, bench, host.memory.process, reader, cycles=20_000)
    assert host.got == host.want()[:16]


@pytest.mark.parametrize("log_completions", [0, 1, 2])
def test_a_second_command_is_announced_when_it_was_asked_for_and_both_have_room(log_completions):
    """``spare`` of the one on offer; a ring of one completion has never ``more``."""
    host = Host(CommandRing(word_width=64), log_size=2, count=4, stall=0)
    dut, size = host.dut, 1 << log_completions

    async def bench(ctx):
        for number in range(4):
            host.write(number)
        for port, value in ((dut.base, BASE), (dut.log_size, 2), (dut.log_completions, log_completions)):
            ctx.set(port, value)
        for port, value in ((dut.enable, 1), (dut.run, 1), (dut.tail, 4)):
            ctx.set(port, value)
        for number in range(4):
            ctx.set(dut.completion_head, number)
            while not ctx.get(dut.o.valid):
                await ctx.tick()
            assert ctx.get(dut.o.payload.more) == int(number < 3 and size > 1)
            await ctx.tick().repeat(100)  # what can be asked for is
            for read in range(number + 1):
                ctx.set(dut.completion_head, read)
                await ctx.tick().repeat(2)
                assert ctx.get(dut.spare) == int(number < 3 and number - read + 2 <= size)
            ctx.set(dut.o.ready, 1)
            await ctx.tick()
            ctx.set(dut.o.ready, 0)

    simulate(dut, bench, host.memory.process, cycles=2000)


def test_stopped_none_is_read_and_flushed_none_waits_for_room():
    host = Host(CommandRing(word_width=64), log_size=4, count=16, stall=0)
    dut = host.dut

    async def bench(ctx):
        for number in range(16):
            host.write(number)
        for port, value in (
            (dut.base, BASE), (dut.log_size, 4), (dut.log_completions, 1), (dut.enable, 1), (dut.o.ready, 1),
            (dut.tail, 16),
        ):  # fmt: skip
            ctx.set(port, value)
        await ctx.tick().repeat(60)
        assert not host.memory.reads and ctx.get(dut.number) == 0
        ctx.set(dut.run, 1)
        await ctx.tick().repeat(300)
        assert len(host.memory.reads) == 2 + CommandRing.AHEAD and ctx.get(dut.number) == 2
        assert not ctx.get(dut.reading) and not ctx.get(dut.idle)
        ctx.set(dut.flush, 1)
        await ctx.tick().repeat(400)
        assert ctx.get(dut.number) == 16 and ctx.get(dut.idle)

    simulate(dut, bench, host.memory.process, cycles=2000)


def test_the_next_ones_come_while_one_is_on_its_way():
    """A command in few cycles, however long memory takes."""
    host = Host(CommandRing(word_width=512), log_size=5, count=32, stall=0)
    dut, cycles = host.dut, []
    host.memory.accept = lambda address, words, waiting, cycle: waiting.append((cycle + 40, address // 64))

    async def bench(ctx):
        for number in range(32):
            host.write(number)
        for port, value in (
            (dut.base, BASE), (dut.log_size, 5), (dut.log_completions, 5), (dut.enable, 1), (dut.o.ready, 1),
            (dut.run, 1), (dut.tail, 32),
        ):  # fmt: skip
            ctx.set(port, value)
        while len(cycles) < 32:
            _, _, valid = await ctx.tick().sample(dut.o.valid)
            cycles.extend([0] * valid)

    simulate(dut, bench, host.memory.process, cycles=32 * 50 // CommandRing.AHEAD + 60)


def test_reset():
    def prepare(dut):
        host = Host(dut, count=6, seed=5)
        return host.bench, [host.memory.process], host.got

    check_reset(lambda: CommandRing(word_width=128), prepare, cycles=3000)
