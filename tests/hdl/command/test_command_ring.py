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


def test_reset():
    def prepare(dut):
        host = Host(dut, count=6, seed=5)
        return host.bench, [host.memory.process], host.got

    check_reset(lambda: CommandRing(word_width=128), prepare, cycles=3000)
