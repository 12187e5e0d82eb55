import dataclasses
import random

import pytest
from amaranth.hdl import ResetInserter, Signal, Value
from amaranth.sim import Simulator

from hdl.fetch.gather import Gather
from hdl.spec.config import PRESETS, Config
from hdl.spec.payloads import VALUE
from sim.common.packing import pack, unpack
from tests.bench.harness import run_streams
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
    dut = Gather(config)
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
    dut = Gather(config)
    sim = Simulator(ResetInserter(reset)(dut))
    sim.add_clock(1e-6)

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

    sim.add_testbench(bench)
    sim.run()
