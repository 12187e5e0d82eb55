"""ChannelFetcher: rows of all sources from one channel, as slices of words."""

import dataclasses
import random

import pytest
from amaranth.hdl import Value

from hdl.fetch.channel_fetcher import ChannelFetcher
from hdl.fetch.fetch_layouts import granule, slice_elements
from hdl.fetch.row_issuer import RowIssuer
from hdl.fetch.row_source import RowSource
from hdl.spec.config import PRESETS
from hdl.spec.payloads import KEY, KEY_LSB, QUERY, VALUE
from tests.bench.fetch_configs import BROAD, ODD, SINGLE, WIDE
from tests.bench.harness import check_stream_reset, made, run_streams
from tests.bench.memory_model import SimMemory
from tests.bench.row_model import cut_slices, load_fields, load_name, local_row, requested, table_word

CONFIGS = {"tiny": PRESETS["tiny"], "wide": WIDE, "odd": ODD, "broad": BROAD, "single": SINGLE}
SOURCES = ("query", "lsb", "gather", "bulk")


def words_of(config, item):
    """A slice of :func:`tests.bench.row_model.cut_slices` as words for the multipliers."""
    width = config.plane_widths[item["width"].index(1)]
    words = []
    for e in range(slice_elements(config)):
        value = (item["raw"] >> e * width) & ((1 << width) - 1) if e < item["granules"] * granule(config) else 0
        if item["signed"] and value >> (width - 1):
            value -= 1 << width
        value = (value << item["shift"]) & ((1 << config.operand_width) - 1)
        words.append(value - (1 << config.operand_width) if value >> (config.operand_width - 1) else value)
    return words


class Scene:
    """Rows of each source, from loads of their own; ``slices`` are those that shall come, by load's name."""

    def __init__(self, config, rng, loads, *, sources=SOURCES, rows=8):
        self.config, self.rng = config, rng
        self.rows = {name: [] for name in sources}
        self.table = {}
        half = config.loads // 2
        for source in sources:
            for number in range(loads):
                kinds = {"query": QUERY, "lsb": KEY_LSB, "gather": VALUE, "bulk": (KEY, VALUE)[number % 2]}
                # Gathered rows have entries of VALUE loads that bulk ones do not use.
                index = number % half + half * (source == "gather")
                self.add(source, load_name(config, kinds[source], index), rows)
        size = max((info["base"] + 128 * info["row_units"] for info in self.table.values()), default=0) + 1
        self.memory = [rng.getrandbits(config.channel_width) for _ in range(size)]
        self.slices = {source: cut_slices(config, self.table, rows, self.memory) for source, rows in self.rows.items()}

    def add(self, source, name, rows):
        config, rng = self.config, self.rng
        if name not in self.table:
            kind = name >> config.load_width
            width = 4 if kind == KEY_LSB else rng.choice(config.plane_widths)
            shift = 4 if kind == KEY and width <= config.operand_width - 4 and rng.random() < 0.5 else 0
            self.table[name] = load_fields(
                config,
                dim=rng.choice(config.dims),
                width=width,
                base=rng.randrange(64),
                slot=rng.randrange(config.key_slots),
                seq=rng.randrange(1 << config.seq_width),
                count=rows,
                repeat=rng.randrange(2) if source == "bulk" else 0,
                shift=shift,
            )
        limit = -(-config.max_tokens // config.num_channels)
        chosen = sorted(rng.sample(range(limit), min(limit, rng.randint(1, rows))))
        if source == "query":
            self.rows[source] += [local_row(name, i, rng.randrange(config.query_queue)) for i in chosen]
            return
        units = config.channel_width // (2 * granule(config))
        for position, i in enumerate(chosen):
            within = i * self.table[name]["row_units"] % units != 0
            joined = source == "bulk" and position > 0 and chosen[position - 1] == i - 1 and within
            self.rows[source].append(local_row(name, i, position, joined=joined))
        self.rows[source].append(local_row(name, end=True))

    @property
    def words(self):
        """Words that are read, at the most and at the least: shared with all neighbours, or with none."""
        least = sum(len(requested(self.config, self.table, rows)[0]) for rows in self.rows.values())
        alone = [[row] for rows in self.rows.values() for row in rows]
        return least, sum(len(requested(self.config, self.table, rows)[0]) for rows in alone)

    def processes(self, dut, *, latency=5, stall=0.0, reads=None):
        config = self.config
        memory = SimMemory(config, [self.memory] + [[]] * (config.num_channels - 1), latency=latency, stall=stall)
        if reads is not None:
            reads.append(memory.reads[0])

        async def run(ctx):
            ctx.set(Value.cast(dut.table), table_word(config, self.table))
            flight = 0
            while True:
                request, response = dut.memory.request, dut.memory.response
                signals = (request.valid & request.ready, response.valid, response.ready)
                _, _, asked, given, ready = await ctx.tick().sample(*signals)
                assert ready or not given, "a response waits"
                flight += asked - given
                assert flight <= config.outstanding

        return [run, *memory.processes([dut.memory])]

    def check(self, found):
        expected = {source: list(items) for source, items in self.slices.items()}
        for item in found:
            tag = item["tag"]
            source = self.source_of(tag["load"])
            slice_ = expected[source].pop(0)
            names = ("load", "mark", "units", "end")
            if not slice_["end"]:
                names += ("slot", "low", "row_last")
                assert item["words"] == words_of(self.config, slice_)
            assert {name: tag[name] for name in names} == {name: slice_[name] for name in names}
        assert not any(expected.values())

    def source_of(self, load):
        kind, half = load >> self.config.load_width, self.config.loads // 2
        if kind == VALUE:
            return "gather" if load % self.config.loads >= half else "bulk"
        return {KEY: "bulk", KEY_LSB: "lsb", QUERY: "query"}[kind]


@pytest.mark.parametrize("name", CONFIGS)
@pytest.mark.parametrize("stall", [0, 0.3])
def test_slices(name, stall):
    """Of each source in order; words in flight are limited, and nothing is left inside."""
    config = CONFIGS[name]
    scene = Scene(config, random.Random(f"{name} {stall}"), 2)
    dut = made(ChannelFetcher, config)
    reads, asked, ends = [], [], []

    async def watch(ctx):
        while True:
            _, _, now, *end = await ctx.tick().sample(dut.asked, dut.busy, dut.inside)
            asked.append(now)
            ends[:] = end

    number = sum(map(len, scene.slices.values()))
    results, _ = run_streams(
        dut,
        scene.rows,
        {"o": number},
        stall=stall,
        processes=[*scene.processes(dut, stall=stall, reads=reads), watch],
    )
    scene.check(results["o"])
    least, most = scene.words
    assert least <= len(reads[0]) <= most and sum(asked) == len(reads[0])
    assert ends == [0, 0], "words in flight, units inside"


def test_rate():
    """Rows of one load: a word a cycle."""
    config = WIDE
    scene = Scene(config, random.Random(2), 0, rows=0)
    scene.table[0] = load_fields(config, dim=64, width=12, count=20)
    scene.rows["bulk"] = [local_row(0, i, i) for i in range(8)]
    scene.memory = [scene.rng.getrandbits(config.channel_width) for _ in range(100)]
    scene.slices["bulk"] = cut_slices(config, scene.table, scene.rows["bulk"], scene.memory)
    dut = made(ChannelFetcher, config)
    reads = []
    results, cycles = run_streams(
        dut, scene.rows, {"o": len(scene.slices["bulk"])}, stall=0, processes=scene.processes(dut, reads=reads)
    )
    scene.check(results["o"])
    before = RowSource.LATENCY + RowIssuer.LATENCY
    assert len(reads[0]) == 96 and cycles <= before + 96 + 5 + ChannelFetcher.LATENCY


def test_latency():
    """From the last word of a slice to the slice."""
    config = WIDE
    scene = Scene(config, random.Random(2), 0, rows=0)
    scene.table[0] = load_fields(config, dim=16, width=12, count=1)
    scene.rows["bulk"] = [local_row(0, 0, 0)]
    scene.memory = [0] * 20
    dut = made(ChannelFetcher, config)
    seen = {}

    async def watch(ctx):
        cycle = 0
        while True:
            _, _, word, item = await ctx.tick().sample(dut.memory.response.valid, dut.o.valid)
            if word:
                seen["word"] = cycle
            if item:
                seen["slice"] = cycle
            cycle += 1

    run_streams(dut, scene.rows, {"o": 1}, stall=0, processes=[*scene.processes(dut), watch])
    assert seen["slice"] - seen["word"] == ChannelFetcher.LATENCY


@pytest.mark.parametrize("latency", [1, 20])
def test_words_in_flight(latency):
    """A word may take another's place FLIGHT cycles after that one has come."""
    config = dataclasses.replace(WIDE, outstanding=4)
    scene = Scene(config, random.Random(2), 0, rows=0)
    scene.table[0] = load_fields(config, dim=64, width=12, count=20)
    scene.rows["bulk"] = [local_row(0, 0, 0)]
    scene.memory = [0] * 20
    dut = made(ChannelFetcher, config)
    cycles = []

    async def watch(ctx):
        cycle = 0
        while True:
            _, _, now = await ctx.tick().sample(dut.memory.request.valid & dut.memory.request.ready)
            if now:
                cycles.append(cycle)
            cycle += 1

    slices = len(cut_slices(config, scene.table, scene.rows["bulk"], scene.memory))
    processes = [*scene.processes(dut, latency=latency), watch]
    run_streams(dut, scene.rows, {"o": slices}, stall=0, processes=processes)
    period = max(4, latency + ChannelFetcher.FLIGHT)
    assert [cycle - cycles[0] for cycle in cycles] == [period * (i // 4) + i % 4 for i in range(12)]


@pytest.mark.parametrize("stall", [0, 0.3])
def test_reset(stall):
    """Words of the first use are forgotten, with the memory."""
    scene = Scene(ODD, random.Random(5), 1, rows=4)
    check_stream_reset(
        lambda: ChannelFetcher(ODD),
        scene.rows,
        {"o": sum(map(len, scene.slices.values()))},
        processes=lambda dut: scene.processes(dut, stall=stall),
        stall=stall,
        resets=4,
    )
