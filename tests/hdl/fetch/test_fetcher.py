import random
from collections import deque
from dataclasses import replace

import pytest
from amaranth.hdl import Cat, ResetInserter, Signal, Value

from hdl.fetch.fetcher import Fetcher
from hdl.spec.config import PRESETS, Config
from hdl.spec.payloads import KEY, KEY_LSB, QUERY, VALUE
from sim.common.packing import pack, unpack
from tests.bench.fetch_configs import BROAD, ODD, WIDE
from tests.bench.fetch_model import Planes, words_read
from tests.bench.harness import Simulation, made, simulate
from tests.bench.memory_model import SimMemory
from tests.hdl.fetch.test_id_list import beats_of

TINY = PRESETS["tiny"]
CONFIGS = {"tiny": TINY, "wide": WIDE, "odd": ODD, "broad": BROAD}


class Load:
    """A load or a gathered row: what shall be where, and what has been written of it."""

    def __init__(self, config, kind, plane, rows, *, slot, seq, repeat=0, shift=0, pair_offset=None):
        self.config, self.kind, self.plane, self.rows, self.shift = config, kind, plane, rows, shift
        self.slot, self.seq, self.count, self.repeat = slot, seq, len(rows), repeat
        self.pair_offset = pair_offset
        self.written = set()
        self.complete = False

    @property
    def dim(self):
        return self.plane.dim // (1 if self.pair_offset is None else 2)

    @property
    def end(self):
        return (self.seq + self.count + self.repeat) % (1 << self.config.seq_width)

    def slots(self, position):
        """(slot, first element of the row) of each slice."""
        width, per_row = self.config.lane_width, self.config.slices(self.dim)
        for head in range(self.plane.dim // self.dim):
            first = self.slot + head * (self.pair_offset or 0) + position * per_row
            for j in range(-(-self.dim // width)):
                yield first + j, head * self.dim + j * width

    def check(self, memory):
        mask = {KEY: -16 if self.shift else -1, KEY_LSB: 15, VALUE: -1}[self.kind]
        width = self.config.lane_width
        expected_slots = set()
        for position, row in enumerate([*self.rows, *self.rows[: self.repeat]]):
            elements = self.plane.elements(row, self.shift)
            for slot, start in self.slots(position):
                end = min(start + width, start - start % self.dim + self.dim)
                part = elements[start:end]
                expected = [value & mask for value in part + [0] * (width - len(part))]
                assert [value & mask for value in memory[slot]] == expected, (self.kind, position, slot)
                expected_slots.add(slot)
        assert self.written == expected_slots


class Pages:
    """Pages of a buffer, given at random places."""

    def __init__(self, slots, pages, rng):
        self.size, self.free, self.rng = slots // pages, [True] * pages, rng

    def take(self, slots):
        """First slot of a run of pages for so many slots, or None."""
        count = -(-slots // self.size)
        runs = [p for p in range(len(self.free) - count + 1) if all(self.free[p : p + count])]
        if not runs:
            return None
        page = self.rng.choice(runs)
        self.free[page : page + count] = [False] * count
        return page * self.size

    def give(self, slot, slots):
        page, count = slot // self.size, -(-slots // self.size)
        assert not any(self.free[page : page + count])
        self.free[page : page + count] = [True] * count


class Bench:
    """Fetcher with memory; ``buffers[name][slot]`` are the written words."""

    def __init__(self, config, planes, *, stall=0.0, latency=4, seed=0):
        self.config, self.planes = config, planes
        self.stall, self.rng = stall, random.Random(seed)
        self.dut = made(Fetcher, config)
        self.reset = None
        self.memory = SimMemory(config, planes.contents, latency=latency, stall=stall, seed=seed)
        self.buffers = {"key": {}, "value": {}}
        self.pages = {
            "key": Pages(config.key_slots, config.key_pages, self.rng),
            "value": Pages(config.value_slots, config.value_pages, self.rng),
        }
        self.clear()
        self.words = [0] * 4
        self.words_by_cycle = []
        self.cycle = 0
        self.slices = 0
        self.first_write = None
        self.last_write = 0
        self.needed = [set() for _ in range(config.num_channels)]

    def clear(self):
        """What is in progress, at the beginning and after a reset."""
        self.owner = {KEY: {}, KEY_LSB: {}, VALUE: {}}  # slot to load
        self.active = {KEY: deque(), KEY_LSB: deque(), VALUE: deque()}
        self.ready = {KEY: 0, VALUE: 0}
        self.seq = {KEY: 0, VALUE: 0}
        self.lines = deque()  # of gathered rows, not sent yet

    def run(self, *scripts, count_words=True):
        sim = Simulation(self.dut if self.reset is None else ResetInserter(self.reset)(self.dut))
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
        sim.add_testbench(self.feed_lines, background=True)
        for script in scripts:
            sim.add_testbench(wrap(script), background=True)
        sim.add_testbench(watchdog)
        sim.run()
        assert not count_words or sum(self.words) == sum(len(reads) for reads in self.memory.reads)
        for channel, reads in enumerate(self.memory.reads):
            assert set(reads) <= self.needed[channel], "a word was read that no row needs"

    async def monitor(self, ctx):
        dut = self.dut
        writes = [(name, b, port) for name in ("key", "value") for b, port in enumerate(getattr(dut, name + "_write"))]
        enables = Cat(port.en for _, _, port in writes)
        while True:
            self.check_ready(KEY, ctx.get(dut.key_ready))
            self.check_ready(VALUE, ctx.get(dut.value_ready))
            if ctx.get(dut.key_lsb_done):
                self.finish(KEY_LSB)
            for kind, count in enumerate(unpack(dut.read_words.shape(), ctx.get(dut.read_words.as_value()))):
                self.words[kind] += count
                if count:
                    self.last_event = self.cycle
            self.words_by_cycle.append(sum(self.words))
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
        banks = len(getattr(self.dut, name + "_write"))
        slot = ctx.get(port.addr) * banks + bank
        high, low = ctx.get(port.high), ctx.get(port.low)
        mask = (-16 if high else 0) | (15 if low else 0)
        words = unpack(port.data.shape(), ctx.get(Value.cast(port.data)))
        old = self.buffers[name].get(slot, [0] * self.config.lane_width)
        self.buffers[name][slot] = [(a & ~mask) | (b & mask) for a, b in zip(old, words, strict=True)]
        load = self.owner[VALUE if name == "value" else KEY if high else KEY_LSB][slot]
        assert not load.complete and slot not in load.written, "a slice is written once"
        load.written.add(slot)

    def check_ready(self, kind, ready):
        """Everything that is called ready has been written in earlier cycles."""
        size = 1 << self.config.seq_width
        steps = (ready - self.ready[kind]) % size
        if not steps:
            return
        assert steps < size // 2, "ready only rises"
        self.last_event = self.cycle
        self.ready[kind] = ready
        for load in self.active[kind]:
            done = load.count + load.repeat - (load.end - ready) % size
            if done <= 0:
                break
            for position in range(done):
                for slot, _ in load.slots(position):
                    assert slot in load.written, f"position {position} is called ready at {self.cycle}"
        while self.active[kind] and (ready - self.active[kind][0].end) % size < size // 2:
            self.finish(kind)

    def finish(self, kind):
        self.last_event = self.cycle
        load = self.active[kind].popleft()
        load.complete = True
        load.check(self.buffers["value" if kind == VALUE else "key"])

    async def send(self, ctx, port, item):
        while self.stall and self.rng.random() < self.stall:
            await ctx.tick()
        ctx.set(Value.cast(port.payload), pack(port.payload.shape(), item))
        ctx.set(port.valid, 1)
        ready = False
        while not ready:
            _, _, ready = await ctx.tick().sample(port.ready)
        ctx.set(port.valid, 0)

    async def send_ids(self, ctx, which, ids):
        for beat in beats_of(self.config, which, ids):
            await self.send(ctx, self.dut.ids, beat)

    async def region(self, ctx, name, slots):
        while (slot := self.pages[name].take(slots)) is None:
            await ctx.tick()
        return slot

    def region_slots(self, dim, positions):
        """Slots of a region, rounded up to whole banks of the K buffer."""
        banks = self.config.key_banks
        return -(-positions * self.config.slices(dim) // banks) * banks

    async def load(self, ctx, kind, plane, slot, rows, *, repeat=0, which=None, shift=0, keep=None, pair_offset=None):
        """Give the command, with keep (a mask of key positions) the gather lines too."""
        config = self.config
        kept = rows if keep is None else [row for row, kept in zip(rows, keep, strict=True) if kept]
        options = {"repeat": repeat, "shift": shift, "pair_offset": pair_offset}
        load = Load(config, kind, plane, kept, slot=slot, seq=self.seq.get(kind, 0), **options)
        if kind in self.seq:
            self.seq[kind] = load.end
        for row in kept:
            self.needed[plane.channel(row)].update(plane.words(row))
        for position in range(len(kept) + repeat):
            for place, _ in load.slots(position):
                self.owner[kind][place] = load
        if keep is not None:
            self.lines.append((load.dim, keep))
        name = {KEY: "key", KEY_LSB: "key_lsb", VALUE: "value" if keep is None else "gather_command"}[kind]
        self.active[kind].append(load)
        command = {
            "plane": plane.fields,
            "slot": slot,
            "seq": load.seq,
            "count": len(kept),
            "repeat": repeat,
            "pair": pair_offset is not None,
            "pair_offset": pair_offset or 0,
            "listed": which is not None,
            "list": which or 0,
            "shift": shift,
        }
        await self.send(ctx, getattr(self.dut, name), command)
        return load

    async def feed_lines(self, ctx):
        while True:
            while not self.lines:
                await ctx.tick()
            dim, keep = self.lines[0]
            size = self.config.scores_per_line(dim)
            for start in range(0, len(keep), size):
                bits = sum(bit << i for i, bit in enumerate(keep[start : start + size]))
                line = {"start": start, "keep": bits, "last": start + size >= len(keep)}
                await self.send(ctx, self.dut.gather, line)
            self.lines.popleft()

    async def finished(self, ctx, loads):
        while not all(load.complete for load in loads):
            await ctx.tick()


def capacity(config, dim):
    return min(config.max_tokens, config.buffer_slots // config.slices(dim))


def random_rows(rng, config, dim, limit):
    """(ids or None, rows)"""
    n = rng.randint(1, min(limit, capacity(config, dim)))
    if rng.random() < 0.4:
        return None, list(range(n))
    total = rng.randint(n, config.max_tokens)
    return True, sorted(rng.sample(range(total), n))


def may_pair(config, dim):
    return dim % config.lane_width == 0 and 2 * dim <= config.max_dim


class InFlight:
    """Jobs in the order of their loads: the region of the oldest is given back when it is complete."""

    def __init__(self, bench, name):
        self.bench, self.name, self.jobs = bench, name, deque()

    async def region(self, ctx, slots):
        while (slot := self.bench.pages[self.name].take(slots)) is None:
            await self.pop(ctx)
        return slot

    async def pop(self, ctx):
        loads, slot, slots, _ = self.jobs.popleft()
        await self.bench.finished(ctx, loads)
        self.bench.pages[self.name].give(slot, slots)

    async def unused(self, ctx, which):
        """Wait until no job uses the id list."""
        while any(job[3] == which for job in self.jobs):
            await self.pop(ctx)

    async def drain(self, ctx):
        while self.jobs:
            await self.pop(ctx)


async def key_script(bench, ctx, rng, loads, limit):
    """K planes, some of pairs, and some LSB planes behind them, as many at once as there is room for."""
    config, planes = bench.config, bench.planes
    flight = InFlight(bench, "key")
    for i, (msb, lsb) in enumerate(loads):
        dim = rng.choice(config.dims)
        pair = may_pair(config, dim) and rng.random() < 0.5
        listed, rows = random_rows(rng, config, dim, limit)
        room = config.buffer_slots // config.slices(dim) - len(rows)
        repeat = 0 if pair else min(len(rows), room, rng.randint(0, config.lanes - 1))
        which = i % 2 if listed else None
        if listed:
            await flight.unused(ctx, which)
            await bench.send_ids(ctx, which, rows)
        slots = bench.region_slots(dim, len(rows) + repeat)
        if pair and -(-2 * slots // bench.pages["key"].size) > config.key_pages:
            pair = False
        slot = await flight.region(ctx, (1 + pair) * slots)
        offset = slots if pair else None
        plane = planes[msb, dim, "pair" if pair else KEY]
        options = {"repeat": repeat, "which": which}
        jobs = [await bench.load(ctx, KEY, plane, slot, rows, shift=lsb, pair_offset=offset, **options)]
        for head in range(1 + pair):
            if lsb and rng.random() < 0.7:
                place = slot + head * slots
                jobs.append(await bench.load(ctx, KEY_LSB, planes[lsb, dim, KEY_LSB], place, rows, **options))
        flight.jobs.append((jobs, slot, (1 + pair) * slots, which))
    await flight.drain(ctx)


async def value_script(bench, ctx, rng, loads, limit):
    config, planes = bench.config, bench.planes
    flight = InFlight(bench, "value")
    for width, is_gather in loads:
        dim = rng.choice(config.dims)
        _, rows = random_rows(rng, config, dim, limit)
        rows = list(range(len(rows)))
        keep = [rng.random() < rng.choice([0.1, 0.5, 0.9]) for _ in rows] if is_gather else None
        slots = bench.region_slots(dim, len(rows))
        slot = await flight.region(ctx, slots)
        shift = config.operand_width - width
        load = await bench.load(ctx, VALUE, planes[width, dim, VALUE], slot, rows, shift=shift, keep=keep)
        flight.jobs.append(([load], slot, slots, None))
    await flight.drain(ctx)


async def query_script(bench, ctx, requests):
    for plane, row in requests:
        bench.needed[plane.channel(row)].update(plane.words(row))
        await bench.send(ctx, bench.dut.query_request, {"plane": plane.fields, "row": row})


async def query_check(bench, ctx, requests):
    port = bench.dut.query
    for plane, row in requests:
        ctx.set(port.ready, 0)
        while bench.stall and bench.rng.random() < bench.stall:
            await ctx.tick()
        ctx.set(port.ready, 1)
        (word,) = await ctx.tick().sample(Value.cast(port.payload)).until(port.valid)
        expected = plane.elements(row)
        assert unpack(port.payload.shape(), word) == expected + [0] * (bench.config.max_dim - plane.dim)
        bench.last_event = bench.cycle
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
                if may_pair(config, dim):
                    self[width, dim, "pair"] = planes.add(config.max_tokens, dim, width, pair=True)
            self[4, dim, KEY_LSB] = planes.add(config.max_tokens, dim, 4, is_signed=False)
        self.contents = planes.contents


LONG_MIXES = [
    ("tiny", 0, 24, 64),
    ("tiny", 0.3, 12, 20),
    ("odd", 0.3, 8, 9),
    ("wide", 0.3, 2, 128),
]
MIXES = [
    ("tiny", 0.6, 4, 64),
    ("broad", 0.3, 24, 12),
    ("odd", 0, 12, 9),
    ("wide", 0, 8, 40),
    *(pytest.param(*mix, marks=pytest.mark.long) for mix in LONG_MIXES),
]


@pytest.mark.parametrize(("name", "stall", "loads", "limit"), MIXES)
def test_random_mix(name, stall, loads, limit):
    """Splits and widths, listed and dense, pairs, repeats, gathers and Q rows, all at the same time.

    In ``broad`` and ``odd`` the sequence numbers begin anew several times.
    """
    config = CONFIGS[name]
    rng = random.Random(f"{name} {stall}")
    planes = LazyPlanes(config, config.plane_widths, seed=1)
    bench = Bench(config, planes, stall=stall, latency=rng.choice([1, 5, 20]), seed=3)
    splits = [rng.choice(config.splits) for _ in range(loads)]
    values = [(rng.choice(config.plane_widths), rng.random() < 0.7) for _ in range(loads)]
    tensors = [planes[rng.choice(config.plane_widths), rng.choice(config.dims), VALUE] for _ in range(2 * loads)]
    requests = [
        (plane, rng.randrange(config.max_tokens)) for plane in tensors for _ in range(rng.choice([1, 1, 1, 2, 5]))
    ]
    bench.run(
        lambda ctx: key_script(bench, ctx, random.Random(1), splits, limit),
        lambda ctx: value_script(bench, ctx, random.Random(2), values, limit),
        lambda ctx: query_script(bench, ctx, requests),
        lambda ctx: query_check(bench, ctx, requests),
    )


def test_reset_in_mid_load():
    """After a reset nothing of the loads before is left over."""
    planes = Planes(TINY, 1)
    key, value, query = planes.add(64, 32, 12), planes.add(64, 32, 12), planes.add(64, 64, 12)
    bench = Bench(TINY, planes)
    bench.reset = Signal()

    async def script(ctx):
        ids = list(range(0, 64, 2))
        await bench.send_ids(ctx, 0, ids)
        for i in range(3):
            await bench.load(ctx, KEY, key, 64 * i, ids, which=0)
        for i in range(2):
            await bench.load(ctx, VALUE, value, 64 * i, list(range(32)), keep=[1, 0, 0, 0] * 8)
        await query_script(bench, ctx, [(query, 5), (query, 6)])
        while bench.lines:
            await ctx.tick()
        assert not ctx.get(bench.dut.idle) and bench.slices and not bench.lines
        bench.clear()
        ctx.set(bench.reset, 1)
        bench.memory.flush()
        await ctx.tick()
        ctx.set(bench.reset, 0)
        assert ctx.get(bench.dut.idle)
        await query_script(bench, ctx, [(query, 7)])
        loads = [await bench.load(ctx, KEY, key, 64, list(range(8)))]
        loads.append(await bench.load(ctx, VALUE, value, 16, list(range(8))))
        await query_check(bench, ctx, [(query, 7)])
        await bench.finished(ctx, loads)

    bench.run(script, count_words=False)


def test_neighbour_words_are_not_shared_between_loads():
    """Memory may change between two loads: a word is read again even if it was the last one read."""
    planes = Planes(TINY, 1)
    plane = planes.add(4, 16, 4)
    bench = Bench(TINY, planes)
    rows = [0, 1]

    async def script(ctx):
        for which in range(2):
            await bench.send_ids(ctx, which, [rows[which]])
        # A load between two of the same name has rows in the other channel only.
        for i in range(2 * TINY.loads + 1):
            which = int(i % TINY.loads != 0)
            await bench.finished(ctx, [await bench.load(ctx, KEY, plane, 0, [rows[which]], which=which)])
        loads = [await bench.load(ctx, KEY, plane, 16 * i, [0, 1]) for i in range(2 * TINY.loads)]
        await bench.finished(ctx, loads)

    bench.run(script)
    reads = [len(bench.memory.reads[plane.channel(row)]) for row in rows]
    assert reads == [2 * TINY.loads + 3, 2 * TINY.loads + 2 * TINY.loads - 2]


def test_empty_gather_is_complete():
    planes = Planes(TINY, 1)
    plane = planes.add(64, 32, 8)
    bench = Bench(TINY, planes)

    async def script(ctx):
        await bench.load(ctx, VALUE, plane, 0, list(range(9)), shift=4, keep=[0] * 9)
        while not ctx.get(bench.dut.idle):
            await ctx.tick()
        await bench.finished(ctx, [await bench.load(ctx, VALUE, plane, 0, [0, 1, 2])])

    bench.run(script)
    assert bench.slices == 6


def test_read_words_by_kind():
    planes = Planes(TINY, 1)
    key, lsb = planes.add(8, 64, 8), planes.add(8, 64, 4, is_signed=False)
    value = planes.add(8, 32, 12)
    bench = Bench(TINY, planes)

    async def script(ctx):
        loads = [await bench.load(ctx, KEY, key, 0, list(range(8)), shift=4)]
        loads.append(await bench.load(ctx, KEY_LSB, lsb, 0, list(range(8))))
        loads.append(await bench.load(ctx, VALUE, value, 0, list(range(8)), keep=[1, 0] * 4))
        await query_script(bench, ctx, [(key, 3)])
        await query_check(bench, ctx, [(key, 3)])
        await bench.finished(ctx, loads)

    bench.run(script)
    assert [bench.words[kind] for kind in (KEY, KEY_LSB, VALUE, QUERY)] == [64, 32, 24, 8]


@pytest.mark.parametrize("stall", [0, 0.5])
def test_as_many_loads_as_entries(stall):
    """Loads of one row each, far more than there are entries, of all kinds, while memory is slow; lists change."""
    planes = Planes(TINY, 1)
    key, lsb, value = planes.add(64, 16, 4), planes.add(64, 16, 4, is_signed=False), planes.add(64, 16, 12)
    bench = Bench(TINY, planes, latency=30, stall=stall)
    tensors = [planes.add(4, 16, 6) for _ in range(3 * TINY.loads)]
    requests = [(plane, row) for plane in tensors for row in range(2)]

    async def keys(ctx):
        for i in range(6):
            await bench.send_ids(ctx, 0, [7 + i, 9 + i])
            loads = [
                await bench.load(ctx, KEY, key, 16 * j, [7 + i, 9 + i], which=0, shift=4) for j in range(2 * TINY.loads)
            ]
            loads += [await bench.load(ctx, KEY_LSB, lsb, 16 * j, [7 + i, 9 + i], which=0) for j in range(5)]
            await bench.finished(ctx, loads)

    async def values(ctx):
        loads = []
        for i in range(12):
            loads.append(await bench.load(ctx, VALUE, value, 8 * i, list(range(4)), keep=[i % 2, 1, 0, i // 2 % 2]))
            if i % 4 == 3:
                loads.append(await bench.load(ctx, VALUE, value, 128 + 2 * i, [0, 1]))
        await bench.finished(ctx, loads)

    bench.run(
        keys,
        values,
        lambda ctx: query_script(bench, ctx, requests),
        lambda ctx: query_check(bench, ctx, requests),
    )


def test_load_waits_until_its_list_is_spread():
    """All ids of a beat in one class, and the command right behind the beat."""
    planes = Planes(WIDE, 1)
    plane = planes.add(128, 16, 6)
    bench = Bench(WIDE, planes)
    ids = list(range(3, 128, 16))

    async def script(ctx):
        await bench.send_ids(ctx, 1, ids)
        await bench.finished(ctx, [await bench.load(ctx, KEY, plane, 0, ids, which=1)])

    bench.run(script)


def test_sequence_numbers_begin_anew():
    """Several times, with four channels, while others load at their own pace."""
    planes = Planes(ODD, 1)
    key, value = planes.add(9, 16, 4), planes.add(9, 16, 6)
    bench = Bench(ODD, planes, stall=0.2)
    ends = []

    async def load_all(ctx, kind, plane, pages):
        loads = []
        for i in range(60):
            loads.append(await bench.load(ctx, kind, plane, 32 * (i % pages), list(range(9))))
            # At most half the numbers may be in flight.
            await bench.finished(ctx, loads[: i - 1])
        await bench.finished(ctx, loads)
        ends.append(sum(load.count for load in loads))

    bench.run(lambda ctx: load_all(ctx, KEY, key, 4), lambda ctx: load_all(ctx, VALUE, value, 4))
    assert min(ends) > 4 << ODD.seq_width


def test_more_planes_of_queries_than_entries():
    """An entry is not given to another plane while a row of its plane before is in flight."""
    config = replace(TINY, query_queue=8, loads=2)
    planes = Planes(config, 1)
    tensors = [planes.add(4, dim, width) for dim, width in ((64, 4), (16, 12), (48, 8), (32, 6), (64, 10))]
    bench = Bench(config, planes, latency=20)
    rng = random.Random(1)
    requests = [(plane, rng.randrange(4)) for _ in range(8) for plane in tensors for _ in range(rng.choice([1, 2]))]
    bench.run(
        lambda ctx: query_script(bench, ctx, requests),
        lambda ctx: query_check(bench, ctx, requests),
    )


@pytest.mark.parametrize(
    ("port", "latency"), [("key", Fetcher.COMMAND_LATENCY), ("query_request", Fetcher.QUERY_LATENCY)]
)
def test_latencies(port, latency):
    """From a command or a request of a Q row to the first word request, in an idle Fetcher."""
    planes = Planes(TINY)
    plane = planes.add(4, TINY.dims[0], 12)
    names = ("slot", "seq", "repeat", "pair", "pair_offset", "listed", "list", "shift")
    item = {"plane": plane.fields, "row": 0}
    if port == "key":
        item = {"plane": plane.fields, "count": 4, **dict.fromkeys(names, 0)}
    dut, cycles = Fetcher(TINY), []

    async def bench(ctx):
        stream = getattr(dut, port)
        ctx.set(Value.cast(stream.payload), pack(stream.payload.shape(), item))
        await ctx.tick().repeat(3)
        ctx.set(stream.valid, 1)
        assert ctx.get(stream.ready)
        for cycle in range(latency + 5):
            if any(ctx.get(channel.request.valid) for channel in dut.memory):
                cycles.append(cycle)
            await ctx.tick()
            ctx.set(stream.valid, 0)

    simulate(dut, bench, cycles=100)
    assert cycles[0] == latency


def test_constructor_errors():
    with pytest.raises(ValueError, match="contents must have 2 channels, not 1"):
        SimMemory(TINY, [[]])
    with pytest.raises(ValueError, match="latency must be at least 1, not 0"):
        SimMemory(TINY, [[], []], latency=0)


FAST = Config(
    num_multipliers=64,
    lanes=4,
    max_dim=16,
    dims=(16,),
    max_tokens=512,
    buffer_dim=16,
    key_rows=1024,
    value_rows=1024,
    num_channels=8,
    channel_width=64,
    topk_parallelism=4,
    norm_lanes=4,
    line_queue=140,
)
"""The proportions of ``paper`` at D = 64: two channels per lane, 3 words a 12-bit slice; half as many of them."""
PAIRED = Config(
    num_multipliers=128,
    lanes=8,
    max_dim=32,
    dims=(16, 32),
    max_tokens=1024,
    buffer_dim=16,
    key_rows=3072,
    value_rows=1024,
    key_pages=24,
    value_pages=32,
    banks_per_lane=2,
    num_channels=16,
    channel_width=64,
    topk_parallelism=16,
    norm_lanes=16,
    loads=8,
    query_queue=4,
    line_queue=1025,
)
"""``paper`` with lanes and words a quarter as wide, for D = 16 and its pairs."""


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
        await bench.finished(ctx, [await bench.load(ctx, kind, plane, 0, rows, **options)])
        words = [len(reads) - count for reads, count in zip(bench.memory.reads, before, strict=True)]
        assert words == [words_read(plane, kept, c) for c in range(8)], "neighbours share words"
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
        await bench.finished(ctx, [await bench.load(ctx, KEY, key, 512 * i, rows, shift=4) for i in range(2)])

    async def values(ctx):
        await ctx.tick().repeat(100)
        times["command"] = bench.cycle
        keep = [row in chosen for row in every]
        await bench.finished(ctx, [await bench.load(ctx, VALUE, value, 0, every, keep=keep)])
        times["complete"] = bench.cycle

    bench.run(keys, values)
    cycles = bench.last_write - bench.first_write + 1
    loads = [(key, rows), (key, rows), (value, kept)]
    words = [sum(words_read(plane, read, c) for plane, read in loads) for c in range(FAST.num_channels)]
    assert [len(reads) for reads in bench.memory.reads] == words
    assert times["complete"] - times["command"] <= 145, times
    assert max(words) / cycles >= 0.87, cycles


async def paired_keys(bench, ctx, planes, rows, which, loads):
    flight = InFlight(bench, "key")
    slots = bench.region_slots(16, len(rows))
    for i in range(loads):
        slot = await flight.region(ctx, 2 * slots)
        plane = planes[i % len(planes)]
        load = await bench.load(ctx, KEY, plane, slot, rows, which=which, shift=4, pair_offset=slots)
        flight.jobs.append(([load], slot, 2 * slots, which))
    await flight.drain(ctx)


async def gathered_values(bench, ctx, planes, rows, which, loads, num_kept):
    flight, rng = InFlight(bench, "value"), random.Random(3)
    slots = bench.region_slots(16, num_kept)
    for i in range(loads):
        slot = await flight.region(ctx, slots)
        chosen = rng.sample(range(len(rows)), num_kept)
        keep = [position in chosen for position in range(len(rows))]
        load = await bench.load(ctx, VALUE, planes[i % len(planes)], slot, rows, which=which, keep=keep)
        flight.jobs.append(([load], slot, slots, which))
    await flight.drain(ctx)


@pytest.mark.parametrize("latency", [20, 60])
def test_loads_back_to_back(latency):
    """Listed loads of 102 of 1009 rows of pairs, with gathered rows: 97 % of the channels' peak, all loads together."""
    bench_planes = Planes(PAIRED, 1)
    keys = [bench_planes.add(1009, 16, 6, pair=True, skew=c) for c in range(16)]
    values = [bench_planes.add(1009, 16, 12, skew=c) for c in range(16)]
    rows = sorted(random.Random(5).sample(range(1009), 102))
    bench = Bench(PAIRED, bench_planes, latency=latency)

    async def script(ctx):
        await bench.send_ids(ctx, 1, rows)
        await paired_keys(bench, ctx, keys, rows, 1, 16)

    async def gathers(ctx):
        await ctx.tick().repeat(20 + len(rows))
        await gathered_values(bench, ctx, [values[i // 2] for i in range(32)], rows, 1, 32, 20)

    bench.run(script, gathers)
    total = bench.words_by_cycle[-1]
    assert total == 16 * (102 + 2 * 20) * 3
    begin, end = (
        next(i for i, words in enumerate(bench.words_by_cycle) if words >= total * part) for part in (0.2, 0.7)
    )
    rate = (bench.words_by_cycle[end] - bench.words_by_cycle[begin]) / (end - begin) / 16
    assert rate >= 0.97, rate
