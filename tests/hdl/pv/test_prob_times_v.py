import dataclasses
import random

import pytest
import torch
from amaranth.hdl import ResetInserter, Signal, Value
from hypothesis import given
from hypothesis import strategies as st

from golden.datapath import integer
from hdl.fetch.kv_buffer import KVBuffer
from hdl.pv.prob_times_v import ProbTimesV
from hdl.spec.config import PRESETS, Config
from sim.common.packing import pack
from tests.bench.examples import examples
from tests.bench.harness import Simulation, made, run_streams
from tests.bench.lines import make_lines

LANES8 = Config(
    num_multipliers=128, lanes=8, operand_width=8, max_tokens=64, dims=(16, 32, 48, 80, 96, 128), norm_lanes=32,
    buffer_dim=128, line_queue=72,
)  # fmt: skip
LANES4 = Config(
    num_multipliers=32, lanes=4, operand_width=10, max_tokens=40, dims=(16, 48, 64), max_dim=64, norm_lanes=16,
    buffer_dim=96, key_pages=24, value_pages=24, line_queue=132, topk_parallelism=4,
)  # fmt: skip
LANE1 = Config(
    num_multipliers=16, lanes=1, operand_width=8, max_tokens=16, dims=(16, 48), max_dim=64, norm_lanes=8,
    buffer_dim=64, line_queue=80, topk_parallelism=4,
)  # fmt: skip
APART = dataclasses.replace(PRESETS["tiny"], packing=False)
CONFIGS = {"tiny": PRESETS["tiny"], "not packed": APART, "lanes 8": LANES8, "lanes 4": LANES4, "lane 1": LANE1}
GARBAGE = (1 << 17) - 1


@dataclasses.dataclass
class Job:
    """Rows that share one load of V. ``exps``: weights of each row, 0 where pruned; ``sums``: exp sum of each row."""

    dim: int
    value: torch.Tensor
    exps: list[list[int]]
    sums: list[int]
    drops: list[bool]
    packed: bool


def make_job(config, rng, dim, lengths, *, pack=True, extreme=False, drop=0.15):
    """A job whose rows have the given lengths; they share lines if all lengths are equal and the config packs them."""
    n, limit = max(lengths), 1 << config.operand_width - 1
    exps, sums = [], []
    for length in lengths:
        row = [1 << 16] + [rng.choice([0, 1 << 16, rng.randint(0, 1 << 16)]) for _ in range(length - 1)]
        row = [1 << 16] * length if extreme else row
        rng.shuffle(row)
        exps.append([0 if rng.random() < 0.3 and not extreme else exp for exp in row])
        sums.append(sum(row))
    value = [[-limit if extreme else rng.randrange(-limit, limit) for _ in range(dim)] for _ in range(n)]
    drops = [rng.random() < drop for _ in lengths]
    packed = pack and config.packs(dim, n) and len(set(lengths)) == 1
    return Job(dim, torch.tensor(value), exps, sums, drops, packed)


def value_lines(config, jobs):
    lines = []
    for job in jobs:
        rows = make_lines(job.exps, config.scores_per_line(job.dim), job.packed, width=config.lanes, fill=GARBAGE)
        lines += [{"exps": line.pop("lanes"), **line} for line in rows]
    return lines


def first_seq(config):
    """Sequence numbers wrap soon."""
    return (1 << config.seq_width) - 20


def positions(config, job):
    """V rows of a job, repeated ones included."""
    return len(job.value) + (config.scores_per_line(job.dim) - 1 if job.packed else 0)


def value_rows(config, jobs):
    rows, seq = [], first_seq(config)
    for number, job in enumerate(jobs):
        recip, pe = integer.reciprocal(torch.tensor(job.sums))
        for query in range(len(job.exps)):
            rows.append(
                {
                    "tag": {"context": number % 4, "query": query, "group": query % 8, "second": query & 1},
                    "recip": int(recip[query]),
                    "pe": int(pe[query]),
                    "drop": int(job.drops[query]),
                    "slot": number % 2 * config.value_slots // 2,
                    "seq": seq % (1 << config.seq_width),
                    "log_slices": config.log_slices(job.dim),
                    "dim": job.dim,
                }
            )
        seq += positions(config, job)
    return rows


def golden_beats(config, jobs):
    """(tag, values, abs_sum or None) of every output beat."""
    beats, rows, lanes = [], iter(value_rows(config, jobs)), config.norm_lanes
    for job in jobs:
        for exps, drop in zip(job.exps, job.drops, strict=True):
            row = next(rows)
            if drop:
                continue
            exp = torch.tensor([exps])
            acc = integer.accumulate(exp, exp > 0, job.value[: len(exps)])
            out = integer.normalize(acc, torch.tensor([row["recip"]]), torch.tensor([row["pe"]]), config.operand_width)
            values, total = out[0].tolist(), int(integer.abs_sum(out))
            values += [0] * (-len(values) % lanes)
            for i in range(0, len(values), lanes):
                beats.append((row["tag"], values[i : i + lanes], total if i + lanes == len(values) else None))
    return beats


class ValueBuffer:
    """V buffer and its loader: rows of job j go to half j % 2 of the buffer after the last ``done`` of job j - 2."""

    def __init__(self, config, dut, jobs, *, rate, seed=0):
        self.config, self.dut, self.rate = config, dut, rate
        self.rng = random.Random(seed)
        self.slot_bits = config.operand_width * config.lane_width
        self.restart(jobs)
        self.done_tags, self.reads = [], []

    def restart(self, jobs):
        self.loads = [self._slots_of(job) for job in jobs]
        self.rows_left = [len(job.exps) for job in jobs]
        self.slots = {}
        self.job, self.filled, self.finished = 0, 0, 0  # job that is loaded, positions of it, jobs that are done
        self.loaded = first_seq(self.config)

    def _slots_of(self, job):
        """Slots of positions 0…n-1 and of the repeated keys, as position -> list of slot words."""
        per_line, slices = self.config.scores_per_line(job.dim), self.config.slices(job.dim)
        rows = job.value.tolist()
        rows += rows[: per_line - 1] if job.packed else []
        positions = []
        for row in rows:
            row = row + [0] * (slices * self.config.lane_width - len(row))
            words = [row[i : i + self.config.lane_width] for i in range(0, len(row), self.config.lane_width)]
            mask = (1 << self.config.operand_width) - 1
            positions.append(
                [sum((x & mask) << (i * self.config.operand_width) for i, x in enumerate(w)) for w in words]
            )
        return positions

    def _load(self):
        """Load some positions; the new ready number."""
        half = self.config.value_slots // 2
        while self.job < min(len(self.loads), self.finished + 2) and self.rng.random() < self.rate:
            words = self.loads[self.job][self.filled]
            for i, word in enumerate(words):
                self.slots[self.job % 2 * half + self.filled * len(words) + i] = word
            self.filled += 1
            self.loaded += 1
            if self.filled == len(self.loads[self.job]):
                self.job, self.filled = self.job + 1, 0
        return self.loaded % (1 << self.config.seq_width)

    def _window(self, first):
        lanes, word = self.config.lanes, 0
        for b in range(lanes):
            slot = self.slots.get(first + (b - first) % lanes)
            word |= (self.rng.getrandbits(self.slot_bits) if slot is None else slot) << (b * self.slot_bits)
        return word

    async def serve(self, ctx):
        dut, cycle = self.dut, 0
        read, tag = dut.read, Value.cast(dut.done_tag)
        reads = [(0, 0)] * KVBuffer.READ_LATENCY
        while True:
            ctx.set(dut.ready, self._load())
            _, _, en, first, done, done_tag = await ctx.tick().sample(read.en, read.first, dut.done, tag)
            cycle += 1
            if en:
                self.reads.append(cycle)
            reads = [*reads[1:], (en, first)]
            if reads[0][0]:
                ctx.set(Value.cast(read.data), self._window(reads[0][1]))
            if done:
                self.done_tags.append(done_tag)
                self.rows_left[self.finished] -= 1
                while self.finished < len(self.rows_left) and not self.rows_left[self.finished]:
                    self.finished += 1


def check(config, jobs, *, stall, rate=1.0, seed=0, lines=None):
    dut = made(ProbTimesV, config)
    rows, expected = value_rows(config, jobs), golden_beats(config, jobs)
    buffer = ValueBuffer(config, dut, jobs, rate=rate, seed=seed)
    results, last = run_streams(
        dut,
        {"line": lines or value_lines(config, jobs), "row": rows},
        {"o": len(expected)},
        stall=stall,
        seed=seed,
        processes=[buffer.serve],
        settle=30,
    )
    beats = [(beat["tag"], beat["values"], beat["abs_sum"] if beat["last"] else None) for beat in results["o"]]
    assert beats == expected
    assert buffer.done_tags == [pack(dut.done_tag.shape(), row["tag"]) for row in rows]
    return buffer, last


@pytest.mark.parametrize("name", CONFIGS)
@pytest.mark.parametrize("stall", [0, 0.3, 0.6])
def test_equals_golden(name, stall):
    """Every served dimension; rows that share lines, rows that do not, rows of one key, dropped rows."""
    config, rng = CONFIGS[name], random.Random(f"{name} {stall}")
    jobs = []
    for dim in config.dims:
        per_line = config.scores_per_line(dim)
        n = min(config.max_tokens, config.buffer_slots // config.slices(dim) - per_line, per_line + rng.randint(1, 9))
        jobs.append(make_job(config, rng, dim, [n] * 6))
    jobs.append(make_job(config, rng, rng.choice(config.dims), [rng.randint(1, 5) for _ in range(6)] + [1, 1]))
    check(config, jobs, stall=stall, rate=rng.choice([0.2, 0.7, 1.0]))


@pytest.mark.parametrize("name", ["tiny", "lanes 4"])
def test_largest_accumulators(name):
    """Every weight 1.0, every V the most negative number, the longest row: no bit is lost."""
    config = CONFIGS[name]
    dim = config.dims[0]
    check(config, [make_job(config, random.Random(0), dim, [config.max_tokens] * 2, extreme=True, drop=0)], stall=0)


def test_lines_need_not_be_full():
    """Lanes beyond the counts count as 0, also behind row B and in the middle of a row."""
    config, dim, n = LANES8, 16, 10
    job = make_job(config, random.Random(3), dim, [n, n], drop=0)
    a, b = job.exps
    shares = [(0, a[:3], [], 0), (3, a[3:9], [], 0), (9, a[9:], b[:2], 1), (2, b[2:9], [], 0), (9, b[9:], [], 1)]
    lines = [
        {
            "start": start,
            "a_count": len(of_a),
            "b_count": len(of_b),
            "a_last": last,
            "exps": (of_a + of_b + [GARBAGE] * config.lanes)[: config.lanes],
        }
        for start, of_a, of_b, last in shares
    ]
    check(config, [job], stall=0, lines=lines)


@pytest.mark.parametrize(
    "config, dim, n",
    [(LANES8, 16, 25), (LANES8, 96, 5), (LANES4, 16, 9), (LANES4, 64, 4), (PRESETS["tiny"], 64, 8)],
    ids=lambda value: value if isinstance(value, int) else value.lanes,
)
def test_every_cycle_is_a_beat(config, dim, n):
    count = 25 if config is LANES8 else 12
    job = make_job(config, random.Random(0), dim, [n] * count, drop=0)
    buffer, _ = check(config, [job], stall=0)
    beats = -(-n * count // config.scores_per_line(dim)) * config.beats(dim) if job.packed else len(buffer.reads)
    assert len(buffer.reads) == beats, "rows share lines"
    # The first lines come when the first V rows do.
    assert beats >= 0.97 * (buffer.reads[-1] - buffer.reads[0] + 1)


def test_short_rows_run_at_the_rate_of_the_normalizer():
    config, dim, count = LANES4, 64, 12
    job = make_job(config, random.Random(0), dim, [1] * count, drop=0)
    buffer, _ = check(config, [job], stall=0)
    first_end = buffer.reads[config.beats(dim) - 1]
    assert buffer.reads[-1] - first_end <= (count - 1) * dim // config.norm_lanes


def test_latency():
    config = PRESETS["tiny"]
    buffer, last = check(config, [make_job(config, random.Random(0), 16, [1], drop=0)], stall=0)
    assert buffer.reads[0] - 1 == ProbTimesV.ISSUE_LATENCY
    assert last - (buffer.reads[0] - 1) == ProbTimesV(config).latency + 16 // config.norm_lanes - 1


@examples(3)
@given(
    st.lists(
        st.tuples(st.sampled_from(LANES4.dims), st.lists(st.integers(1, 14), min_size=1, max_size=5)),
        min_size=1,
        max_size=2,
    ),
    st.sampled_from([0, 0.4]),
    st.integers(0, 1 << 30),
)
def test_any_rows(cases, stall, seed):
    rng = random.Random(seed)
    jobs = [make_job(LANES4, rng, dim, lengths) for dim, lengths in cases]
    check(LANES4, jobs, stall=stall, rate=0.5, seed=seed)


def test_reset_forgets_a_half_done_row_and_busy_falls():
    config = PRESETS["tiny"]
    dut, reset = ProbTimesV(config), Signal()
    before, after = (make_job(config, random.Random(i), 32, [7], drop=0) for i in range(2))
    sim = Simulation(ResetInserter(reset)(dut))
    sim.add_clock(1e-6)
    beats = []

    async def send(ctx, port, item):
        ctx.set(Value.cast(port.payload), pack(port.payload.shape(), item))
        ctx.set(port.valid, 1)
        await ctx.tick().until(port.ready)
        ctx.set(port.valid, 0)

    async def bench(ctx):
        ctx.set(dut.o.ready, 1)
        for job, count in ((before, 3), (after, 7)):
            buffer.restart([job])
            await send(ctx, dut.row, value_rows(config, [job])[0])
            for line in value_lines(config, [job])[:count]:
                await send(ctx, dut.line, line)
            for _ in range(40):
                valid, values = ctx.get(dut.o.valid), ctx.get(Value.cast(dut.o.payload.values))
                if valid:
                    beats.append(values)
                await ctx.tick()
            assert ctx.get(dut.busy) == (job is before)
            if job is before:
                ctx.set(reset, 1)
                await ctx.tick()
                ctx.set(reset, 0)
                assert ctx.get(dut.busy) == 0

    buffer = ValueBuffer(config, dut, [before], rate=1.0)
    sim.add_testbench(bench)
    sim.add_testbench(buffer.serve, background=True)
    sim.run()
    shape = dut.o.payload.shape()["values"].shape
    assert beats == [pack(shape, values) for _, values, _ in golden_beats(config, [after])]


def test_stalls_are_told_apart():
    """Each cycle counts a beat or one kind of stall."""
    config = PRESETS["tiny"]
    dut = made(ProbTimesV, config)
    jobs = [make_job(config, random.Random(0), 64, [9] + [1] * 9, drop=0)]
    buffer, counts, cycles = ValueBuffer(config, dut, jobs, rate=0.3), [0, 0, 0], 0

    async def watch(ctx):
        nonlocal cycles
        ports = (dut.stall_line, dut.stall_value, dut.stall_out)
        await ctx.tick()
        while True:
            flags = (await ctx.tick().sample(*ports))[2:]
            assert sum(flags) <= 1
            counts[:] = [count + flag for count, flag in zip(counts, flags, strict=True)]
            cycles += 1

    inputs = {"line": value_lines(config, jobs), "row": value_rows(config, jobs)}
    run_streams(dut, inputs, {"o": 160}, stall=0.1, processes=[buffer.serve, watch])
    assert all(counts)
    assert abs(cycles - sum(counts) - len(buffer.reads)) <= 1
