import dataclasses
import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fpga.memory.block_memory import BlockMemory
from fpga.spec.settings import SystemSettings
from hdl.spec.config import PRESETS
from tests.bench.examples import examples
from tests.bench.harness import Simulation, made
from tests.bench.memory_bench import MemoryBench


def make_settings(channels=2, words=64):
    core = dataclasses.replace(PRESETS["tiny"], num_channels=channels)
    return SystemSettings(core=core, clock_hz=90_000_000, memory_words=words)


def filled(bench, rng, words):
    """Host accesses that write every word."""
    width = bench.config.channel_width
    return [
        bench.access(channel, address, rng.getrandbits(width))
        for channel in range(bench.config.num_channels)
        for address in range(words)
    ]


@pytest.mark.parametrize("channels", [1, 2, 4])
@pytest.mark.parametrize("stall", [0, 0.3, 0.7])
def test_core_and_host_at_once(channels, stall):
    """Addresses reach beyond the memory, so that they wrap."""
    rng = random.Random(channels)
    design = make_settings(channels)
    memory = made(BlockMemory, design)
    bench = MemoryBench(memory, design)
    core = [[rng.randrange(100) for _ in range(400)] for _ in range(channels)]
    host = filled(bench, rng, 64)
    for _ in range(200):
        word = rng.getrandbits(64) if rng.random() < 0.5 else None
        host.append(bench.access(rng.randrange(channels), rng.randrange(100), word))
    bench.run(memory, core, host, stall=stall, host_stall=stall, seed=channels)


@given(
    st.lists(st.tuples(st.integers(0, 3), st.booleans(), st.booleans()), min_size=1, max_size=60),
    st.sampled_from([0, 0.5]),
    st.integers(0, 99),
)
@examples(25)
def test_a_read_sees_the_writes_before_it(steps, stall, seed):
    """Few addresses, so that reads and writes meet."""
    design = make_settings(1, words=4)
    memory = made(BlockMemory, design)
    bench = MemoryBench(memory, design)
    core = [[address for address, is_host, _ in steps if not is_host]]
    host = [bench.access(0, a, i + 1 if write else None) for i, (a, is_host, write) in enumerate(steps) if is_host]
    bench.run(memory, core, host, stall=stall, host_stall=stall, seed=seed)


@pytest.mark.parametrize("channels", [1, 2])
def test_a_word_a_cycle(channels):
    design = make_settings(channels)
    memory = made(BlockMemory, design)
    cycles = MemoryBench(memory, design).run(memory, [list(range(64)) * 4] * channels)
    assert cycles == 256 + BlockMemory.LATENCY


def test_the_host_does_not_starve_the_core():
    """Nor the core the host: both ask without a pause."""
    design = make_settings(1)
    memory = made(BlockMemory, design)
    bench = MemoryBench(memory, design)
    host = [bench.access(0, number % 64, number) for number in range(300)]
    cycles = bench.run(memory, [list(range(64)) * 6], host)
    assert cycles <= 300 * 2 + 384 - 300 + BlockMemory.LATENCY + 2


def test_clear_sets_words_read_to_zero():
    design = make_settings(1)
    memory = made(BlockMemory, design)

    async def bench(ctx):
        port = memory.core[0]
        ctx.set(port.request.valid, 1)
        ctx.set(port.response.ready, 1)
        await ctx.tick().repeat(20)
        ctx.set(port.request.valid, 0)
        await ctx.tick().repeat(10)
        assert ctx.get(memory.words_read[0]) == 20
        ctx.set(memory.clear, 1)
        await ctx.tick()
        ctx.set(memory.clear, 0)
        assert ctx.get(memory.words_read[0]) == 0

    simulator = Simulation(memory)
    simulator.add_clock(1e-6)
    simulator.add_testbench(bench)
    simulator.run()


def test_responses_wait_for_the_core():
    """A core that takes nothing gets no more than DEPTH words promised, and then every one of them."""
    design = make_settings(1)
    memory = made(BlockMemory, design)

    async def bench(ctx):
        port, taken = memory.core[0], 0
        ctx.set(port.request.valid, 1)
        for _ in range(60):
            _, _, ready = await ctx.tick().sample(port.request.ready)
            taken += ready
        assert taken == 16
        assert not ctx.get(memory.idle)
        ctx.set(port.request.valid, 0)
        ctx.set(port.response.ready, 1)
        for _ in range(30):
            _, _, valid = await ctx.tick().sample(port.response.valid)
            taken -= valid
        assert taken == 0
        assert ctx.get(memory.idle)

    simulator = Simulation(memory)
    simulator.add_clock(1e-6)
    simulator.add_testbench(bench)
    simulator.run()
