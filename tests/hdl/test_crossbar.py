import random
from itertools import pairwise

import pytest
from amaranth.hdl import Value
from amaranth.sim import Simulator

from hdl.config import PRESETS, Config
from hdl.crossbar import RoundRobin, SliceCrossbar
from hdl.fetch_layouts import NUM_BUFFER_LOADS, slice_elements, slice_tag, word_slice
from hdl.layouts import VALUE
from sim.packing import pack, unpack

MANY = Config(
    num_multipliers=32, lanes=4, max_dim=16, dims=(16,), max_tokens=32, num_channels=8, buffer_dim=16, norm_lanes=4
)


def make_slice(config, channel, index, slot, load, end=0):
    tag = {"load": load, "position": index, "slot": slot, "units": 1, "low": 1, "row_last": 0}
    return {"tag": {**tag, "end": end}, "words": [channel, index] + [0] * (slice_elements(config) - 2)}


def run_crossbar(config, items, stall, rng):
    """Feed a list of slices per channel; returns the slices by target, and the cycles until the last one."""
    dut = SliceCrossbar(config)
    shape = word_slice(config, slice_tag(config))
    targets = [*dut.keys, *dut.values, dut.query]
    results = [[] for _ in targets]
    sim = Simulator(dut)
    sim.add_clock(1e-6)
    last = [0]
    running = [len(items)]

    def driver(port, slices):
        async def run(ctx):
            for item in slices:
                while rng.random() < stall:
                    await ctx.tick()
                ctx.set(Value.cast(port.payload), pack(shape, item))
                ctx.set(port.valid, 1)
                await ctx.tick().until(port.ready)
                ctx.set(port.valid, 0)
            running[0] -= 1

        return run

    async def collect(ctx):
        left = sum(not item["tag"]["end"] for slices in items for item in slices)
        cycle = 0
        while left:
            assert cycle < 5000
            await ctx.tick()
            cycle += 1
            for result, target in zip(results, targets, strict=True):
                if ctx.get(target.valid):
                    result.append(unpack(shape, ctx.get(Value.cast(target.payload))))
                    left -= 1
        last[0] = cycle
        while running[0]:
            await ctx.tick()

    for port, slices in zip(dut.channels, items, strict=True):
        sim.add_testbench(driver(port, slices), background=True)
    sim.add_testbench(collect)
    sim.run()
    return results, last[0]


@pytest.mark.parametrize("config", [PRESETS["tiny"], PRESETS["ulx3s"], MANY], ids=["tiny", "one_channel", "many"])
@pytest.mark.parametrize("stall", [0, 0.3, 0.6])
def test_every_slice_arrives_once_in_order(config, stall):
    rng = random.Random(f"{config.name} {stall}")
    items = []
    for channel in range(config.num_channels):
        items.append([])
        for index in range(32):
            load = rng.randrange(NUM_BUFFER_LOADS + config.query_queue)
            slot = rng.randrange(config.buffer_slots)
            items[-1].append(make_slice(config, channel, index, slot, load, end=rng.random() < 0.1))
    results, _ = run_crossbar(config, items, stall, rng)
    for target, result in enumerate(results):
        for channel in range(config.num_channels):
            sent = [item for item in items[channel] if not item["tag"]["end"] and goes_to(config, item) == target]
            assert [item for item in result if item["words"][0] == channel] == sent


def goes_to(config, item):
    tag = item["tag"]
    if tag["load"] >= NUM_BUFFER_LOADS:
        return 2 * config.lanes
    return tag["slot"] % config.lanes + (config.lanes if tag["load"] >> 1 == VALUE else 0)


def test_every_bank_takes_a_slice_a_cycle():
    """Two channels for each bank, as in dense loads: both get half of it."""
    slots = [[channel % MANY.lanes] * 30 for channel in range(8)]
    items = [[make_slice(MANY, c, i, slot, 0) for i, slot in enumerate(row)] for c, row in enumerate(slots)]
    results, cycles = run_crossbar(MANY, items, 0, random.Random(1))
    assert cycles <= 60 + SliceCrossbar.LATENCY + 1
    for result in results[: MANY.lanes]:
        channels = [item["words"][0] for item in result]
        assert all(a != b for a, b in pairwise(channels)), "round robin"


def test_keys_and_values_do_not_share_a_bank():
    """A channel with K slices and one with V slices for the same bank: neither waits for the other."""
    items = [[make_slice(MANY, c, i, c // 2, 2 * VALUE if c % 2 else 0) for i in range(30)] for c in range(8)]
    _, cycles = run_crossbar(MANY, items, 0, random.Random(1))
    assert cycles <= 30 + SliceCrossbar.LATENCY + 1


@pytest.mark.parametrize("count", [1, 2, 3, 8])
def test_round_robin_is_fair(count):
    dut = RoundRobin(count)
    rng = random.Random(count)
    waits = [0] * count

    async def run(ctx):
        for _ in range(200):
            requests = rng.getrandbits(count)
            ctx.set(dut.requests, requests)
            grant = ctx.get(dut.grant)
            assert bool(grant) == bool(requests) and grant & ~requests == 0 and grant & (grant - 1) == 0
            if grant:
                assert ctx.get(dut.index) == grant.bit_length() - 1
            for i in range(count):
                waits[i] = waits[i] + 1 if requests >> i & 1 and not grant >> i & 1 else 0
            assert max(waits) < count
            await ctx.tick()

    sim = Simulator(dut)
    sim.add_clock(1e-6)
    sim.add_testbench(run)
    sim.run()
