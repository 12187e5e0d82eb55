import random

import pytest
from amaranth.hdl import ResetInserter, Signal

from hdl.topk.part_store import PartStore
from tests.bench.harness import Simulation, made


@pytest.mark.parametrize("lanes", [1, 2, 4, 8])
def test_packs_lines(lanes):
    dut = made(PartStore, score_width=8, lanes=lanes, depth=16)
    rng, reset = random.Random(lanes), Signal()

    async def bench(ctx):
        for number in range(8):
            if number % 3 == 2:  # a reset in the middle of a part: nothing of it is written
                ctx.set(dut.mask, -1)
                ctx.set(dut.en, 1)
                await ctx.tick().repeat(2)
                ctx.set(dut.en, 0)
                ctx.set(reset, 1)
                await ctx.tick()
                ctx.set(reset, 0)
            ctx.set(dut.start, 1)
            await ctx.tick()
            ctx.set(dut.start, 0)
            stored, count, behind = [], rng.randint(1, 12), [0] * lanes
            for line_number in range(count):
                items = [rng.randrange(-128, 128) for _ in range(lanes)]
                mask = rng.getrandbits(lanes)
                stored += [item for lane, item in enumerate(items) if mask >> lane & 1]
                ctx.set(dut.en, 1)
                ctx.set(dut.last, line_number == count - 1)
                ctx.set(dut.mask, mask)
                ctx.set(dut.items, behind)
                behind = items
                await ctx.tick()
            ctx.set(dut.en, 0)
            ctx.set(dut.items, behind)
            await ctx.tick().repeat(8)
            for at in range(0, len(stored), lanes):
                ctx.set(dut.read_en, 1)
                ctx.set(dut.read_addr, (ctx.get(dut.base) + at // lanes) % 16)
                await ctx.tick()
                line = stored[at : at + lanes]
                assert [ctx.get(dut.read_data[lane]) for lane in range(len(line))] == line

    sim = Simulation(ResetInserter(reset)(dut))
    sim.add_clock(1e-6)
    sim.add_testbench(bench)
    sim.run()
