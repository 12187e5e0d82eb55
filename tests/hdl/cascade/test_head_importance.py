import dataclasses
import random

import pytest
import torch
from amaranth.hdl import ResetInserter, Signal, Value
from hypothesis import given
from hypothesis import strategies as st

from golden.datapath.cascade import LIMIT, head_update
from hdl.cascade.head_importance import HeadImportance
from hdl.cascade.token_importance import SumMemory
from hdl.spec.config import PRESETS, Config
from sim.common.packing import pack
from tests.bench.examples import examples
from tests.bench.harness import Simulation, made


def config_of(max_heads: int) -> Config:
    return dataclasses.replace(PRESETS["tiny"], name=f"heads-{max_heads}", max_heads=max_heads, max_group=1)


CONFIGS = [config_of(heads) for heads in (1, 2, 5, 16)]
each_config = pytest.mark.parametrize("config", CONFIGS, ids=lambda config: config.name)


class Bench:
    """Drives the table by hand and keeps what every rank is to hold."""

    def __init__(self, config, *, idle=0.0, seed=0, reset=None, shared=True):
        self.config, self.idle, self.rng, self.reset = config, idle, random.Random(seed), reset
        self.dut = made(HeadImportance, config) if shared else HeadImportance(config)
        self.heads, self.weights, self.importance, self.sums = ([0] * config.max_heads for _ in range(4))

    def run(self, script):
        async def bench(ctx):
            self.ctx = ctx
            await script()

        sim = Simulation(self.dut if self.reset is None else ResetInserter(self.reset)(self.dut))
        sim.add_clock(1e-6)
        sim.add_testbench(bench)
        sim.run()

    def present(self, port, item):
        self.ctx.set(Value.cast(port.payload), pack(port.payload.shape(), item))
        self.ctx.set(port.valid, 1)

    async def send(self, port, item):
        while self.rng.random() < self.idle:
            await self.ctx.tick()
        self.present(port, item)
        await self.ctx.tick()
        self.ctx.set(port.valid, 0)

    async def enter(self, rank, weight=None, importance=None):
        rng = self.rng
        self.heads[rank] = rng.randrange(256)
        self.weights[rank] = rng.choice([0, 1, 0xFFFF, rng.randrange(1 << 16)]) if weight is None else weight
        some = rng.choice([0, LIMIT, LIMIT - rng.randrange(1000), rng.randint(0, LIMIT)])
        self.importance[rank] = some if importance is None else importance
        item = {"head": self.heads[rank], "weight": self.weights[rank], "importance": self.importance[rank]}
        await self.send(self.dut.entry, {"rank": rank, **item})

    async def add(self, rank, abs_sum):
        self.sums[rank] += abs_sum
        await self.send(self.dut.add, {"rank": rank, "abs_sum": abs_sum})

    async def add_many(self, count, ranks):
        """Rows of random heads, mostly several of one head behind each other."""
        rank, limit = 0, (1 << self.config.abs_sum_width) - 1
        for _ in range(count):
            if self.rng.random() < 0.4:
                rank = self.rng.randrange(ranks)
            await self.add(rank, self.rng.choice([0, limit, self.rng.randint(0, limit)]))

    async def update(self, count):
        """Start an update and wait for its end; returns the cycles it took."""
        await self.pulse(self.dut.update, count)
        tables = (torch.tensor(table[:count]).long() for table in (self.importance, self.sums, self.weights))
        self.importance[:count] = head_update(*tables).tolist()
        self.sums[:count] = [0] * count
        return await self.busy_cycles()

    async def pulse(self, port, count=0):
        self.ctx.set(self.dut.count, count)
        self.ctx.set(port, 1)
        await self.ctx.tick()
        self.ctx.set(port, 0)
        self.ctx.set(self.dut.count, self.rng.randint(0, self.config.max_heads))

    async def busy_cycles(self):
        cycles, watchdog = 0, self.config.max_heads * HeadImportance.CYCLES + 20
        while self.ctx.get(self.dut.busy):
            await self.ctx.tick()
            cycles += 1
            assert cycles < watchdog, "watchdog: busy for too long"
        return cycles

    async def check(self):
        """All ranks; what was read is the same in the cycles behind it."""
        dut, outputs = self.dut, (self.dut.head, self.dut.importance)
        order = list(range(self.config.max_heads))
        self.rng.shuffle(order)
        for rank in order:
            self.ctx.set(dut.read_en, 1)
            self.ctx.set(dut.read_rank, rank)
            await self.ctx.tick()
            assert tuple(map(self.ctx.get, outputs)) == (self.heads[rank], self.importance[rank]), rank
            self.ctx.set(dut.read_en, 0)
            self.ctx.set(dut.read_rank, self.rng.randrange(self.config.max_heads))
            while self.rng.random() < self.idle:
                await self.ctx.tick()
                assert tuple(map(self.ctx.get, outputs)) == (self.heads[rank], self.importance[rank]), rank


@each_config
@pytest.mark.parametrize("idle", [0, 0.4])
def test_layers(config, idle):
    """Entries, rows and an update right behind the last row; then a layer that goes on with the same entries."""
    bench, rng = Bench(config, idle=idle), random.Random(1)

    async def script():
        for rank in range(config.max_heads):
            await bench.enter(rank)
        for layer in range(4):
            if layer != 2:
                for rank in range(config.max_heads):
                    await bench.enter(rank)
                    await bench.add_many(3, rank + 1)
            await bench.add_many(rng.randint(0, 60), config.max_heads)
            await bench.update(config.max_heads)
            await bench.check()

    bench.run(script)


@each_config
def test_only_ranks_below_count(config):
    """The others keep importance and Σ, until an update reaches them."""
    bench = Bench(config)

    async def script():
        for rank in range(config.max_heads):
            await bench.enter(rank, 0xFFFF, 0)
        for count in range(config.max_heads + 1):
            await bench.add_many(12, config.max_heads)
            await bench.update(count)
            await bench.check()

    bench.run(script)


@pytest.mark.parametrize("cycles", range(SumMemory.LATENCY + 2))
def test_rows_of_a_rank_apart(cycles):
    bench = Bench(config_of(2))

    async def script():
        for rank in range(2):
            await bench.enter(rank, 0xFFFF, 0)
        for _ in range(2):
            for row in range(6):
                await bench.add(0, row * 0x1001 + 0x200000)
                for _ in range(cycles):
                    await bench.add(1, 0x300000)
            await bench.update(2)
            await bench.check()

    bench.run(script)


@examples(8)
@given(
    st.lists(
        st.tuples(
            st.sampled_from([0, 1, 0x8000, 0xFFFF]) | st.integers(0, 0xFFFF),
            st.sampled_from([0, LIMIT]) | st.integers(0, LIMIT),
            st.lists(
                st.sampled_from([0, 1, 1 << 47, (1 << 48) - 1])
                | st.integers(0, (1 << 48) - 1)
                | st.integers(0, (1 << 40) - 1),
                max_size=4,
            ),
        ),
        min_size=1,
        max_size=16,
    )
)
def test_any_weight_importance_and_sum(cases):
    """With rows so large that few of them fill, and overflow, Σ."""
    config = config_of(16)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Config, "abs_sum_width", 48)
        bench = Bench(config, shared=False)

        async def script():
            for rank in range(config.max_heads):
                await bench.enter(rank)
            for rank, (weight, importance, rows) in enumerate(cases):
                await bench.enter(rank, weight, importance)
                for abs_sum in rows:
                    await bench.add(rank, abs_sum)
            await bench.update(len(cases))
            await bench.check()

        bench.run(script)


def test_rows_while_updating():
    """Each counts once, in this update or in the next (the sums are such that nothing is lost by rounding)."""
    config = config_of(5)
    bench = Bench(config, seed=3)

    async def script():
        for rank in range(5):
            await bench.enter(rank, 1 << 15, 0)
        await bench.add_many(9, 5)
        total = [0] * 5
        for rank, abs_sum in enumerate(bench.sums):
            rest = -abs_sum % 512
            await bench.add(rank, rest)
            total[rank] = abs_sum + rest
        await bench.pulse(bench.dut.update, 5)
        for _ in range(60):
            rank, abs_sum = bench.rng.randrange(5), bench.rng.randrange(1 << 10) << 9
            total[rank] += abs_sum
            await bench.add(rank, abs_sum)
            await bench.ctx.tick().repeat(bench.rng.randint(1, 9))
        await bench.busy_cycles()
        bench.importance, bench.sums = [0] * 5, total
        # What the first update took is in the table already: the second brings the whole.
        await bench.update(5)
        await bench.check()

    bench.run(script)


@pytest.mark.parametrize("cycles", range(SumMemory.LATENCY + 2))
def test_clear(cycles):
    """Rows before it are forgotten, wherever they are inside; those in its own cycle and later count."""
    bench = Bench(config_of(5))

    async def script():
        for rank in range(5):
            await bench.enter(rank, 0xFFFF, 9)
        await bench.add_many(20, 5)
        await bench.add(2, 0x3000000)
        if cycles:
            await bench.ctx.tick().repeat(cycles)
        bench.sums = [0] * 5
        bench.ctx.set(bench.dut.clear, 1)
        await bench.add(2, 0x1234567)
        bench.ctx.set(bench.dut.clear, 0)
        await bench.add(2, 0x2345678)
        await bench.add_many(3, 5)
        await bench.update(5)
        await bench.check()

    bench.run(script)


def test_read_behind_the_entry():
    bench = Bench(config_of(5))

    async def script():
        for rank in (0, 1, 2, 3, 4, 3, 0):
            await bench.enter(rank)
            bench.ctx.set(bench.dut.read_en, 1)
            bench.ctx.set(bench.dut.read_rank, rank)
            await bench.ctx.tick()
            assert bench.ctx.get(bench.dut.importance) == bench.importance[rank]
            assert bench.ctx.get(bench.dut.head) == bench.heads[rank]
        await bench.check()

    bench.run(script)


def test_busy():
    """Up in the cycle behind a row or an update, also one of no ranks; ``CYCLES`` a rank."""
    bench = Bench(config_of(16))

    async def script():
        for rank in range(16):
            await bench.enter(rank)
        assert await bench.busy_cycles() == 0
        await bench.add(3, 5)
        assert await bench.busy_cycles() == SumMemory.LATENCY
        for count in (0, 1, 16):
            assert await bench.update(count) == HeadImportance.CYCLES * count + 1
        await bench.add(7, 1 << 20)
        assert await bench.update(16) == HeadImportance.CYCLES * 16 + SumMemory.LATENCY
        await bench.check()

    bench.run(script)


@pytest.mark.parametrize("cycles", [0, 1, 2, 3, 4, 9, 25])
def test_reset(cycles):
    """Every Σ is 0 behind it, and an update that was under way has ended."""
    bench = Bench(config_of(5), reset=Signal())

    async def script():
        for rank in range(5):
            await bench.enter(rank, 0xFFFF, 0)
        await bench.add_many(20, 5)
        if cycles > 4:
            await bench.pulse(bench.dut.update, 5)
        if cycles:
            await bench.ctx.tick().repeat(cycles)
        bench.ctx.set(bench.reset, 1)
        await bench.ctx.tick()
        bench.ctx.set(bench.reset, 0)
        assert not bench.ctx.get(bench.dut.busy)
        bench.sums = [0] * 5
        for rank in range(5):
            await bench.enter(rank, 0xFFFF, rank)
        await bench.add_many(3, 5)
        await bench.update(5)
        await bench.check()

    bench.run(script)
