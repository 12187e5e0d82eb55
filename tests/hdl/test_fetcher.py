import random

import pytest
from amaranth.hdl import Cat, ResetInserter, Signal, Value
from amaranth.sim import Simulator

from hdl.config import PRESETS, Config
from hdl.fetcher import Fetcher
from hdl.id_list import ChannelList
from hdl.layouts import KEY, KEY_LSB, QUERY, VALUE
from sim.packing import pack, unpack
from tests.hdl.fetch_model import Planes, words_read
from tests.hdl.memory_model import SimMemory

TINY = PRESETS["tiny"]
WIDE = Config(
    num_multipliers=128,
    lanes=8,
    max_dim=64,
    dims=(16, 32, 48, 64),
    max_tokens=128,
    buffer_dim=48,
    num_channels=16,
    channel_width=64,
    topk_parallelism=8,
    norm_lanes=8,
    outstanding=32,
    slice_queue=8,
    query_queue=3,
    line_queue=80,
)
"""Slices and words in the proportion of the preset ``paper`` (3 words a 12-bit slice), a quarter as wide."""
ODD = Config(
    num_multipliers=32,
    lanes=4,
    max_dim=128,
    dims=(16, 80, 96, 128),
    operand_width=16,
    max_tokens=9,
    buffer_dim=128,
    num_channels=4,
    channel_width=32,
    topk_parallelism=4,
    norm_lanes=4,
    outstanding=5,
    slice_queue=3,
    query_queue=1,
    line_queue=100,
)
"""Lanes narrower than 16, more slices than lanes, words of 32 bits, places that are no power of two."""
BROAD = Config(
    num_multipliers=128,
    lanes=1,
    max_dim=64,
    dims=(16, 48, 64),
    operand_width=8,
    max_tokens=12,
    buffer_dim=128,
    num_channels=1,
    channel_width=256,
    topk_parallelism=2,
    norm_lanes=4,
    outstanding=4,
    slice_queue=3,
    query_queue=2,
    line_queue=40,
)
"""One lane, wider than any row."""
CONFIGS = {"tiny": TINY, "wide": WIDE, "odd": ODD, "broad": BROAD}


class Bench:
    """Fetcher with memory; ``kv[kind][half][slot]`` are the written words."""

    def __init__(self, config, planes, *, stall=0.0, latency=4, seed=0):
        self.config, self.planes = config, planes
        self.stall, self.rng = stall, random.Random(seed)
        self.dut = Fetcher(config)
        self.reset = None
        self.memory = SimMemory(config, planes.contents, latency=latency, stall=stall, seed=seed)
        self.ones = (1 << config.count_width) - 1
        self.slots = {}
        self.written = {kind: [set(), set()] for kind in (KEY, KEY_LSB, VALUE)}
        self.ready = {kind: [self.ones, self.ones] for kind in (KEY, KEY_LSB, VALUE)}
        self.active = {}
        self.words = [0] * 4
        self.cycle = 0
        self.slices = 0
        self.first_write = None
        self.last_write = 0
        self.needed = [set() for _ in range(config.num_channels)]

    def run(self, *scripts, count_words=True):
        sim = Simulator(self.dut if self.reset is None else ResetInserter(self.reset)(self.dut))
        sim.add_clock(1e-6)
        left = [len(scripts)]

        def wrap(script):
            async def run(ctx):
                await script(ctx)
                left[0] -= 1

            return run

        async def watchdog(ctx):
            while left[0]:
                await ctx.tick()
                assert self.cycle - self.last_event < 3000, "watchdog"
            assert self.cycle, "monitor ran"
            for _ in range(10):
                await ctx.tick()
            assert ctx.get(self.dut.idle)
            assert not any(ctx.get(channel.inside) for channel in self.dut._channels), "units of rows are lost"

        self.last_event = 0
        for process in self.memory.processes(self.dut.memory):
            sim.add_testbench(process, background=True)
        sim.add_testbench(self.monitor, background=True)
        for script in scripts:
            sim.add_testbench(wrap(script), background=True)
        sim.add_testbench(watchdog)
        sim.run()
        assert not count_words or sum(self.words) == sum(len(reads) for reads in self.memory.reads)
        for channel, reads in enumerate(self.memory.reads):
            assert set(reads) <= self.needed[channel], "a word was read that no row needs"

    async def monitor(self, ctx):
        dut, config = self.dut, self.config
        writes = [(name, b, port) for name in ("key", "value") for b, port in enumerate(getattr(dut, name + "_write"))]
        enables = Cat(port.en for _, _, port in writes)
        ready = Cat(dut.key_ready, dut.key_lsb_ready, dut.value_ready)
        kinds = (KEY, KEY_LSB, VALUE)
        size = config.count_width
        while True:
            now = ctx.get(ready)
            for i, kind in enumerate(kinds):
                for half in range(2):
                    count = now >> ((2 * i + half) * size) & self.ones
                    self.check_ready(kind, half, count)
                    self.ready[kind][half] = count
            for kind, count in enumerate(unpack(dut.read_words.shape(), ctx.get(dut.read_words.as_value()))):
                self.words[kind] += count
                if count:
                    self.last_event = self.cycle
            if fired := ctx.get(enables):
                self.last_write = self.last_event = self.cycle
                if self.first_write is None:
                    self.first_write = self.cycle
                for i, (name, bank, port) in enumerate(writes):
                    if fired >> i & 1:
                        self.slices += 1
                        self.write(ctx, name, bank, port)
            await ctx.tick()
            self.cycle += 1

    def write(self, ctx, name, bank, port):
        config = self.config
        half, slot = ctx.get(port.half), ctx.get(port.addr) * config.lanes + bank
        high, low = ctx.get(port.high), ctx.get(port.low)
        mask = (-16 if high else 0) | (15 if low else 0)
        words = unpack(port.data.shape(), ctx.get(Value.cast(port.data)))
        old = self.slots.get((name, half, slot), [0] * config.lane_width)
        self.slots[name, half, slot] = [(a & ~mask) | (b & mask) for a, b in zip(old, words, strict=True)]
        kind = VALUE if name == "value" else KEY if high else KEY_LSB
        self.written[kind][half].add(slot)

    def check_ready(self, kind, half, count):
        """Everything that is called ready has been written in earlier cycles."""
        load = self.active.get((kind, half))
        if load is None or count == self.ready[kind][half]:
            return
        self.last_event = self.cycle
        dim, positions = load
        assert count > self.ready[kind][half] or count == 0, "ready counts ascend"
        total = positions if count == self.ones else min(count, positions)
        for position in range(total):
            for j in range(-(-dim // self.config.lane_width)):
                slot = position * self.config.slices(dim) + j
                assert slot in self.written[kind][half], f"position {position} is called ready at {self.cycle}"

    async def send(self, ctx, port, item):
        while self.stall and self.rng.random() < self.stall:
            await ctx.tick()
        ctx.set(Value.cast(port.payload), pack(port.payload.shape(), item))
        ctx.set(port.valid, 1)
        await ctx.tick().until(port.ready)
        ctx.set(port.valid, 0)

    async def send_ids(self, ctx, which, ids):
        for position, row in enumerate(ids):
            await self.send(ctx, self.dut.ids, {"list": which, "position": position, "id": row, "importance": 0})

    def command(self, plane, half, count, *, repeat=0, which=None, shift=0):
        return {
            "plane": plane.fields,
            "half": half,
            "count": count,
            "repeat": repeat,
            "listed": which is not None,
            "list": which or 0,
            "shift": shift,
        }

    def need(self, plane, rows):
        for row in rows:
            self.needed[row % self.config.num_channels].update(plane.words(row))

    async def load(self, ctx, kind, plane, half, rows, *, repeat=0, which=None, shift=0, keep=None):
        """Give the command and (keep is a mask of key positions) the gather lines; returns what to check."""
        await self.finished(ctx, kind, half)
        kept = rows if keep is None else [row for row, kept in zip(rows, keep, strict=True) if kept]
        self.need(plane, kept)
        self.written[kind][half].clear()
        self.active[kind, half] = (plane.dim, len(kept) + repeat)
        command = self.command(plane, half, len(rows), repeat=repeat, which=which, shift=shift)
        name = {KEY: "key", KEY_LSB: "key_lsb", VALUE: "value" if keep is None else "gather_command"}[kind]
        await self.send(ctx, getattr(self.dut, name), command)
        await ctx.tick()
        if keep is not None:
            await self.gather(ctx, plane.dim, keep)
        return kind, plane, half, [*kept, *kept[:repeat]], shift

    async def gather(self, ctx, dim, keep):
        size = self.config.scores_per_line(dim)
        for start in range(0, len(keep), size):
            bits = sum(bit << i for i, bit in enumerate(keep[start : start + size]))
            line = {"start": start, "keep": bits, "last": start + size >= len(keep)}
            await self.send(ctx, self.dut.gather, line)

    async def finished(self, ctx, kind, half):
        while self.ready[kind][half] != self.ones:
            await ctx.tick()

    async def check(self, ctx, job):
        kind, plane, half, rows, shift = job
        await self.finished(ctx, kind, half)
        config = self.config
        name = "value" if kind == VALUE else "key"
        mask = {KEY: -16 if shift else -1, KEY_LSB: 15, VALUE: -1}[kind]
        width = config.lane_width
        for position, row in enumerate(rows):
            elements = plane.elements(row, shift)
            for j in range(-(-plane.dim // width)):
                part = elements[j * width : (j + 1) * width]
                expected = [value & mask for value in part + [0] * (width - len(part))]
                slot = self.slots[name, half, position * config.slices(plane.dim) + j]
                assert [value & mask for value in slot] == expected, (kind, position, j)
        assert self.written[kind][half] == {
            position * config.slices(plane.dim) + j
            for position in range(len(rows))
            for j in range(-(-plane.dim // width))
        }


def capacity(config, dim):
    return min(config.max_tokens, config.buffer_slots // config.slices(dim))


def random_rows(rng, config, dim):
    """(number of rows of the plane, ids or None, rows)"""
    n = rng.randint(1, capacity(config, dim))
    if rng.random() < 0.4:
        return n, None, list(range(n))
    total = rng.randint(n, config.max_tokens)
    return total, True, sorted(rng.sample(range(total), n))


async def key_script(bench, ctx, rng, loads):
    """K planes and some LSB planes behind them, alternating halves, two loads in progress."""
    config, planes = bench.config, bench.planes
    waiting = []
    for i, (msb, lsb) in enumerate(loads):
        half, dim = i % 2, rng.choice(config.dims)
        if len(waiting) == 2:
            for job in waiting.pop(0):
                await bench.check(ctx, job)
        total, listed, rows = random_rows(rng, config, dim)
        room = config.buffer_slots // config.slices(dim) - len(rows)
        repeat = min(len(rows), room, rng.randint(0, config.lanes - 1))
        which = half if listed else None
        if listed:
            await bench.send_ids(ctx, which, rows)
        plane = planes[msb, dim, KEY]
        assert total <= len(plane.rows)
        jobs = [await bench.load(ctx, KEY, plane, half, rows, repeat=repeat, which=which, shift=lsb)]
        if lsb and rng.random() < 0.7:
            plane = planes[lsb, dim, KEY_LSB]
            jobs.append(await bench.load(ctx, KEY_LSB, plane, half, rows, repeat=repeat, which=which))
        waiting.append(jobs)
    for jobs in waiting:
        for job in jobs:
            await bench.check(ctx, job)


async def value_script(bench, ctx, rng, loads):
    config, planes = bench.config, bench.planes
    waiting = []
    for i, (width, is_gather) in enumerate(loads):
        half, dim = i % 2, rng.choice(config.dims)
        if len(waiting) == 2:
            await bench.check(ctx, waiting.pop(0))
        _, _, rows = random_rows(rng, config, dim)
        rows = list(range(len(rows)))
        keep = [rng.random() < rng.choice([0.1, 0.5, 0.9]) for _ in rows] if is_gather else None
        shift = config.operand_width - width
        waiting.append(await bench.load(ctx, VALUE, planes[width, dim, VALUE], half, rows, shift=shift, keep=keep))
    for job in waiting:
        await bench.check(ctx, job)


async def query_script(bench, ctx, rng, requests):
    for plane, row in requests:
        bench.need(plane, [row])
        await bench.send(ctx, bench.dut.query_request, {"plane": plane.fields, "row": row})


async def query_check(bench, ctx, rng, requests):
    port = bench.dut.query
    for plane, row in requests:
        ctx.set(port.ready, 0)
        while bench.stall and rng.random() < bench.stall:
            await ctx.tick()
        ctx.set(port.ready, 1)
        (word,) = await ctx.tick().sample(Value.cast(port.payload)).until(port.valid)
        expected = plane.elements(row)
        assert unpack(port.payload.shape(), word) == expected + [0] * (bench.config.max_dim - plane.dim)
    ctx.set(port.ready, 0)


class LazyPlanes(dict):
    """All planes that scripts may ask for: (width, dim, kind)."""

    def __init__(self, config, widths, seed):
        super().__init__()
        planes = Planes(config, seed)
        for dim in config.dims:
            for width in widths:
                for kind in (KEY, VALUE):
                    self[width, dim, kind] = planes.add(config.max_tokens, dim, width)
            self[4, dim, KEY_LSB] = planes.add(config.max_tokens, dim, 4, is_signed=False)
        self.contents = planes.contents


MIXES = [("tiny", 0, 6), ("tiny", 0.3, 4), ("tiny", 0.6, 3), ("broad", 0.3, 4), ("odd", 0.3, 2), ("wide", 0.3, 1)]


@pytest.mark.parametrize(("name", "stall", "loads"), MIXES)
def test_random_mix(name, stall, loads):
    """Splits and widths, listed and dense, repeats, gathers and Q rows, all at the same time."""
    config = CONFIGS[name]
    rng = random.Random(f"{name} {stall}")
    planes = LazyPlanes(config, config.plane_widths, seed=1)
    bench = Bench(config, planes, stall=stall, latency=rng.choice([1, 5, 20]), seed=3)
    splits = rng.sample(config.splits, min(loads, len(config.splits)))
    values = [(width, gather) for width in config.plane_widths for gather in (False, True)]
    values = rng.sample(values, min(loads, len(values)))
    keys = [planes[rng.choice(config.plane_widths), rng.choice(config.dims), VALUE] for _ in range(4 * loads)]
    requests = [(plane, rng.randrange(config.max_tokens)) for plane in keys]
    bench.run(
        lambda ctx: key_script(bench, ctx, random.Random(1), splits),
        lambda ctx: value_script(bench, ctx, random.Random(2), values),
        lambda ctx: query_script(bench, ctx, random.Random(3), requests),
        lambda ctx: query_check(bench, ctx, random.Random(4), requests),
    )


def test_reset_in_mid_load():
    """After a reset nothing of the load before is left over."""
    planes = Planes(TINY, 1)
    key, query = planes.add(64, 64, 12), planes.add(64, 64, 12)
    bench = Bench(TINY, planes)
    bench.reset = Signal()

    async def script(ctx):
        await bench.load(ctx, KEY, key, 0, list(range(32)))
        await query_script(bench, ctx, None, [(query, 5), (query, 6)])
        await ctx.tick().repeat(40)
        assert not ctx.get(bench.dut.idle) and bench.slices
        bench.active.clear()
        ctx.set(bench.reset, 1)
        bench.memory.flush()
        await ctx.tick()
        ctx.set(bench.reset, 0)
        assert ctx.get(bench.dut.idle)
        await query_script(bench, ctx, None, [(query, 7)])
        job = await bench.load(ctx, KEY, key, 0, list(range(8)))
        await query_check(bench, ctx, None, [(query, 7)])
        await bench.check(ctx, job)

    bench.run(script, count_words=False)


def test_neighbour_words_are_not_shared_between_loads():
    """Memory may change between two loads: a word is read again even if it was the last one read."""
    planes = Planes(TINY, 1)
    plane = planes.add(4, 16, 4)
    bench = Bench(TINY, planes)

    async def script(ctx):
        for _ in range(2):
            await bench.check(ctx, await bench.load(ctx, KEY, plane, 0, [0, 1]))

    bench.run(script)
    assert [len(reads) for reads in bench.memory.reads] == [2, 2]


def test_constructor_errors():
    with pytest.raises(ValueError, match="channel must be from 0 to 1, not 2"):
        ChannelList(TINY, channel=2)
    with pytest.raises(ValueError, match="contents must have 2 channels, not 1"):
        SimMemory(TINY, [[]])
    with pytest.raises(ValueError, match="latency must be at least 1, not 0"):
        SimMemory(TINY, [[], []], latency=0)


def test_empty_gather_is_complete():
    planes = Planes(TINY, 1)
    plane = planes.add(64, 32, 8)
    bench = Bench(TINY, planes)

    async def script(ctx):
        await bench.check(ctx, await bench.load(ctx, VALUE, plane, 1, list(range(9)), shift=4, keep=[0] * 9))

    bench.run(script)
    assert bench.slices == 0 and bench.words == [0] * 4


def test_read_words_by_kind():
    planes = Planes(TINY, 1)
    key, lsb = planes.add(8, 64, 8), planes.add(8, 64, 4, is_signed=False)
    bench = Bench(TINY, planes)

    async def script(ctx):
        jobs = [await bench.load(ctx, KEY, key, 0, list(range(8)), shift=4)]
        jobs.append(await bench.load(ctx, KEY_LSB, lsb, 0, list(range(8))))
        await query_script(bench, ctx, None, [(key, 3)])
        await query_check(bench, ctx, None, [(key, 3)])
        for job in jobs:
            await bench.check(ctx, job)

    bench.run(script)
    assert [bench.words[kind] for kind in (KEY, KEY_LSB, VALUE, QUERY)] == [64, 32, 0, 8]


FAST = Config(
    num_multipliers=64,
    lanes=4,
    max_dim=16,
    dims=(16,),
    max_tokens=512,
    buffer_dim=16,
    num_channels=8,
    channel_width=64,
    topk_parallelism=4,
    norm_lanes=4,
    line_queue=140,
)
"""The proportions of ``paper`` at D = 64: two channels per lane, 3 words a 12-bit slice; half as many of them."""


def test_rates():
    """Dense 6-bit K: at least 94 % of the banks' 4 slices a cycle. Dense 12-bit V: at least 95 % of the channels' peak.

    A random half of the rows, listed or gathered: at least 90 % of what the fullest channel can do.
    """
    planes = Planes(FAST, 1)
    key, value = planes.add(512, 16, 6), planes.add(512, 16, 12)
    chosen = set(random.Random(5).sample(range(320), 160))
    keep = [row in chosen for row in range(320)]
    dense, listed, every = list(range(96)), sorted(chosen), list(range(320))
    bench = Bench(FAST, planes, latency=8)
    rates = []

    async def measure(ctx, kind, plane, rows, **options):
        kept = rows if "keep" not in options else listed
        before = [len(reads) for reads in bench.memory.reads]
        bench.first_write, bench.slices = None, 0
        await bench.check(ctx, await bench.load(ctx, kind, plane, 0, rows, **options))
        words = [len(reads) - count for reads, count in zip(bench.memory.reads, before, strict=True)]
        assert words == [words_read((plane, kept), c, 8) for c in range(8)], "neighbours share words"
        assert bench.slices == len(kept)
        cycles = bench.last_write - bench.first_write + 1
        rates.append((bench.slices / cycles, max(words) / cycles))

    async def script(ctx):
        await bench.send_ids(ctx, 1, listed)
        await measure(ctx, KEY, key, dense)
        await measure(ctx, VALUE, value, dense)
        await measure(ctx, VALUE, value, listed, which=1)
        await measure(ctx, VALUE, value, every, keep=keep)

    bench.run(script)
    assert rates[0][0] >= 0.94 * FAST.lanes, rates
    assert rates[1][1] >= 0.95, rates
    assert rates[2][1] >= 0.9, rates
    assert rates[3][1] >= 0.9, rates


def test_gathered_rows_pass_keys():
    """V rows are gathered while K is loaded faster than its banks take it: no K word is read again for it.

    Gathered rows wait neither for the K words that a channel could have in flight nor for the banks of K, and both
    together keep the fullest channel at least 87 % busy.
    """
    planes = Planes(FAST, 1)
    key, value = planes.add(512, 16, 6), planes.add(512, 16, 12)
    rows, every = list(range(384)), list(range(320))
    chosen = set(random.Random(5).sample(every, 96))
    kept = sorted(chosen)
    bench = Bench(FAST, planes, latency=20)
    times = {}

    async def keys(ctx):
        jobs = [await bench.load(ctx, KEY, key, half, rows, shift=4) for half in range(2)]
        for job in jobs:
            await bench.check(ctx, job)

    async def values(ctx):
        await ctx.tick().repeat(100)
        times["command"] = bench.cycle
        await bench.check(
            ctx, await bench.load(ctx, VALUE, value, 0, every, shift=0, keep=[row in chosen for row in every])
        )
        times["complete"] = bench.cycle

    bench.run(keys, values)
    cycles = bench.last_write - bench.first_write + 1
    loads = [(key, rows), (key, rows), (value, kept)]
    words = [sum(words_read(load, c, FAST.num_channels) for load in loads) for c in range(FAST.num_channels)]
    assert [len(reads) for reads in bench.memory.reads] == words
    assert times["complete"] - times["command"] <= 140, times
    assert max(words) / cycles >= 0.87, cycles
