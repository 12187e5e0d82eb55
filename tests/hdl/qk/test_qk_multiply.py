import dataclasses
import random

import pytest
import torch
from amaranth.hdl import Elaboratable, ResetInserter, Signal, Value
from hypothesis import given
from hypothesis import strategies as st

from golden.datapath import integer
from hdl.fetch.kv_buffer import KVBuffer
from hdl.qk.qk_multiply import QKMultiply
from hdl.spec.config import PRESETS, Config
from sim.common.packing import pack, unpack
from tests.bench.examples import examples
from tests.bench.harness import Simulation, made, run_streams
from tests.bench.lines import make_lines, split_lines


def small(multipliers, lanes, max_dim, dims, tokens=24, width=12):
    return Config(
        num_multipliers=multipliers, lanes=lanes, max_dim=max_dim, dims=dims, operand_width=width,
        max_tokens=tokens, buffer_dim=max_dim, norm_lanes=4,
    )  # fmt: skip


CONFIGS = {
    "tiny": PRESETS["tiny"],
    "odd": small(64, 4, 128, (16, 48, 80, 96), tokens=21, width=8),  # 1, 4 and 8 slices, two beats
    "two": small(32, 2, 128, (16, 32, 96, 128)),  # up to four beats
    "one": small(16, 1, 64, (16, 48)),  # one lane
    "wide": small(128, 2, 32, (16, 32)),  # a lane is wider than the longest row
    "narrow": small(8, 8, 32, (16, 32), tokens=9, width=16),  # lanes of one multiplier
}
EIGHT = small(128, 8, 64, (16, 32, 64), tokens=64)  # the shape of `paper`, with narrow lanes
FLAT = small(32, 8, 64, (16, 32, 64))  # 4, 8 and 16 slices


@dataclasses.dataclass
class Job:
    """Queries against one region of the K buffer."""

    dim: int
    lengths: list[int]
    pack: bool = False
    lows: tuple[bool, ...] = (True, False)  # of the queries in turn
    corner: int | None = None  # every element, instead of random ones
    loaded: bool = False  # from the start, else bit by bit


class Case:
    """Jobs with data: stimulus, golden rows, and the processes that stand for the K buffer."""

    def __init__(self, config, jobs, seed=0):
        self.config, self.jobs, self.rng = config, jobs, random.Random(seed)
        self.queries, self.rows, self.keys = [], [], []
        # Sequence numbers wrap within the first job; regions are apart from each other.
        self.seqs, self.slots = [(1 << config.seq_width) - 5], [config.key_page_slots * 3]
        for number, job in enumerate(jobs):
            self._add(number, job)

    def _tensor(self, *shape, corner):
        limit = 1 << (self.config.operand_width - 1)
        numbers = torch.tensor([self.rng.randrange(-limit, limit) for _ in range(shape[0] * shape[1])])
        return torch.full(shape, corner) if corner is not None else numbers.reshape(shape)

    def _add(self, number, job):
        config = self.config
        query = self._tensor(len(job.lengths), job.dim, corner=job.corner)
        key = self._tensor(max(job.lengths), job.dim, corner=job.corner)
        lows = [int(job.lows[q % len(job.lows)]) for q in range(len(job.lengths))]
        self.keys.append(key.tolist())
        seq, slot = self.seqs[number], self.slots[number]
        self.seqs.append((seq + self._positions(number)) % (1 << config.seq_width))
        self.slots.append(
            slot
            + (self._positions(number) * config.slices(job.dim) // config.key_page_slots + 2) * config.key_page_slots
        )
        for q, length in enumerate(job.lengths):
            word = key if lows[q] else key & ~15
            self.rows.append(integer.scores(query[q : q + 1], word)[0, :length].tolist())
            self.queries.append({
                "tag": {"context": number, "query": q, "group": q % 8, "second": lows[q]},
                "length": length,
                "log_slices": config.log_slices(job.dim),
                "pack": int(job.pack),
                "slot": slot,
                "seq": seq,
                "low": lows[q],
                "elements": query[q].tolist() + [0] * (config.max_dim - job.dim),
            })  # fmt: skip

    def _positions(self, number):
        """Positions of a job, repeated keys included."""
        return len(self.keys[number]) + self.config.scores_per_line(self.jobs[number].dim) - 1

    def lines(self):
        lines = []
        start = 0
        for job in self.jobs:
            rows = self.rows[start : start + len(job.lengths)]
            start += len(rows)
            lines += make_lines(rows, self.config.scores_per_line(job.dim), job.pack, width=self.config.lanes)
        return lines

    def buffer(self, dut, load=0.3):
        """KVBuffer of which the regions are loaded one behind the other, position by position."""
        config, rng = self.config, random.Random(1)
        word = 1 << (config.lane_width * config.operand_width)
        loaded = [self._positions(number) if job.loaded else 0 for number, job in enumerate(self.jobs)]

        def slice_of(slot):
            number = max(n for n in range(len(self.jobs)) if self.slots[n] <= slot)
            job, keys = self.jobs[number], self.keys[number]
            position, part = divmod(slot - self.slots[number], config.slices(job.dim))
            if position >= loaded[number]:
                return rng.randrange(word)
            part = keys[position % len(keys)][part * config.lane_width : (part + 1) * config.lane_width]
            return pack(dut.read.data[0].shape(), part + [0] * (config.lane_width - len(part)))

        async def run(ctx):
            reads = [(0, 0)] * KVBuffer.READ_LATENCY
            while True:
                ctx.set(dut.ready, (self.seqs[0] + sum(loaded)) % (1 << config.seq_width))
                _, _, *read = await ctx.tick().sample(dut.read.en, dut.read.first)
                reads = [*reads[1:], read]
                en, first = reads[0]
                if en:
                    for slot in range(first, first + config.lanes):
                        ctx.set(Value.cast(dut.read.data[slot % config.lanes]), slice_of(slot))
                for number in range(len(self.jobs)):
                    if loaded[number] < self._positions(number):
                        loaded[number] += rng.random() < load
                        break

        return run

    def run(self, stall=0.0, lines=None, **options):
        """Run, and compare rows and tags with the golden model. Returns (lines, cycles, counts of the counters)."""
        dut = made(QKMultiply, self.config)
        counts = dict.fromkeys(("busy", "stall_query", "stall_key", "stall_out", "useful"), 0)

        async def count(ctx):
            while True:
                _, _, *values = await ctx.tick().sample(*(getattr(dut, name) for name in counts))
                assert sum(values[:4]) == 1, "every cycle is busy or has one cause"
                for name, value in zip(counts, values, strict=True):
                    counts[name] += value

        expected = self.lines() if lines is None else lines
        result, last = run_streams(
            dut,
            {"query": self.queries},
            {"line": len(expected), "row": len(self.queries)},
            stall=stall,
            processes=[self.buffer(dut, **options), count],
            settle=30,
        )
        assert split_lines(result["line"], "scores") == self.rows
        assert result["row"] == [{"tag": query["tag"], "length": query["length"]} for query in self.queries]
        assert counts["useful"] == sum(map(len, self.rows))
        return result["line"], last, counts


def fields(lines):
    return [tuple(line[name] for name in ("start", "a_count", "b_count", "a_last")) for line in lines]


@pytest.mark.parametrize("config", CONFIGS.values(), ids=CONFIGS)
@pytest.mark.parametrize("stall", [0, 0.3, 0.6])
def test_unpacked(config, stall):
    """Causal rows, then rows of one length: every dimension, also of fewer keys than a line has lanes."""
    for index in range(0, len(config.dims), 2):
        dims = (config.dims[index:] + config.dims)[:2]
        case = Case(config, [Job(dims[0], [1, 2, 3, 4, 7]), Job(dims[1], [5, 5])], seed=index)
        lines, _, _ = case.run(stall)
        assert fields(lines) == fields(case.lines())


def packing_jobs(config):
    return [Job(dim, [n] * 3, True) for dim in config.dims for n in (5, 7, 9) if config.packs(dim, n)]


@pytest.mark.parametrize("config", [CONFIGS["tiny"], CONFIGS["odd"], EIGHT], ids=["tiny", "odd", "eight"])
def test_packed_at_full_supply(config):
    jobs = packing_jobs(config)
    assert jobs
    for index in range(0, len(jobs), 2):
        case = Case(config, jobs[index : index + 2], seed=index)
        lines, _, _ = case.run()
        assert fields(lines) == fields(case.lines())
        assert any(line["b_count"] for line in lines)


@pytest.mark.parametrize("stall", [0.3, 0.6])
def test_packed_where_the_next_query_has_come(stall):
    """With slow queries, some lines go without a row B. How many lines there are shows in the run."""
    case = Case(EIGHT, [Job(16, [9] * 30, True, loaded=True)])
    dut = made(QKMultiply, EIGHT)
    lines = []

    async def collect(ctx):
        rng = random.Random(2)
        shape = dut.line.payload.shape()
        while True:
            ctx.set(dut.line.ready, rng.random() >= stall)
            _, _, valid, ready, word = await ctx.tick().sample(
                dut.line.valid, dut.line.ready, Value.cast(dut.line.payload)
            )
            if valid and ready:
                lines.append(unpack(shape, word))

    run_streams(
        dut, {"query": case.queries}, {"row": 30}, stall=stall, processes=[case.buffer(dut), collect], settle=100
    )
    assert split_lines(lines, "scores") == case.rows
    assert -(-30 * 9 // 8) <= len(lines) <= 60


def test_late_query_is_not_waited_for():
    """A query that comes alone gives its line at once."""
    case = Case(EIGHT, [Job(16, [9], True, loaded=True)])
    lines, _, _ = case.run()
    assert fields(lines) == [(0, 8, 0, 0), (8, 1, 0, 1)]


def test_no_packing_across_jobs_or_lengths():
    case = Case(EIGHT, [Job(16, [9, 9], True), Job(16, [9, 10, 10], True)])
    expected = make_lines(case.rows[:2], 8, True) + make_lines(case.rows[2:], 8, [False, True, False])
    lines, _, _ = case.run(lines=expected)
    assert fields(lines) == fields(expected)


def test_no_packing_if_only_the_context_differs():
    case = Case(EIGHT, [Job(16, [9, 9, 9, 9], True, loaded=True)])
    for query in case.queries[2:]:
        query["tag"]["context"] = 1
    expected = make_lines(case.rows, 8, [True, False, True, False])
    lines, _, _ = case.run(lines=expected)
    assert fields(lines) == fields(expected)


def test_tags_that_are_not_taken_stop_the_queries():
    case = Case(EIGHT, [Job(16, [3] * 40, loaded=True)])
    dut = made(QKMultiply, EIGHT)
    tags = []

    async def collect(ctx):
        await ctx.tick().repeat(100)
        ctx.set(dut.row.ready, 1)
        while True:
            _, _, valid, word = await ctx.tick().sample(dut.row.valid, Value.cast(dut.row.payload))
            if valid:
                tags.append(unpack(dut.row.payload.shape(), word)["tag"])

    async def check(ctx):
        await ctx.tick().repeat(90)
        assert ctx.get(dut.stall_out)
        assert not ctx.get(dut.query.ready)

    result, last = run_streams(
        dut, {"query": case.queries}, {"line": 40}, stall=0, processes=[case.buffer(dut), collect, check]
    )
    assert last > 100
    assert tags == [query["tag"] for query in case.queries]
    assert split_lines(result["line"], "scores") == case.rows


@pytest.mark.parametrize("config", CONFIGS.values(), ids=CONFIGS)
def test_corners(config):
    limit = 1 << (config.operand_width - 1)
    for corner in (-limit, limit - 1):
        Case(config, [Job(config.dims[-1], [3, 3], corner=corner, loaded=True)]).run()


def test_lines_come_while_keys_load():
    """The first line is there long before the last key."""
    case = Case(EIGHT, [Job(16, [60])])
    dut = made(QKMultiply, EIGHT)
    seen = []

    async def watch(ctx):
        while True:
            _, _, valid, ready = await ctx.tick().sample(dut.line.valid, dut.ready[0])
            if valid and not seen:
                seen.append(ready)

    run_streams(
        dut, {"query": case.queries}, {"line": 8, "row": 1}, stall=0, processes=[case.buffer(dut, load=0.2), watch]
    )
    assert seen[0] < 20


@pytest.mark.parametrize("dim, n, pack", [(16, 25, True), (32, 9, True), (16, 9, True), (16, 3, False), (64, 2, False)])
def test_a_beat_a_cycle(dim, n, pack):
    """Rows back to back: no cycle without a beat, and packed rows leave no lane idle."""
    rows = 24
    case = Case(EIGHT, [Job(dim, [n] * rows, pack, loaded=True)])
    lines, last, counts = case.run()
    beats = len(lines) * EIGHT.beats(dim)
    assert counts["busy"] == beats
    assert last <= beats + QKMultiply(EIGHT).latency + 3
    if pack:
        assert counts["useful"] / (counts["busy"] * EIGHT.scores_per_line(dim)) >= 0.97


@pytest.mark.parametrize("config", [*CONFIGS.values(), EIGHT], ids=[*CONFIGS, "eight"])
def test_latency(config):
    """The only line of a row, from the query, and from the issue of its last beat."""
    dut, cycles = QKMultiply(config), []
    case = Case(config, [Job(config.dims[-1], [1], loaded=True)])

    async def watch(ctx):
        cycle = 0
        while True:
            _, _, busy = await ctx.tick().sample(dut.busy)
            cycles.extend([cycle] * busy)
            cycle += 1

    streams = {"query": case.queries}, {"line": 1, "row": 1}
    _, last = run_streams(dut, *streams, stall=0, processes=[case.buffer(dut), watch])
    assert cycles == [dut.ISSUE_LATENCY + beat for beat in range(config.beats(config.dims[-1]))]
    assert last == cycles[-1] + dut.latency


@pytest.mark.parametrize("config", [CONFIGS["tiny"], EIGHT], ids=["tiny", "eight"])
def test_places_of_lines_that_are_not_taken(config):
    """So many lines are worked out while the consumer does not take any."""
    dut, useful = QKMultiply(config), []
    case = Case(config, [Job(16, [1] * 60, loaded=True)])

    async def watch(ctx):
        for _ in range(150):
            _, _, count = await ctx.tick().sample(dut.useful)
            useful.append(count)
        ctx.set(dut.line.ready, 1)

    run_streams(dut, {"query": case.queries}, {"row": 60}, stall=0, processes=[case.buffer(dut), watch])
    assert sum(useful[:150]) == dut.places - 1


@pytest.mark.parametrize("name", ["two", "one"])
def test_beats_back_to_back(name):
    config = CONFIGS[name]
    dim = config.dims[-1]
    case = Case(config, [Job(dim, [5] * 6, loaded=True)])
    _, last, counts = case.run()
    assert counts["busy"] == 30 * config.beats(dim)
    assert last <= counts["busy"] + QKMultiply(config).latency + 3


def test_row_is_not_later_than_its_first_line():
    case = Case(EIGHT, [Job(16, [3] * 20 + [9, 17, 1], loaded=True)])
    dut = made(QKMultiply, EIGHT)

    async def watch(ctx):
        rows = row = 0
        while True:
            _, _, new_row, valid, last = await ctx.tick().sample(
                dut.row.valid, dut.line.valid & dut.line.ready, dut.line.payload.a_last
            )
            rows += new_row
            assert not valid or rows > row
            row += valid and last

    run_streams(dut, {"query": case.queries}, {"line": 26, "row": 23}, stall=0, processes=[case.buffer(dut), watch])


class Resettable(Elaboratable):
    def __init__(self, dut):
        self.dut, self.reset = dut, Signal()

    def elaborate(self, platform):
        return ResetInserter(self.reset)(self.dut)


@pytest.mark.parametrize("name", ["tiny", "two"])
def test_reset_in_mid_stream(name):
    """What was under way is gone, and the next queries are served as ever."""
    config = CONFIGS[name]
    case = Case(config, [Job(config.dims[-1], [7] * 8, loaded=True), Job(config.dims[0], [9] * 3, loaded=True)])
    dut = made(QKMultiply, config)
    top = Resettable(dut)
    lines = []

    async def drive(ctx):
        shape = dut.query.payload.shape()
        ctx.set(dut.query.valid, 1)
        for query in case.queries[:3]:
            ctx.set(Value.cast(dut.query.payload), pack(shape, query))
            await ctx.tick().until(dut.query.ready)
        await ctx.tick().repeat(7)
        ctx.set(top.reset, 1)
        ctx.set(dut.query.valid, 0)
        await ctx.tick()
        ctx.set(top.reset, 0)
        ctx.set(dut.line.ready, 1)
        ctx.set(dut.row.ready, 1)
        for query in case.queries[8:]:
            ctx.set(Value.cast(dut.query.payload), pack(shape, query))
            ctx.set(dut.query.valid, 1)
            await ctx.tick().until(dut.query.ready)
            ctx.set(dut.query.valid, 0)
        await ctx.tick().repeat(60)

    async def collect(ctx):
        shape = dut.line.payload.shape()
        while True:
            _, _, taken, word = await ctx.tick().sample(dut.line.valid & dut.line.ready, Value.cast(dut.line.payload))
            if taken:
                lines.append(unpack(shape, word))

    sim = Simulation(top)
    sim.add_clock(1e-6)
    sim.add_testbench(drive)
    sim.add_testbench(collect, background=True)
    sim.add_testbench(case.buffer(dut), background=True)
    sim.run()
    assert split_lines(lines, "scores") == case.rows[8:]


@examples(8)
@given(
    jobs=st.lists(
        st.tuples(st.sampled_from((16, 32, 64)), st.integers(1, 12), st.integers(1, 5), st.booleans()),
        min_size=1,
        max_size=2,
    ),
    seed=st.integers(0, 99),
)
def test_any_jobs(jobs, seed):
    config = FLAT
    case = Case(config, [Job(d, [n] * q, pack and config.packs(d, n)) for d, n, q, pack in jobs], seed)
    lines, _, _ = case.run()
    assert fields(lines) == fields(case.lines())


def test_paper_preset():
    case = Case(PRESETS["paper"], [Job(64, [9, 9], True, loaded=True), Job(128, [4], loaded=True)])
    lines, _, _ = case.run()
    assert fields(lines) == fields(case.lines())
