import random
from itertools import pairwise

import pytest
from amaranth.hdl import ResetInserter, Signal, Value

from hdl.fetch.crossbar import RoundRobin, SliceCrossbar
from hdl.fetch.fetch_layouts import slice_elements, slice_tag, word_slice
from hdl.spec.config import PRESETS, Config
from hdl.spec.payloads import KEY, KEY_LSB, QUERY, VALUE
from sim.common.packing import pack, unpack
from tests.bench.harness import Simulation, made

SIZES = {"max_dim": 16, "dims": (16,), "buffer_dim": 16, "norm_lanes": 4}
MANY = Config(
    num_multipliers=32,
    lanes=4,
    max_tokens=32,
    num_channels=8,
    key_rows=64,
    value_rows=64,
    key_pages=4,
    value_pages=4,
    banks_per_lane=2,
    **SIZES,
)
WIDE = Config(num_multipliers=128, banks_per_lane=2, **SIZES)
ONE_LANE = Config(num_multipliers=16, lanes=1, num_channels=2, banks_per_lane=2, line_queue=1025, **SIZES)


def make_slice(config, channel, index, slot, kind, *, end=0, mark=0, row_last=0):
    tag = dict.fromkeys(slice_tag(config).members, 0)
    tag |= {"load": kind << config.load_width, "slot": slot, "low": 1, "mark": mark, "row_last": row_last, "end": end}
    return {"tag": tag, "words": [channel, index] + [0] * (slice_elements(config) - 2)}


def kind_of(config, tag):
    return tag["load"] >> config.load_width


def goes_to(config, item):
    """Number of its target: keys, values, query."""
    kind, slot = kind_of(config, item["tag"]), item["tag"]["slot"]
    if kind == QUERY:
        return config.key_banks + config.lanes
    return config.key_banks + slot % config.lanes if kind == VALUE else slot % config.key_banks


def run_crossbar(config, items, stall, rng, watch=None, rate=1.0):
    """Feed a list of slices per channel, at most ``rate`` a cycle.

    Returns the slices by target, the cycle of the last, and how many had come when the first channel was through.
    """
    dut = made(SliceCrossbar, config)
    shape = word_slice(config, slice_tag(config))
    targets = [*dut.keys, *dut.values, dut.query]
    results = [[] for _ in targets]
    first_through = []
    sim = Simulation(dut)
    sim.add_clock(1e-6)
    running = [len(items)]

    def driver(port, slices):
        words = [pack(shape, item) for item in slices]

        async def run(ctx):
            credit = 0
            for word in words:
                while rng.random() < stall or credit + rate < 1:
                    credit = min(40, credit + rate)
                    await ctx.tick()
                ctx.set(Value.cast(port.payload), word)
                ctx.set(port.valid, 1)
                ready = False
                while not ready:
                    _, _, ready = await ctx.tick().sample(port.ready)
                    credit = min(40, credit + rate)
                credit -= 1
                ctx.set(port.valid, 0)
            running[0] -= 1

        return run

    async def collect(ctx):
        left = sum(not item["tag"]["end"] for slices in items for item in slices)
        cycle = last = 0
        while left or running[0]:
            assert cycle < 5000
            if watch:
                watch.before(ctx, dut)
            await ctx.tick()
            cycle += 1
            written = []
            for target, port in enumerate(targets):
                if ctx.get(port.valid):
                    written.append((target, unpack(shape, ctx.get(Value.cast(port.payload)))))
            for target, item in written:
                results[target].append(item)
                left -= 1
                last = cycle
            if running[0] < len(items) and not first_through:
                first_through.extend([sum(map(len, results)), cycle])
            if watch:
                watch.after([item for _, item in written])
        if watch:
            for _ in range(8):
                watch.before(ctx, dut)
                await ctx.tick()
                watch.after([])
        first_through.append(last)

    for port, slices in zip(dut.channels, items, strict=True):
        sim.add_testbench(driver(port, slices), background=True)
    sim.add_testbench(collect)
    sim.run()
    return results, first_through[-1], first_through[:2]


CONFIGS = [PRESETS["tiny"], PRESETS["ulx3s"], MANY, ONE_LANE]
NAMES = ["tiny", "one_channel", "many", "one_lane"]


@pytest.mark.parametrize("config", CONFIGS, ids=NAMES)
@pytest.mark.parametrize("stall", [0, 0.3, 0.6])
def test_every_slice_arrives_once_in_order(config, stall):
    rng = random.Random(f"{config.name} {stall}")
    items = []
    for channel in range(config.num_channels):
        items.append([])
        for index in range(48):
            kind, end = rng.choice([KEY, KEY, KEY_LSB, VALUE, QUERY]), rng.random() < 0.1
            slot = rng.randrange(min(config.key_slots, config.value_slots))
            items[-1].append(make_slice(config, channel, index, slot, kind, end=end))
    results, _, _ = run_crossbar(config, items, stall, rng)
    for target, result in enumerate(results):
        for channel in range(config.num_channels):
            sent = [item for item in items[channel] if not item["tag"]["end"] and goes_to(config, item) == target]
            assert [item for item in result if item["words"][0] == channel] == sent


class HeadsMonitor:
    """Marks as ReadyCount keeps them: what they call ready is written; every head sees every end mark once, in order.

    A mark is as high as the last head it saw; the end mark of a load carries the mark of the next one's first row.
    """

    def __init__(self, config, items):
        self.config = config
        self.left = {kind: {} for kind in (KEY, VALUE)}  # slices of each row that are not written
        self.final = {KEY: 0, VALUE: 0}
        for item in (item for slices in items for item in slices):
            kind, mark = kind_of(config, item["tag"]), item["tag"]["mark"]
            if item["tag"]["end"]:
                self.final[kind] = max(self.final[kind], mark)
            else:
                self.left[kind][mark] = self.left[kind].get(mark, 0) + 1
        heads = SliceCrossbar.num_heads(config)
        self.marks = {kind: [0] * heads for kind in self.left}
        self.ends = [0] * heads
        self.ready_early = 0

    def before(self, ctx, dut):
        for i, head in enumerate(dut.heads):
            if not ctx.get(head.valid):
                continue
            shown = unpack(head.payload.shape(), ctx.get(Value.cast(head.payload)))
            tag, accepted = shown["tag"], shown["accepted"]
            kind = kind_of(self.config, tag)
            mark = tag["mark"] + (not tag["end"] and tag["row_last"] and accepted)
            assert mark >= self.marks[kind][i], "marks only rise"
            self.marks[kind][i] = mark
            self.ends[i] += tag["end"] and accepted

    def after(self, written):
        for item in written:
            rows = self.left[kind_of(self.config, item["tag"])]
            rows[item["tag"]["mark"]] -= 1
            if not rows[item["tag"]["mark"]]:
                del rows[item["tag"]["mark"]]
        for kind, rows in self.left.items():
            assert min(self.marks[kind]) <= min(rows, default=self.final[kind]), "ready but not written"
            self.ready_early += bool(rows) and min(self.marks[kind]) > 0


@pytest.mark.parametrize("config", CONFIGS, ids=NAMES)
@pytest.mark.parametrize("stall", [0, 0.4, 0.8])
def test_heads_tell_what_is_written(config, stall):
    """Loads of K and V rows with their end marks, rows of two slices that lie in regions of their own (pairs)."""
    rng = random.Random(f"{config.name} {stall}")
    items = [[] for _ in range(config.num_channels)]
    first = {KEY: 0, VALUE: 0}
    loads = 6
    for load in range(loads):
        kind, count = (KEY, VALUE)[load % 2], rng.randint(1, 20)
        rows = sorted(rng.sample(range(64), count))
        step = load // 2 % 2  # 0: all in one bank, so that queues are full when the end marks come
        for position, row in enumerate(rows):
            channel = items[(row + load) % config.num_channels]
            for head in range(2):
                slot = (1 + step * (position + head * 3)) % min(config.key_slots, config.value_slots)
                fields = {"mark": first[kind] + position, "row_last": head}
                channel.append(make_slice(config, 0, len(channel), slot, kind, **fields))
        first[kind] += count
        for channel in items:
            channel.append(make_slice(config, 0, len(channel), load % 2, kind, end=1, mark=first[kind]))
    watch = HeadsMonitor(config, items)
    run_crossbar(config, items, stall, rng, watch)
    assert watch.ends == [loads] * len(watch.ends)
    assert all(set(marks) == {first[kind]} for kind, marks in watch.marks.items())
    assert watch.ready_early, "something is ready before all is written"


def test_ready_does_not_wait_for_the_end_of_a_load():
    """All slices of a channel in even banks: the empty queue of the odd banks does not hold the mark back."""
    items = []
    for c in range(8):
        items.append([make_slice(MANY, 0, i, 2 * (c % 4), KEY, mark=8 * i + c, row_last=1) for i in range(20)])
        items[c].append(make_slice(MANY, 0, 20, 0, KEY, end=1, mark=160))

    class Watch(HeadsMonitor):
        def after(self, written):
            super().after(written)
            assert min(self.left[KEY], default=160) - min(self.marks[KEY]) <= 16

    watch = Watch(MANY, items)
    run_crossbar(MANY, items, 0, random.Random(1), watch)
    assert set(watch.marks[KEY]) == {160}


def test_every_bank_takes_a_slice_a_cycle():
    """Two channels for each of four banks, as in dense loads: both get half of it."""
    slots = [[channel % 4] * 30 for channel in range(8)]
    items = [[make_slice(MANY, c, i, slot, KEY) for i, slot in enumerate(row)] for c, row in enumerate(slots)]
    results, cycles, _ = run_crossbar(MANY, items, 0, random.Random(1))
    assert cycles <= 60 + SliceCrossbar.latency(MANY) + 1
    for result in results[:4]:
        channels = [item["words"][0] for item in result]
        assert all(a != b for a, b in pairwise(channels)), "round robin"


def test_keys_and_values_do_not_share_a_bank():
    """A channel with K slices and one with V slices for the same bank: neither waits for the other."""
    items = [[make_slice(MANY, c, i, c // 2, VALUE if c % 2 else KEY) for i in range(30)] for c in range(8)]
    _, cycles, _ = run_crossbar(MANY, items, 0, random.Random(1))
    assert cycles <= 30 + SliceCrossbar.latency(MANY) + 1


def traffic(num_keys, num_rows, pair, loads, seed=1):
    """K slices of ``loads`` random id lists in 16 channels, skewed by the load, with end marks; 16 banks."""
    rng = random.Random(seed)
    items = [[] for _ in range(WIDE.num_channels)]
    for load in range(loads):
        for position, row in enumerate(sorted(rng.sample(range(num_rows), num_keys))):
            channel = items[(row + load) % WIDE.num_channels]
            for _ in range(1 + pair):
                channel.append(make_slice(WIDE, 0, 0, position, KEY))
        for channel in items:
            channel.append(make_slice(WIDE, 0, 0, 0, KEY, end=1))
    return items


@pytest.mark.parametrize("pair", [0, 1])
def test_random_keys_at_the_rate_of_memory(pair):
    """16 channels give 2/3 of a slice a cycle (6 bit, D = 64 in ``paper``): what waits at the head costs below 5 %."""
    items = traffic(102, 1009, pair, 12 // (1 + pair))
    _, _, (slices, cycles) = run_crossbar(WIDE, items, 0, random.Random(1), rate=2 / 3)
    ends = 16 * slices / 102 / (1 + pair)
    assert (slices + ends) / cycles >= 0.95 * 16 * 2 / 3


def test_reset_with_slices_inside():
    """Nothing that was inside comes out after a reset."""
    dut, reset = SliceCrossbar(MANY), Signal()
    sim = Simulation(ResetInserter(reset)(dut))
    sim.add_clock(1e-6)

    async def bench(ctx):
        word = pack(word_slice(MANY, slice_tag(MANY)), make_slice(MANY, 0, 0, 3, KEY))
        for port in dut.channels:
            ctx.set(Value.cast(port.payload), word)
            ctx.set(port.valid, 1)
        await ctx.tick().repeat(10)
        assert ctx.get(dut.keys[3].valid)
        for port in dut.channels:
            ctx.set(port.valid, 0)
        ctx.set(reset, 1)
        await ctx.tick()
        ctx.set(reset, 0)
        for _ in range(10):
            assert not any(ctx.get(target.valid) for target in [*dut.keys, *dut.values, dut.query])
            assert not any(ctx.get(head.valid) for head in dut.heads)
            await ctx.tick()

    sim.add_testbench(bench)
    sim.run()


@pytest.mark.parametrize("count", [1, 2, 3, 8])
def test_round_robin_is_fair(count):
    dut = made(RoundRobin, count)
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

    sim = Simulation(dut)
    sim.add_clock(1e-6)
    sim.add_testbench(run)
    sim.run()
