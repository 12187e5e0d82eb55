"""RowWalker, ClassWalker and their parts: the rows of loads in one class, dense or from a list."""

import random
from collections import deque

import pytest
from amaranth.hdl import Value

from hdl.fetch.fetch_layouts import LSB_LOADS, units_per_word
from hdl.fetch.row_walker import ClassWalker, LoadLookUp, RowJoiner, RowWalker
from hdl.spec.config import PRESETS
from hdl.spec.payloads import KEY, KEY_LSB, VALUE
from tests.bench.fetch_configs import ODD, SINGLE, WIDE
from tests.bench.harness import check_stream_reset, made, run_streams
from tests.bench.row_model import load_fields, load_name, local_row, table_word

CONFIGS = {"tiny": PRESETS["tiny"], "one_channel": PRESETS["ulx3s"], "odd": ODD, "single": SINGLE, "wide": WIDE}


class Scene:
    """Loads that are walked in one class, with its two id lists."""

    def __init__(self, config, channel, rng, number, *, lsb=False, listed=0.5, limit=30):
        self.config, self.channel, self.lsb = config, channel, lsb
        self.room = LSB_LOADS if lsb else 2 * config.loads  # loads in progress
        self.ids = [
            sorted(rng.sample(range(config.max_tokens), rng.randrange(1, min(limit, config.max_tokens))))
            for _ in (0, 1)
        ]
        mine = [[(p, row) for p, row in enumerate(ids) if row % config.num_channels == channel] for ids in self.ids]
        self.entries = [[(row // config.num_channels, p) for p, row in items] for items in mine]
        self.table, self.loads, self.rows = {}, [], []
        names = [load_name(config, KEY_LSB, i) for i in range(LSB_LOADS)]
        if not lsb:
            names = [load_name(config, kind, i) for kind in (KEY, VALUE) for i in range(config.loads)]
        for name in names:
            self.table[name] = load_fields(
                config,
                dim=rng.choice(config.dims),
                width=rng.choice(config.plane_widths),
                count=rng.randint(1, min(limit, config.max_tokens)),
                listed=rng.random() < listed,
                which=rng.randrange(2),
            )
        for i in range(number):
            self.add(names[i % len(names)])

    def add(self, name):
        config, info = self.config, self.table[name]
        if info["listed"]:
            rows = self.entries[info["list"]]
        else:
            positions = range(self.channel, info["count"], config.num_channels)
            rows = [(p // config.num_channels, p) for p in positions]
        before = None
        for index, position in rows:
            within = index * info["row_units"] % units_per_word(config) != 0
            self.rows.append(local_row(name, index, position, joined=before == index - 1 and within))
            before = index
        self.rows.append(local_row(name, end=True))
        self.loads.append(name)

    @property
    def starts(self):
        return [{"load": name, "skew": 0} for name in self.loads]

    def start(self, dut, port, o):
        """Starts loads, as many at once as can be in progress."""

        async def run(ctx):
            waiting, flight = deque(self.starts), 0
            while True:
                go = bool(waiting) and flight < self.room
                ctx.set(port.valid, go)
                if go:
                    ctx.set(port.payload, waiting.popleft())
                _, _, valid, ready, end = await ctx.tick().sample(o.valid, o.ready, o.payload.end)
                flight += go - (valid and ready and end)

        return run

    def lists(self, dut, rng, stall):
        """The table, and the lists: an entry comes a cycle after it is read."""

        async def run(ctx):
            ctx.set(Value.cast(dut.table), table_word(self.config, self.table))
            for which, entries in enumerate(self.entries):
                ctx.set(dut.list_count[which], len(entries))
            while True:
                ctx.set(dut.read.ready, stall == 0 or rng.random() >= stall)
                signals = (dut.read.valid & dut.read.ready, dut.read.payload.list, dut.read.payload.index)
                _, _, read, which, number = await ctx.tick().sample(*signals)
                index, position = self.entries[which][number] if read else (rng.randrange(2), rng.randrange(2))
                ctx.set(dut.index, index)
                ctx.set(dut.position, position)

        return run

    def check(self, found):
        for row, expected in zip(found, self.rows, strict=True):
            if expected["end"]:
                assert (row["load"], row["end"], row["joined"]) == (expected["load"], 1, 0)
            else:
                assert row == expected


@pytest.mark.parametrize("name", CONFIGS)
@pytest.mark.parametrize("lsb", [False, True])
@pytest.mark.parametrize("stall", [0, 0.4])
def test_rows(name, lsb, stall):
    config = CONFIGS[name]
    rng = random.Random(f"{name} {lsb} {stall}")
    channel = rng.randrange(config.num_channels)
    scene = Scene(config, channel, rng, 12, lsb=lsb)
    dut = made(RowWalker, config, channel=channel, lsb=lsb)
    processes = [scene.start(dut, dut.start, dut.o), scene.lists(dut, rng, stall)]
    results, _ = run_streams(dut, {}, {"o": len(scene.rows)}, stall=stall, processes=processes)
    scene.check(results["o"])


@pytest.mark.parametrize("listed", [0, 1])
def test_latency_and_rate(listed):
    """LATENCY cycles from a start to its first row; then a row or an end mark a cycle, without a gap between loads."""
    rng = random.Random(1)
    config = ODD if listed else WIDE
    scene = Scene(config, 0, rng, 0, listed=listed)
    for info in scene.table.values():
        info["count"] = config.max_tokens
    if listed:
        scene.entries = [[(i, i) for i in range(3)]] * 2
    loads = list(scene.table)[: scene.room]
    for name in loads:
        scene.add(name)
    dut = made(RowWalker, config, channel=0, lsb=False)
    seen, started = [], []

    async def watch(ctx):
        cycle = 0
        while True:
            _, _, start, valid = await ctx.tick().sample(dut.start.valid, dut.o.valid)
            if start:
                started.append(cycle)
            if valid:
                seen.append(cycle)
            cycle += 1

    processes = [scene.start(dut, dut.start, dut.o), scene.lists(dut, rng, 0), watch]
    run_streams(dut, {}, {"o": len(scene.rows)}, stall=0, processes=processes)
    assert seen[0] - started[0] == RowWalker.LATENCY
    assert seen == list(range(seen[0], seen[0] + len(scene.rows)))


@pytest.mark.parametrize("stall", [0, 0.4])
def test_reset(stall):
    """No row and no load of the first use is left."""
    scene = Scene(ODD, 1, random.Random(3), 6)
    check_stream_reset(
        lambda: RowWalker(ODD, channel=1, lsb=False),
        {},
        {"o": len(scene.rows)},
        processes=lambda dut: [scene.start(dut, dut.start, dut.o), scene.lists(dut, random.Random(4), stall)],
        stall=stall,
        resets=6,
    )


def test_look_up():
    """LoadLookUp: rows of the class, of a dense load by division, of a listed one by its list; every second cycle."""
    config = ODD
    for channel in range(config.num_channels):
        scene = Scene(config, channel, random.Random(channel), 8)
        dut = made(LoadLookUp, config, channel=channel, lsb=False)

        async def give(ctx, dut=dut, scene=scene):
            ctx.set(Value.cast(dut.table), table_word(config, scene.table))
            for which, entries in enumerate(scene.entries):
                ctx.set(dut.list_count[which], len(entries))

        results, cycles = run_streams(dut, {"i": scene.loads}, {"o": 8}, stall=0, processes=[give], setup={})
        assert cycles <= 2 * 8 + LoadLookUp.LATENCY
        for name, found in zip(scene.loads, results["o"], strict=True):
            info = scene.table[name]
            dense = len(range(channel, info["count"], config.num_channels))
            assert found["load"] == name and (found["listed"], found["list"]) == (info["listed"], info["list"])
            assert found["total"] == (len(scene.entries[info["list"]]) if info["listed"] else dense)


def test_joiner():
    """RowJoiner: a row joins its neighbour within a word, of the same load, and only if that one came just before."""
    config = WIDE
    per_word = units_per_word(config)
    load = {"load": 3, "listed": 1, "list": 0, "sharing": (1 << (per_word - 1).bit_length()) - 1, "total": 9}
    steps = [(2, 0), (3, 0), (5, 0), (0, 1), (6, 0), (7, 0)]
    expected = [0, 1, 0, 0, 0, 1]
    items = [{"of": load, "index": i, "end": end} for i, (_, end) in enumerate(steps)]
    dut = made(RowJoiner, config, channel=0)

    async def give_list(ctx):
        given = iter(steps)
        while True:
            _, _, valid = await ctx.tick().sample(dut.i.valid)
            if valid:
                ctx.set(dut.index, next(given)[0])

    results, cycles = run_streams(dut, {"i": items}, {"o": len(items)}, stall=0, processes=[give_list])
    assert cycles == len(items) - 1 + RowJoiner.LATENCY
    assert [row["joined"] for row in results["o"]] == expected
    assert [row["index"] for row in results["o"] if not row["end"]] == [index for index, end in steps if not end]


@pytest.mark.parametrize("stall", [0, 0.4])
def test_class_walker(stall):
    """Both walkers read the lists of the class; KEY_LSB goes first. After a reset the lists are empty."""
    config, channel = ODD, 2
    rng = random.Random(f"{stall}")
    bulk = Scene(config, channel, rng, 6, limit=9)
    lsb = Scene(config, channel, rng, 6, lsb=True)
    lsb.ids, lsb.entries = bulk.ids, bulk.entries
    for scene in (bulk, lsb):
        scene.loads, scene.rows = [], []
        for name in [*scene.table] * 2:
            scene.add(name)

    def processes(dut):
        async def run(ctx):
            ctx.set(Value.cast(dut.table), table_word(config, bulk.table | lsb.table))
            for which, entries in enumerate(bulk.entries):
                for number, (index, position) in enumerate(entries):
                    fields = {"list": which, "first": number == 0, "write": 1, "index": index, "position": position}
                    ctx.set(dut.ids.payload, fields)
                    ctx.set(dut.ids.valid, 1)
                    await ctx.tick()
                if not entries:
                    ctx.set(dut.ids.payload, {"list": which, "first": 1, "write": 0, "index": 0, "position": 0})
                    ctx.set(dut.ids.valid, 1)
                    await ctx.tick()
            ctx.set(dut.ids.valid, 0)
            await ctx.tick()
            state["written"] = True

        def after_lists(process):
            async def run(ctx):
                while not state["written"]:
                    await ctx.tick()
                await process(ctx)

            return run

        state = {"written": False}
        starts = [bulk.start(dut, dut.start, dut.bulk), lsb.start(dut, dut.start_lsb, dut.lsb)]
        return [run, *map(after_lists, starts)]

    outputs = {"bulk": len(bulk.rows), "lsb": len(lsb.rows)}
    dut = made(ClassWalker, config, channel=channel)
    results, _ = run_streams(dut, {}, outputs, stall=stall, processes=processes(dut))
    bulk.check(results["bulk"])
    lsb.check(results["lsb"])
    check_stream_reset(
        lambda: ClassWalker(config, channel=channel),
        {},
        outputs,
        processes=processes,
        # Of an end mark the row is what the list gave last.
        view=lambda row: (row["load"], 1) if row["end"] else row,
        stall=stall,
        resets=3,
    )
