"""ZeroWriter: bytes in memory of the heads that are not in a table, and no others."""

import random

import pytest
from amaranth.hdl import Value

from hdl.command.open_commands import open_commands
from hdl.result.zero_writer import ZeroWriter
from hdl.spec.config import PRESETS
from hdl.spec.formats import Opcode, OutFormat
from sim.common.packing import unpack
from tests.bench.harness import check_reset, give, made, simulate
from tests.bench.region_bench import Monitor
from tests.bench.result_bench import Opened, written_bytes

TINY = PRESETS["tiny"]


def random_opened(rng, **given):
    """A layer some of whose heads are in the table."""
    group, kv_heads = rng.choice(((1, 6), (2, 3), (4, 2), (1, 1), (8, 4)))
    numbers = sorted(rng.sample(range(group * kv_heads), rng.randint(1, group * kv_heads)))
    heads = [{"head": number, "exponent": rng.randrange(256)} for number in numbers]
    out_format, dim = rng.choice(list(OutFormat)), rng.choice(TINY.dims)
    size = dim * (2 if out_format == OutFormat.BF16 else 4)
    command = {
        "opcode": int(Opcode.LAYER),
        "num_heads": len(heads),
        "num_queries": rng.choice((1, 2, 5)),
        "out": 32 * rng.getrandbits(40),
        "flags": {"zero_pruned": 1},
    }
    plan = {"group": group, "num_kv_heads": kv_heads, "dim": dim, "out_format": int(out_format),
            "out_head_stride": size + 32, "out_position_stride": group * kv_heads * (size + 32)}  # fmt: skip
    return Opened(rng.randrange(open_commands(TINY)), command | given, plan, heads)


def zeros_of(opened):
    """Addresses of the bytes that are wanted."""
    command, plan = opened.command, opened.plan
    absent = set(range(plan["group"] * plan["num_kv_heads"])) - {row["head"] for row in opened.heads}
    size = plan["dim"] * (2 if plan["out_format"] == OutFormat.BF16 else 4)
    return {
        command["out"] + query * plan["out_position_stride"] + head * plan["out_head_stride"] + byte
        for head in absent
        for query in range(command["num_queries"])
        for byte in range(size)
    }


class Bench:
    """Commands one after the other; words are taken with random stalls, and leave some cycles later."""

    def __init__(self, dut, commands, *, stall=0.3, drop_after=None):
        self.dut, self.commands, self.stall, self.drop_after = dut, commands, stall, drop_after
        self.got, self.rng, self.cycles = [], random.Random(7), 0

    async def open(self, ctx):
        for each in self.commands:
            fetched = {"command": each.command, "plan": each.plan}
            await give(ctx, self.dut.opened, {"entry": each.entry, "fetched": fetched})
            for at, row in enumerate(each.heads):
                await ctx.tick().repeat(self.rng.randint(1, 3))
                last = int(at == len(each.heads) - 1)
                await give(ctx, self.dut.head, {"entry": each.entry, "row": row, "last": last, "error": 0})
            while ctx.get(self.dut.busy):
                assert ctx.get(self.dut.at_work) == 1 << each.entry
                await ctx.tick()
            assert ctx.get(self.dut.at_work) == 0

    async def take(self, ctx):
        dut, monitor = self.dut, Monitor(self.dut.o)
        away = 0  # cycles until the word on the way leaves
        edge = ctx.tick().sample(dut.o.valid, dut.o.ready, Value.cast(dut.o.payload))
        while True:
            ctx.set(dut.o.ready, not away and self.rng.random() >= self.stall)
            ctx.set(dut.left, away == 1)
            ctx.set(dut.drop, self.drop_after is not None and len(self.got) >= self.drop_after)
            monitor.look(ctx)
            _, _, valid, ready, word = await edge
            if away:
                assert ctx.get(dut.busy)
                away -= 1
            elif valid and ready:
                self.got.append(unpack(dut.o.payload.shape(), word))
                away = self.rng.randint(1, 3)
            self.cycles += 1

    def run(self):
        simulate(self.dut, self.open, self.take, cycles=60_000)
        return self.got


@pytest.mark.parametrize("word_width", [64, 256])
@pytest.mark.parametrize("seed", range(4))
def test_zeros(word_width, seed):
    rng = random.Random(f"{seed} zeros")
    commands = [random_opened(rng) for _ in range(4)]
    dut = made(ZeroWriter, TINY, queues=2, word_width=word_width)
    got = Bench(dut, commands).run()
    memory = written_bytes(got, word_width)
    assert set(memory) == set().union(*map(zeros_of, commands))
    assert not any(memory.values())
    assert len(got) * word_width // 8 == len(memory)  # every word once
    assert all(item["last"] for item in got)


def test_of_the_command():
    """Every word names the command that asks for it."""
    each = random_opened(random.Random(2))
    each.heads = each.heads[:1]
    got = Bench(made(ZeroWriter, TINY, queues=2, word_width=64), [each]).run()
    assert got and all(item["entry"] == each.entry for item in got)


@pytest.mark.parametrize(
    ("command", "plan"),
    [
        ({"flags": {"zero_pruned": 0}}, {}),
        ({"opcode": int(Opcode.JOB)}, {}),
        ({"num_heads": 0}, {}),
        ({"num_queries": 0}, {}),
        ({"num_queries": TINY.max_tokens + 1}, {}),
        ({}, {"dim": 24}),
        ({}, {"group": 0}),
    ],
)
def test_nothing(command, plan):
    """What does not ask for zeros, and what the core refuses, writes none."""
    each = random_opened(random.Random(3))
    each.heads = each.heads[:1]
    each.command |= command
    each.plan |= plan
    dut = made(ZeroWriter, TINY, queues=2, word_width=64)

    async def open_(ctx):
        await give(ctx, dut.opened, {"entry": 1, "fetched": {"command": each.command, "plan": each.plan}})
        for _ in range(20):
            assert not ctx.get(dut.busy) and not ctx.get(dut.o.valid)
            await ctx.tick()

    simulate(dut, open_, cycles=100)


def test_drop():
    """After a fault the rest is left out: at most the row at work ends."""
    each = random_opened(random.Random(4), num_queries=40)
    each.heads = each.heads[:1]
    each.plan |= {"group": 8, "num_kv_heads": 4, "dim": 64, "out_format": 0}
    got = Bench(made(ZeroWriter, TINY, queues=2, word_width=64), [each], drop_after=100).run()
    assert 100 <= len(got) <= 100 + 64 * 4 // 8


def test_reset():
    rng = random.Random(5)
    commands = [random_opened(rng) for _ in range(2)]

    def prepare(dut):
        bench = Bench(dut, commands)
        return bench.open, [bench.take], bench.got

    check_reset(lambda: ZeroWriter(TINY, queues=2, word_width=64), prepare, cycles=20_000, resets=3)
