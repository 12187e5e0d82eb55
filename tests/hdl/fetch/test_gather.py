import dataclasses
import random

import pytest
from amaranth.hdl import ResetInserter, Signal, Value

from hdl.fetch.gather import ChannelPick, Gather, LineRanker, LineSpread
from hdl.spec.config import PRESETS, Config
from hdl.spec.payloads import VALUE
from sim.common.packing import pack, unpack
from tests.bench.harness import check_stream_reset, clocked, made, run_streams, simulate
from tests.hdl.fetch.test_id_list import beats_of

WIDE = Config(
    num_multipliers=128,
    lanes=8,
    max_dim=32,
    dims=(16, 32),
    buffer_dim=16,
    key_rows=1024,
    value_rows=1024,
    key_pages=8,
    value_pages=8,
    norm_lanes=4,
    loads=8,
)
# With fewer loads in flight the feeder waits for a row's end before it starts another.
ONE_CHANNEL = dataclasses.replace(PRESETS["ulx3s"], loads=4)
CONFIGS = [PRESETS["tiny"], ONE_CHANNEL, WIDE]
NAMES = ["tiny", "one_channel", "wide"]


def lines_of(keep, per_line):
    starts = range(0, len(keep), per_line)
    masks = [sum(bit << i for i, bit in enumerate(keep[start : start + per_line])) for start in starts]
    return [
        {"start": start, "keep": mask, "last": start + per_line >= len(keep)}
        for start, mask in zip(starts, masks, strict=True)
    ]


class Row:
    """A gathered row: a load with its list, skew and keep mask."""

    def __init__(self, config, index, rng, lists, *, num_keys, num_kept, listed):
        self.index, self.listed, self.which = index, listed, rng.randrange(2)
        self.skew = rng.randrange(config.num_channels)
        ids = lists[self.which][:num_keys] if listed else range(num_keys)
        kept = sorted(rng.sample(range(len(ids)), min(num_kept, len(ids))))
        self.keep = [p in kept for p in range(len(ids))]
        self.load = index % config.loads | VALUE << config.load_width
        self.rows = [ids[p] for p in kept]

    def expected(self, config, channel):
        n = config.num_channels
        items = [(self.load, r // n, p, 0) for p, r in enumerate(self.rows) if (r + self.skew) % n == channel]
        return [*items, (self.load, None, None, 1)]


def item(entry):
    if entry["end"]:
        return entry["load"], None, None, 1
    return entry["load"], entry["index"], entry["position"], 0


def feed(config, rows, lists, rng, stall, ended):
    """Write the id lists, then start the rows; a load is used again when its row before has ended in all channels."""

    async def run(ctx, dut):
        for which, ids in enumerate(lists):
            for beat in beats_of(config, which, ids):
                ctx.set(Value.cast(dut.ids.payload), pack(dut.ids.payload.shape(), beat))
                ctx.set(dut.ids.valid, 1)
                await ctx.tick()
        ctx.set(dut.ids.valid, 0)
        for row in rows:
            while rng.random() < stall or min(ended) <= row.index - config.loads:
                await ctx.tick()
            info = dut.info[row.index % config.loads]
            ctx.set(info.listed, row.listed)
            ctx.set(info.list, row.which)
            ctx.set(info.skew, row.skew)
            ctx.set(dut.start.payload, row.load)
            ctx.set(dut.start.valid, 1)
            await ctx.tick().until(dut.start.ready)
            ctx.set(dut.start.valid, 0)
            assert ctx.get(dut.busy)

    return run


def gather(config, rows, lists, rng, stall, per_line):
    dut = made(Gather, config)
    lines = [line for row in rows for line in lines_of(row.keep, per_line)]
    expected = [[e for row in rows for e in row.expected(config, c)] for c in range(config.num_channels)]
    ended = [0] * config.num_channels
    feeder = feed(config, rows, lists, rng, stall, ended)
    outputs = {f"rows.{c}": len(items) for c, items in enumerate(expected)}
    busy = []

    async def feed_dut(ctx):
        await feeder(ctx, dut)

    async def watch(ctx):
        ends = [port.valid & port.ready & port.payload.end for port in dut.rows]
        while True:
            _, _, value, *now = await ctx.tick().sample(dut.busy, *ends)
            busy.append(value)
            ended[:] = [a + b for a, b in zip(ended, now, strict=True)]

    results, cycles = run_streams(
        dut, {"line": lines}, outputs, stall=stall, seed=rng.random(), processes=[feed_dut, watch]
    )
    for c, items in enumerate(expected):
        assert [item(entry) for entry in results[f"rows.{c}"]] == items, f"channel {c}"
    assert not busy[-1] and not busy[0]
    assert all(busy[busy.index(1) : cycles + 1]) or stall, "busy until the last end mark"
    return cycles


def random_lists(config, rng, num_keys):
    limit = min(config.max_tokens, 256)
    return [sorted(rng.sample(range(limit), min(num_keys, limit))) for _ in range(2)]


@pytest.mark.parametrize("config", CONFIGS, ids=NAMES)
@pytest.mark.parametrize("stall", [0, 0.3, 0.7])
def test_rows_go_to_their_channels(config, stall):
    """Rows of all lengths, with and without a list, nothing kept or all; every channel gets every end mark in order."""
    rng = random.Random(f"{config.name} {stall}")
    lists = random_lists(config, rng, 60)
    rows = []
    for i in range(12):
        num_keys = rng.choice([1, config.lanes, 2 * config.lanes + 1, rng.randint(1, 60)])
        kept = rng.choice([0, num_keys, rng.randint(0, num_keys)])
        listed = rng.random() < 0.7
        rows.append(Row(config, i, rng, lists, num_keys=num_keys, num_kept=kept, listed=listed))
    gather(config, rows, lists, rng, stall, config.lanes)


@pytest.mark.parametrize("per_line", [1, 2, 4])
def test_lines_of_fewer_keys(per_line):
    rng = random.Random(per_line)
    lists = random_lists(WIDE, rng, 40)
    rows = [Row(WIDE, i, rng, lists, num_keys=40 - i, num_kept=15, listed=i % 3 > 0) for i in range(6)]
    gather(WIDE, rows, lists, rng, 0.2, per_line)


def measure(num_rows, num_keys, num_kept, stall=0):
    """Cycles per row in the long run: of 3 * num_rows rows less those of num_rows."""
    cycles = []
    for count in (num_rows, 3 * num_rows):
        rng = random.Random(7)
        lists = [sorted(rng.sample(range(1009), num_keys)) for _ in range(2)]
        rows = [Row(WIDE, i, rng, lists, num_keys=num_keys, num_kept=num_kept, listed=True) for i in range(count)]
        cycles.append(gather(WIDE, rows, lists, rng, stall, WIDE.lanes))
    return (cycles[1] - cycles[0]) / (2 * num_rows)


def test_rows_back_to_back():
    """13 lines with 20 kept of 102 random rows: neither conflicts nor end marks cost more than half a cycle a row."""
    assert measure(12, 102, 20) <= 13.5


def test_short_rows_back_to_back():
    """Rows of one line: marks of a row and of the next cannot go at once."""
    assert measure(12, 8, 2) <= 2.5


def test_conflicts_cost_a_cycle_each():
    """All rows in one channel: one a cycle, of any skew."""
    rng = random.Random(0)
    lists = [list(range(0, 1024, 16))] * 2
    row = Row(WIDE, 0, rng, lists, num_keys=64, num_kept=64, listed=True)
    cycles = gather(WIDE, [row], lists, rng, 0, WIDE.lanes)
    written = 2 * 8
    assert cycles <= written + 2 + Gather.LATENCY + 64


def test_reset_in_a_row():
    """After a reset a new row begins with rank 0 and nothing of the old one comes."""
    config, reset = PRESETS["tiny"], Signal()
    dut = made(Gather, config)

    async def start_row(ctx, lines):
        ctx.set(dut.start.payload, VALUE << config.load_width)
        ctx.set(dut.start.valid, 1)
        await ctx.tick().until(dut.start.ready)
        ctx.set(dut.start.valid, 0)
        for line in lines:
            ctx.set(Value.cast(dut.line.payload), pack(dut.line.payload.shape(), line))
            ctx.set(dut.line.valid, 1)
            await ctx.tick().until(dut.line.ready)
            ctx.set(dut.line.valid, 0)

    async def bench(ctx):
        await start_row(ctx, lines_of([1] * 9, 2)[:3])
        await ctx.tick().repeat(8)
        ctx.set(reset, 1)
        await ctx.tick()
        ctx.set(reset, 0)
        assert not ctx.get(dut.busy)
        await start_row(ctx, lines_of([1, 0, 1], 2))
        seen = [[] for _ in dut.rows]
        for port in dut.rows:
            ctx.set(port.ready, 1)
        for _ in range(12):
            for port, items in zip(dut.rows, seen, strict=True):
                if ctx.get(port.valid):
                    items.append(item(unpack(port.payload.shape(), ctx.get(Value.cast(port.payload)))))
            await ctx.tick()
        load = VALUE << config.load_width
        assert seen == [[(load, 0, 0, 0), (load, 1, 1, 0), (load, None, None, 1)], [(load, None, None, 1)]]
        assert not ctx.get(dut.busy)

    simulate(ResetInserter(reset)(dut), bench, cycles=200)


@pytest.mark.parametrize("stall", [0, 0.4])
def test_reset_in_mid_stream(stall):
    config = ONE_CHANNEL if stall else WIDE
    rng = random.Random(3)
    lists = random_lists(config, rng, 30)
    rows = [Row(config, i, rng, lists, num_keys=20, num_kept=12, listed=i % 2) for i in range(5)]
    lines = [line for row in rows for line in lines_of(row.keep, config.lanes)]
    outputs = {f"rows.{c}": sum(len(row.expected(config, c)) for row in rows) for c in range(config.num_channels)}

    def processes(dut):
        ended = [0] * config.num_channels
        feeder = feed(config, rows, lists, random.Random(4), stall, ended)

        async def feed_dut(ctx):
            await feeder(ctx, dut)

        async def count(ctx):
            ends = [port.valid & port.ready & port.payload.end for port in dut.rows]
            while True:
                _, _, *now = await ctx.tick().sample(*ends)
                ended[:] = [a + b for a, b in zip(ended, now, strict=True)]

        return [feed_dut, count]

    check_stream_reset(lambda: Gather(config), {"line": lines}, outputs, processes=processes, stall=stall, resets=4)


def ranked(config, rng, row, number):
    """A line of ``number`` rows at most, ranked from 0 on: (item for LineSpread, rows by channel)."""
    lanes = sorted(rng.sample(range(config.lanes), min(config.lanes, number)))
    rows, by_channel = [], [[] for _ in range(config.num_channels)]
    for lane in range(config.lanes):
        channel, index = rng.randrange(config.num_channels), rng.randrange(4)
        rows.append({"channel": channel, "index": index, "position": lane})
        if lane in lanes:
            by_channel[channel].append((row, index, lane, 0))
    mask = sum(1 << lane for lane in lanes)
    return {"load": row, "mask": mask, "last": 0, "rows": rows}, by_channel


@pytest.mark.parametrize("config", [PRESETS["tiny"], WIDE], ids=["tiny", "wide"])
@pytest.mark.parametrize("stall", [0, 0.5])
def test_spread(config, stall):
    """LineSpread alone: every channel gets its rows of each line in order, and after the last line its end mark."""
    rng = random.Random(f"{config.name} {stall}")
    lines, expected = [], [[] for _ in range(config.num_channels)]
    for row in range(12):
        load = row % config.loads | VALUE << config.load_width
        count = rng.randint(1, 3)
        for number in range(count):
            line, by_channel = ranked(config, rng, load, rng.randint(0 if number == count - 1 else 1, config.lanes))
            line["last"] = int(number == count - 1)
            lines.append(line)
            for items, new in zip(expected, by_channel, strict=True):
                items += new
        for items in expected:
            items.append((load, None, None, 1))
    outputs = {f"rows.{c}": len(items) for c, items in enumerate(expected)}
    results, _ = run_streams(made(LineSpread, config), {"i": lines}, outputs, stall=stall)
    for c, items in enumerate(expected):
        assert [item(entry) for entry in results[f"rows.{c}"]] == items
    check_stream_reset(lambda: LineSpread(config), {"i": lines}, outputs, stall=stall, resets=4)


def test_ranker():
    """LineRanker alone: ranks over the lines of a row, from 0 on for the next row; a line a cycle."""
    config = WIDE
    rng = random.Random(2)
    lists = random_lists(config, rng, 60)
    rows = [Row(config, i, rng, lists, num_keys=50, num_kept=20, listed=True) for i in range(4)]
    lines = [line for row in rows for line in lines_of(row.keep, config.lanes)]
    starts = [row.load for row in rows]

    def processes(dut):
        async def run(ctx):
            for row in rows:
                info = dut.info[row.index % config.loads]
                ctx.set(info.listed, 1)
                ctx.set(info.list, row.which)
                ctx.set(info.skew, row.skew)
            for which, ids in enumerate(lists):
                for beat in beats_of(config, which, ids):
                    ctx.set(Value.cast(dut.ids.payload), pack(dut.ids.payload.shape(), beat))
                    ctx.set(dut.ids.valid, 1)
                    await ctx.tick()
            ctx.set(dut.ids.valid, 0)
            for load in starts:
                ctx.set(dut.start.payload, load)
                ctx.set(dut.start.valid, 1)
                ready = 0
                while not ready:
                    _, _, ready = await ctx.tick().sample(dut.start.ready)
                ctx.set(dut.start.valid, 0)

        return [run]

    for stall in (0, 0.4):
        dut = made(LineRanker, config)
        results, _ = run_streams(dut, {"line": lines}, {"o": len(lines)}, stall=stall, processes=processes(dut))
        found = {row.load: [] for row in rows}
        for line in results["o"]:
            chosen = [entry for i, entry in enumerate(line["rows"]) if line["mask"] >> i & 1]
            found[line["load"]] += [(entry["channel"], entry["index"], entry["position"]) for entry in chosen]
        n = config.num_channels
        for row in rows:
            places = [((r + row.skew) % n, r // n, p) for p, r in enumerate(row.rows)]
            assert found[row.load] == places
        check_stream_reset(
            lambda: LineRanker(config), {"line": lines}, {"o": len(lines)}, processes=processes, stall=stall
        )


def test_channel_pick():
    """The lowest pending row of the channel; its end mark before them, or after them if it is of the same row."""
    config = WIDE
    dut = made(ChannelPick, config, channel=3)

    async def bench(ctx):
        rng = random.Random(1)
        for _ in range(200):
            line, _ = ranked(config, rng, 1, config.lanes)
            pending, end, same, ready = rng.getrandbits(config.lanes), *(rng.randrange(2) for _ in range(3))
            ctx.set(Value.cast(dut.rows), pack(dut.rows.shape(), line["rows"]))
            for name, value in {"pending": pending, "end": end, "same": same, "load": 1, "end_load": 2}.items():
                ctx.set(getattr(dut, name), value)
            ctx.set(dut.o.ready, ready)
            lanes = [i for i, row in enumerate(line["rows"]) if pending >> i & 1 and row["channel"] == 3]
            marks = end and not (same and lanes)
            assert ctx.get(dut.o.valid) == bool(marks or lanes)
            goes = bool(ready and lanes and not marks)
            assert ctx.get(dut.gone) == (1 << lanes[0] if goes else 0)
            assert ctx.get(dut.left) == (len(lanes) > goes)
            assert ctx.get(dut.end_left) == (end and not (ready and marks))
            if marks:
                assert ctx.get(dut.o.payload.end) and ctx.get(dut.o.payload.load) == 2
            elif lanes:
                row = line["rows"][lanes[0]]
                assert (ctx.get(dut.o.payload.index), ctx.get(dut.o.payload.position)) == (row["index"], lanes[0])
                assert ctx.get(dut.o.payload.load) == 1
            await ctx.tick()

    simulate(clocked(dut), bench, cycles=300)
