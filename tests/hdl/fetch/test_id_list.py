import random

import pytest
from amaranth.hdl import Module, ResetInserter, Signal, Value
from amaranth.lib import wiring
from amaranth.lib.wiring import connect

from hdl.fetch.id_list import ChannelList, ClassPick, IdSpread, PositionList
from hdl.spec.config import PRESETS, Config
from sim.common.packing import pack, unpack
from tests.bench import harness
from tests.bench.harness import check_reset, clocked, made

WIDE = Config(
    num_multipliers=128,
    lanes=8,
    max_dim=16,
    dims=(16,),
    max_tokens=100,
    num_channels=16,
    buffer_dim=32,
    key_rows=128,
    value_rows=128,
    key_pages=8,
    value_pages=8,
    norm_lanes=4,
)
CONFIGS = [PRESETS["tiny"], PRESETS["ulx3s"], WIDE]
NAMES = ["tiny", "one_channel", "wide"]


class SortedLists(wiring.Component):
    """IdSpread with the list of each class, and the PositionList beside them."""

    def __init__(self, config):
        self.config = config
        self.spread = IdSpread(config)
        self.lists = [ChannelList(config, channel=k) for k in range(config.num_channels)]
        self.positions = PositionList(config)
        super().__init__({})

    def elaborate(self, platform):
        m = Module()
        m.submodules.spread, m.submodules.positions = self.spread, self.positions
        for k, channel_list in enumerate(self.lists):
            m.submodules[f"list_{k}"] = channel_list
            connect(m, self.spread.o[k], channel_list.i)
        m.d.comb += [
            self.positions.ids.valid.eq(self.spread.i.valid & self.spread.i.ready),
            self.positions.ids.payload.eq(self.spread.i.payload),
        ]
        return m


def beats_of(config, which, ids, rng=None):
    """Beats of a list: full words, or (with ``rng``) cut at any position."""
    lanes, beats, start = config.lanes, [], 0
    while start < len(ids):
        stop = min(len(ids), (start // lanes + 1) * lanes)
        if rng:
            stop = rng.randint(start + 1, stop)
        values = [rng.randrange(config.max_tokens) if rng else 0 for _ in range(lanes)]
        for p in range(start, stop):
            values[p % lanes] = ids[p]
        mask = sum(1 << p % lanes for p in range(start, stop))
        fields = {"list": which, "first": start == 0, "word": start // lanes, "mask": mask}
        beats.append({**fields, "ids": values, "importance": [0] * lanes})
        start = stop
    return beats


async def send(ctx, spread, beats, rng, stall):
    shape = spread.i.payload.shape()
    for beat in beats:
        while rng.random() < stall:
            await ctx.tick()
        ctx.set(Value.cast(spread.i.payload), pack(shape, beat))
        ctx.set(spread.i.valid, 1)
        await ctx.tick().until(spread.i.ready)
        ctx.set(spread.i.valid, 0)


async def check_list(ctx, dut, which, ids):
    config = dut.config
    for k, channel_list in enumerate(dut.lists):
        expected = [(r // config.num_channels, p) for p, r in enumerate(ids) if r % config.num_channels == k]
        assert ctx.get(channel_list.count[which]) == len(expected)
        for i, entry in enumerate(expected):
            ctx.set(channel_list.read_list, which)
            ctx.set(channel_list.read_index, i)
            ctx.set(channel_list.read_en, 1)
            await ctx.tick()
            ctx.set(channel_list.read_en, 0)
            assert (ctx.get(channel_list.index), ctx.get(channel_list.position)) == entry
    for word in range(-(-len(ids) // config.lanes)):
        ctx.set(dut.positions.read_list, which)
        ctx.set(dut.positions.read_word, word)
        ctx.set(dut.positions.read_en, 1)
        await ctx.tick()
        ctx.set(dut.positions.read_en, 0)
        for lane, row in enumerate(ids[word * config.lanes :][: config.lanes]):
            assert ctx.get(dut.positions.rows[lane]) == row


def simulate(dut, bench, top=None):
    harness.simulate(top or dut, bench, cycles=5000)


@pytest.mark.parametrize("config", CONFIGS, ids=NAMES)
@pytest.mark.parametrize("stall", [0, 0.5])
@pytest.mark.parametrize("cut", [False, True])
def test_lists_hold_the_ids(config, stall, cut):
    """Lists written one after another, each checked in the cycle in which busy falls, with the other list untouched."""
    rng = random.Random(f"{config.name} {stall} {cut}")
    dut = made(SortedLists, config)

    async def bench(ctx):
        lists = [[], []]
        for _ in range(5):
            which = rng.randrange(2)
            limit = min(config.max_tokens, 100)
            count = rng.choice([1, config.lanes, rng.randint(1, limit), limit])
            ids = sorted(rng.sample(range(config.max_tokens), count))
            await send(ctx, dut.spread, beats_of(config, which, ids, rng if cut else None), rng, stall)
            lists[which] = ids
            while ctx.get(dut.spread.busy):
                await ctx.tick()
            for i in range(2):
                await check_list(ctx, dut, i, lists[i])

    simulate(dut, bench)


@pytest.mark.parametrize(
    ("ids", "cycles"),
    [(list(range(48)), 6), (list(range(0, 100, 16)), 7), ([0, 1, 2, 3, 16, 17, 32, 50], 3)],
    ids=["dense", "one_class", "mixed"],
)
def test_cycles_of_a_beat(ids, cycles):
    """Ids of different classes go at once, those of one class one a cycle; the next beat follows without a gap."""
    dut = made(SortedLists, WIDE)

    async def bench(ctx):
        beats = beats_of(WIDE, 0, ids)
        for cycle in range(cycles + IdSpread.LATENCY):
            assert cycle == 0 or ctx.get(dut.spread.busy)
            ctx.set(dut.spread.i.valid, bool(beats))
            if beats:
                ctx.set(Value.cast(dut.spread.i.payload), pack(dut.spread.i.payload.shape(), beats[0]))
                beats = beats[ctx.get(dut.spread.i.ready) :]
            await ctx.tick()
        assert not beats and not ctx.get(dut.spread.busy)
        await check_list(ctx, dut, 0, ids)

    simulate(dut, bench)


def test_an_empty_beat_clears_a_list():
    dut = made(SortedLists, WIDE)

    async def bench(ctx):
        rng = random.Random(0)
        await send(ctx, dut.spread, beats_of(WIDE, 1, [3, 5, 19]), rng, 0)
        empty = {"list": 1, "first": 1, "word": 0, "mask": 0, "ids": [0] * 8, "importance": [0] * 8}
        await send(ctx, dut.spread, [empty], rng, 0)
        assert ctx.get(dut.spread.busy)
        await ctx.tick().repeat(2)  # ids 3 and 19 are of one class
        assert not ctx.get(dut.spread.busy)
        await check_list(ctx, dut, 1, [])

    simulate(dut, bench)


def test_reset_in_a_beat():
    dut, reset = SortedLists(WIDE), Signal()

    async def bench(ctx):
        rng = random.Random(0)
        await send(ctx, dut.spread, beats_of(WIDE, 0, [0, 16, 32, 48]), rng, 0)
        await ctx.tick()
        ctx.set(reset, 1)
        await ctx.tick()
        ctx.set(reset, 0)
        assert not ctx.get(dut.spread.busy)
        await check_list(ctx, dut, 0, [])
        await send(ctx, dut.spread, beats_of(WIDE, 0, [1, 17]), rng, 0)
        await ctx.tick().repeat(2)
        await check_list(ctx, dut, 0, [1, 17])

    simulate(dut, bench, ResetInserter(reset)(dut))


@pytest.mark.parametrize("config", CONFIGS, ids=NAMES)
@pytest.mark.parametrize("stall", [0, 0.5])
def test_a_list_is_busy_until_all_its_ids_are_there(config, stall):
    """In every cycle, also while its beat waits for the beat of the other list before it."""
    rng = random.Random(f"{config.name} {stall} busy")
    dut = made(SortedLists, config)
    size = 2 * config.lanes
    # Ids of one class, as many as there are, take longest; the next beat waits meanwhile.
    same = list(range(0, config.max_tokens, config.num_channels))[:size]
    lists = [(i % 2, same if i % 4 == 0 else sorted(rng.sample(range(config.max_tokens), size))) for i in range(8)]
    beats = [beat for which, ids in lists for beat in beats_of(config, which, ids)]
    taken = [0, 0]  # ids of the list in beats that were taken
    waits = [0, 0]

    async def watch(ctx):
        spread = dut.spread
        while True:
            busy = ctx.get(spread.busy)
            for which in range(2):
                there = sum(ctx.get(channel_list.count[which]) for channel_list in dut.lists)
                assert busy >> which & 1 or there == taken[which], f"list {which}"
                waits[which] += busy == 3
            signals = (spread.i.valid & spread.i.ready, Value.cast(spread.i.payload))
            _, _, went, word = await ctx.tick().sample(*signals)
            if went:
                beat = unpack(spread.i.payload.shape(), word)
                taken[beat["list"]] = bin(beat["mask"]).count("1") + (0 if beat["first"] else taken[beat["list"]])

    async def bench(ctx):
        await send(ctx, dut.spread, beats, rng, stall)
        while ctx.get(dut.spread.busy):
            await ctx.tick()
        await ctx.tick().repeat(3)

    harness.simulate(dut, bench, watch, cycles=2000)
    assert stall or all(waits), "both lists were busy at once"


def test_busy_tells_of_the_beat_that_waits():
    """A beat of list 1 waits, while four ids of one class of list 0 are handed out."""
    dut = made(SortedLists, WIDE)

    async def bench(ctx):
        rng = random.Random(0)
        await send(ctx, dut.spread, beats_of(WIDE, 0, [0, 16, 32, 48]), rng, 0)
        assert ctx.get(dut.spread.busy) == 0b01
        await send(ctx, dut.spread, beats_of(WIDE, 1, [5]), rng, 0)
        for _ in range(3):
            assert ctx.get(dut.spread.busy) == 0b11
            await ctx.tick()
        assert ctx.get(dut.spread.busy) == 0b10
        await ctx.tick()
        assert ctx.get(dut.spread.busy) == 0
        await check_list(ctx, dut, 0, [0, 16, 32, 48])
        await check_list(ctx, dut, 1, [5])

    simulate(dut, bench)


@pytest.mark.parametrize("config", CONFIGS, ids=NAMES)
def test_reset(config):
    """Of the beats before a reset nothing is handed out: lists are those of a fresh block."""
    size = min(config.max_tokens, 3 * config.lanes)

    def prepare(dut):
        seen = []

        async def bench(ctx):
            rng = random.Random(8)
            ctx.set(dut.spread.i.valid, 0)
            for which in (0, 1, 0):
                ids = sorted(rng.sample(range(config.max_tokens), size))
                await send(ctx, dut.spread, beats_of(config, which, ids), rng, 0.2)
            while ctx.get(dut.spread.busy):
                await ctx.tick()

        async def watch(ctx):
            while True:
                seen.append((ctx.get(dut.spread.busy), [ctx.get(part.count.as_value()) for part in dut.lists]))
                await ctx.tick()

        return bench, [watch], seen

    check_reset(lambda: SortedLists(config), prepare, cycles=1000, resets=6)


def test_class_pick():
    """The lowest pending id of the class, and its lane."""
    for config in CONFIGS:
        for channel in range(0, config.num_channels, 3):
            dut = made(ClassPick, config, channel=channel)

            async def bench(ctx, dut=dut, config=config, channel=channel):
                rng = random.Random(channel)
                for _ in range(40):
                    ids = sorted(rng.sample(range(config.max_tokens), config.lanes))
                    pending = rng.getrandbits(config.lanes)
                    ctx.set(Value.cast(dut.ids), pack(dut.ids.shape(), ids))
                    ctx.set(dut.pending, pending)
                    lanes = [
                        i for i, row in enumerate(ids) if pending >> i & 1 and row % config.num_channels == channel
                    ]
                    assert ctx.get(dut.mine) == bool(lanes)
                    assert ctx.get(dut.chosen) == (1 << lanes[0] if lanes else 0)
                    if lanes:
                        assert ctx.get(dut.lane) == lanes[0]
                        assert ctx.get(dut.index) == ids[lanes[0]] // config.num_channels
                    await ctx.tick()

            simulate(clocked(dut), bench)


@pytest.mark.parametrize("channel", [-1, 16])
def test_channel_exists(channel):
    with pytest.raises(ValueError, match=f"channel must be from 0 to 15, not {channel}"):
        ChannelList(WIDE, channel=channel)
