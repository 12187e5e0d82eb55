"""ValuePruner against the integer golden model: rows of every kind, with random stalls on all its ports."""

import dataclasses
import random

import pytest
import torch
from amaranth.hdl import Module, ResetInserter, Signal, Value
from amaranth.lib import wiring

from golden.datapath import integer
from hdl.pruning.value_pruner import ValuePruner
from hdl.spec.config import PRESETS, Config
from sim.common.packing import pack as pack_bits
from tests.bench.harness import made, run_streams
from tests.bench.lines import make_lines

EIGHT = Config(
    num_multipliers=128,
    lanes=8,
    max_dim=64,
    dims=(16, 48),
    max_tokens=45,
    buffer_dim=128,
    num_channels=1,
    topk_parallelism=8,
    num_topk_engines=2,
    outstanding=3,
    line_queue=50,
)
ODD = dataclasses.replace(EIGHT, num_multipliers=64, lanes=4, max_tokens=21, topk_parallelism=4, num_topk_engines=3)
ONE = dataclasses.replace(
    EIGHT, num_multipliers=16, lanes=1, norm_lanes=16, max_tokens=9, topk_parallelism=4, line_queue=99
)
LEAN = dataclasses.replace(EIGHT, num_topk_engines=1)
TINY = PRESETS["tiny"]
LATENCY_ALL = 18  # cycles from the last line in to the last item out, the longest way


@dataclasses.dataclass
class Row:
    scores: list[int]
    exps: list[int]
    recip: int
    pe: int
    flat: int
    prune: int
    k: int
    gather: int
    log_slices: int
    tag: dict
    dim: int = 16

    @property
    def keep(self) -> list[bool]:
        scores = torch.tensor(self.scores)
        k = self.k if self.prune else len(self.scores)
        return integer.keep_mask(scores, torch.ones_like(scores, dtype=torch.bool), k).tolist()

    @property
    def probs(self) -> list[int]:
        exps = torch.tensor(self.exps)
        return integer.probs(exps, torch.tensor(self.recip), torch.tensor(self.pe)).tolist()


def make_job(config, rng, *, rows, length=None, pack=None, gather=None, prune=None, flat=None, log_slices=None):
    """Rows of one job (equal head dimension; packed ones have equal lengths); None: chosen by chance."""
    gather = rng.random() < 0.3 if gather is None else gather
    pack = rng.random() < 0.5 if pack is None else pack
    most = config.log_slices(config.max_dim)
    log_slices = rng.randint(0, most) if log_slices is None else log_slices
    per_line = max(1, config.lanes >> log_slices)
    same = rng.randint(per_line, config.max_tokens) if length is None else length
    top = 1 << (config.score_width - 1)
    job = []
    for query in range(rows):
        n = same if pack or length is not None else rng.randint(1, min(config.max_tokens, rng.choice([3, 10, 99])))
        near = rng.choice([0, 3, 500, top - 1])
        middle = rng.choice([0, -3, near + 1 - top, top - 1 - near])
        pruned = n > 1 and (rng.random() < 0.6 if prune is None else prune)
        middle = max(near - top, min(top - 1 - near, middle))
        job.append(
            Row(
                scores=[middle + rng.randint(-near, near) for _ in range(n)],
                exps=[rng.choice([0, 1, 65536, rng.randint(0, 65536)]) for _ in range(n)],
                recip=rng.choice([65536, 32768, rng.randint(32768, 65536)]),
                pe=rng.randint(0, 15),
                flat=int(rng.random() < 0.25 if flat is None else flat),
                prune=int(pruned),
                k=rng.choice([1, n - 1, rng.randint(1, n - 1)]) if pruned else rng.randint(0, config.max_tokens),
                gather=int(gather),
                log_slices=log_slices,
                tag={
                    "context": rng.randint(0, 3),
                    "query": query % config.max_tokens,
                    "group": query % 8,
                    "second": rng.randint(0, 1),
                },
                dim=rng.choice([16, 64]),
            )
        )
    return job, pack and not gather


def line_fields(line, **fields):
    return {**{name: line[name] for name in ("start", "a_count", "b_count", "a_last")}, **fields}


def job_streams(config, rng, job, pack, streams, expected):
    """Append a job's items to the input ``streams`` and what must come of them to ``expected``."""
    top = 1 << (config.score_width - 1)
    per_line = max(1, config.lanes >> job[0].log_slices)
    padding = [0] * config.lanes

    def fill(items, value=0):
        return (list(items) + [value] * config.lanes)[: config.lanes]

    for row in job:
        facts = {"log_slices": row.log_slices, "dim": row.dim}
        rule = {"tag": row.tag, "prune": row.prune, "k": row.k, "gather": row.gather, **facts}
        sums = {"tag": row.tag, "recip": row.recip, "pe": row.pe}
        streams["score_row"].append(rule)
        streams["row"].append({**sums, "exp_sum": rng.randint(0, 1 << 16), "flat": row.flat})
        expected["decided"].append((row.tag, row.flat))
        expected["topk_rows"] += row.prune
        if not (row.gather and row.flat):
            expected["value_row"].append({**sums, "drop": row.flat, **facts})
        if row.gather and not row.flat:
            expected["gather_row"].append(row.tag)
            kept = [exp for exp, keep in zip(row.exps, row.keep, strict=True) if keep]
            for line in make_lines([kept], per_line):
                expected["value_line"].append(line_fields(line, exps=fill(line["lanes"])))

    keeps, probs = [row.keep for row in job], [row.probs for row in job]
    lanes = [[(index, place) for place in range(len(row.scores))] for index, row in enumerate(job)]
    for line in make_lines(lanes, per_line, pack):
        places = line["lanes"][: line["a_count"] + line["b_count"]]
        row = job[places[0][0]]
        last = job[places[-1][0]]
        noise = [rng.randint(-top, top - 1) for _ in padding]
        scores = [job[i].scores[place] for i, place in places] + noise[len(places) :]
        exps = [job[i].exps[place] for i, place in places]
        keep = [keeps[i][place] and not job[i].flat for i, place in places]
        streams["score"].append(line_fields(line, scores=scores))
        streams["line"].append(line_fields(line, scores=scores, exps=fill(exps)))
        facts = {"a_drop": row.flat, "a_tag": row.tag, "b_drop": last.flat, "b_tag": last.tag}
        expected["prob"].append(line_fields(line, **facts, probs=fill(probs[i][place] for i, place in places)))
        if not row.gather:
            weights = [exp * kept for exp, kept in zip(exps, keep, strict=True)]
            expected["value_line"].append(line_fields(line, exps=fill(weights)))
        elif not row.flat:
            mask = sum(kept << lane for lane, kept in enumerate(keep))
            expected["gather"].append({"start": line["start"], "keep": mask, "last": line["a_last"]})


def make_streams(config, rng, jobs):
    streams = {"score": [], "score_row": [], "line": [], "row": []}
    expected = {"value_line": [], "value_row": [], "gather_row": [], "gather": [], "prob": []}
    expected |= {"decided": [], "topk_rows": 0}
    for job, packed in jobs:
        job_streams(config, rng, job, packed, streams, expected)
    return streams, expected


OUTPUTS = ("value_line", "value_row", "gather_row", "gather", "prob")


def run(config, jobs, *, stall=0.0, seed=0, softmax=None, dut=None):
    """Compare everything that comes out with the golden model; returns the cycle of the last item and the pulses.

    softmax: makes of the DUT and the streams the processes that drive score, line and row, instead of the harness.
    """
    streams, expected = make_streams(config, random.Random(seed), jobs)
    dut = made(ValuePruner, config) if dut is None else dut
    pulses = {"decided": [], "topk_rows": 0, "stall_topk": 0, "topk_busy": 0}

    async def watch(ctx):
        while True:
            _, _, decided, tag, flat, found, stalled, busy = await ctx.tick().sample(
                dut.decided, dut.decided_tag, dut.decided_flat, dut.topk_rows, dut.stall_topk, dut.topk_busy
            )
            if decided:
                pulses["decided"].append(({name: tag[name] for name in ("context", "query", "group", "second")}, flat))
            pulses["topk_rows"] += found
            pulses["stall_topk"] += stalled
            pulses["topk_busy"] = max(pulses["topk_busy"], busy)

    processes = [watch, *(softmax(dut, streams) if softmax else ())]
    inputs = {"score_row": streams["score_row"]} if softmax else streams
    outputs = {name: len(expected[name]) for name in OUTPUTS}
    results, last = run_streams(dut, inputs, outputs, stall=stall, seed=seed, processes=processes)
    for line in (*expected["prob"], *results["prob"]):
        if not line["b_count"]:
            line["b_drop"] = line["b_tag"] = None
    for name in outputs:
        assert results[name] == expected[name], name
    assert pulses["decided"] == expected["decided"]
    assert pulses["topk_rows"] == expected["topk_rows"]
    return last, pulses


def sender(stream, items, allowed, sent, chance=1.0):
    """Process that gives item n once ``allowed(n)``, and counts those taken in the list ``sent``."""
    rng = random.Random(len(items))

    async def process(ctx):
        for number, item in enumerate(items):
            while not allowed(number) or rng.random() > chance:
                await ctx.tick()
            ctx.set(Value.cast(stream.payload), pack_bits(stream.payload.shape(), item))
            ctx.set(stream.valid, 1)
            await ctx.tick().until(stream.ready)
            ctx.set(stream.valid, 0)
            sent.append(number)

    return process


def softmax_model(lines_inside, chance=1.0):
    """Gives score lines to the DUT, and exp lines and row sums no sooner than a softmax block can.

    A line passes when all scores of its rows are in, a sum follows its row's last line, and at most ``lines_inside``
    lines are between score and line. That is the order of events in the machine: nothing may lock up.
    """

    def make(dut, streams):
        ends = [number for number, line in enumerate(streams["score"]) if line["a_last"]]  # last line of each row
        first_row, row = [], 0
        for line in streams["score"]:
            first_row.append(row)
            row += line["a_last"]
        scores, lines, sums = [], [], []

        def complete(number):
            last_row = first_row[number] + (streams["line"][number]["b_count"] > 0)
            return len(scores) > ends[last_row]

        return [
            sender(dut.score, streams["score"], lambda n: n - len(lines) < lines_inside, scores, chance),
            sender(dut.line, streams["line"], complete, lines, chance),
            sender(dut.row, streams["row"], lambda n: len(lines) > ends[n], sums, chance),
        ]

    return make


def late_softmax(cycles):
    """Exp lines and sums start after ``cycles``: the thresholds are there before them."""

    def make(dut, streams):
        age = []

        async def clock(ctx):
            while True:
                await ctx.tick()
                age.append(0)

        late = lambda _: len(age) >= cycles  # noqa: E731
        return [
            clock,
            sender(dut.score, streams["score"], lambda _: True, []),
            sender(dut.line, streams["line"], late, []),
            sender(dut.row, streams["row"], late, []),
        ]

    return make


CONFIGS = {"eight": EIGHT, "odd": ODD, "one": ONE, "tiny": TINY}


@pytest.mark.parametrize(
    "name, stall",
    [
        ("eight", 0),
        ("eight", 0.6),
        ("odd", 0.3),
        ("one", 0.3),
        ("tiny", 0),
        ("tiny", 0.3),
        ("tiny", 0.6),
    ],
)
def test_equals_golden(name, stall):
    config = CONFIGS[name]
    rng = random.Random(f"{name} {stall}")
    jobs = [make_job(config, rng, rows=rng.randint(1, 5)) for _ in range(4)]
    run(config, jobs, stall=stall)


@pytest.mark.parametrize("name, kind", [("eight", "short"), ("odd", "mixed"), ("tiny", "one key"), ("tiny", "long")])
def test_does_not_lock_up_behind_softmax(name, kind):
    config, rng = CONFIGS[name], random.Random(kind)
    if kind == "mixed":
        jobs = [make_job(config, rng, rows=4, pack=True) for _ in range(3)]
    else:
        length = {"long": config.max_tokens - 1, "short": config.lanes + 1, "one key": 1}[kind]
        rows = {"long": 3, "short": 12, "one key": 70}[kind]
        jobs = [make_job(config, rng, rows=rows, length=length, pack=length > 1, gather=False, log_slices=0)]
    run(config, jobs, softmax=softmax_model(config.buffer_depth + 4, 1.0 if kind == "short" else 0.7))


@pytest.mark.parametrize(
    "config, length, gather",
    [(LEAN, 1, False), (LEAN, 1, True), (LEAN, 20, False), (TINY, 20, True)],
)
def test_one_line_a_cycle(config, length, gather):
    rng = random.Random(1)
    rows = 50 if length == 1 else 10
    job = make_job(
        config, rng, rows=rows, length=length, pack=length > 1, gather=gather, prune=False, flat=False, log_slices=0
    )
    streams, _ = make_streams(config, rng, [job])
    last, _ = run(config, [job])
    assert last <= len(streams["line"]) + LATENCY_ALL


def test_one_line_a_cycle_with_thresholds():
    config, rng = LEAN, random.Random(2)
    job = make_job(config, rng, rows=6, length=21, pack=True, gather=False, prune=True, flat=False, log_slices=0)
    streams, _ = make_streams(config, rng, [job])
    late = 300
    last, pulses = run(config, [job], softmax=late_softmax(late))
    assert last <= late + len(streams["line"]) + LATENCY_ALL
    assert pulses["stall_topk"] == 0
    assert pulses["topk_busy"] == config.num_topk_engines


def test_waits_for_threshold():
    job = make_job(TINY, random.Random(3), rows=1, length=40, pack=False, prune=True, flat=False, log_slices=0)
    _, pulses = run(TINY, [job])
    assert pulses["stall_topk"] > 0


@pytest.mark.parametrize("config", [TINY, LEAN], ids=["tiny", "eight"])
@pytest.mark.parametrize("prune", [False, True])
def test_latency_of_a_line_that_waits(config, prune):
    """For its row's sum, or for the threshold: the same cycles, as both go the same way."""
    rng, dut, steps = random.Random(3), ValuePruner(config), []
    facts = {"pack": False, "gather": False, "prune": prune, "flat": False, "log_slices": 0}
    job = make_job(config, rng, rows=1, length=2, **facts)
    streams, expected = make_streams(config, rng, [job])

    async def watch(ctx):
        cycle = 0
        while True:
            _, _, decided, found = await ctx.tick().sample(dut.decided, dut.topk_rows)
            if found if prune else decided:
                steps.append(cycle - 1)
            cycle += 1

    async def late(ctx):
        for _ in range(0 if prune else 60):
            await ctx.tick()
        ctx.set(Value.cast(dut.row.payload), pack_bits(dut.row.payload.shape(), streams["row"][0]))
        ctx.set(dut.row.valid, 1)
        await ctx.tick().until(dut.row.ready)
        ctx.set(dut.row.valid, 0)

    inputs = {name: streams[name] for name in ("score", "score_row", "line")}
    lines = len(expected["value_line"])
    results, last = run_streams(dut, inputs, {"value_line": lines}, stall=0, processes=[watch, late])
    assert results["value_line"] == expected["value_line"]
    assert last - (lines - 1) == steps[0] + dut.SUM_LATENCY


def test_ties_and_extremes():
    """Equal scores only; ties across the boundary line; the most negative and most positive scores."""
    rng = random.Random(4)
    top = 1 << (EIGHT.score_width - 1)
    job, packed = make_job(LEAN, rng, rows=6, length=19, pack=True, gather=False, prune=True, log_slices=0)
    for index, row in enumerate(job):
        palette = [[5], [-top], [top - 1], [-top, top - 1], [-1, 0], [0, 0, 0, 1]][index % 6]
        row.scores = [rng.choice(palette) for _ in row.scores]
        row.k = [1, 18, 9, 3, 16, 5][index % 6]
    run(LEAN, [(job, packed)])


class Restarted(wiring.Component):
    """Feeds the DUT arbitrary lines for some cycles, resets it, and is transparent from then on."""

    def __init__(self, dut, cycles):
        self.dut = dut
        self.cycles = cycles
        super().__init__(dut.signature)

    def elaborate(self, platform):
        m = Module()
        reset, age = Signal(), Signal(range(self.cycles + 2))
        m.submodules.dut = ResetInserter(reset)(self.dut)
        m.d.comb += reset.eq(age == self.cycles)
        with m.If(age <= self.cycles):
            m.d.sync += age.eq(age + 1)
            for name in ("score", "score_row", "line", "row"):
                port = getattr(self.dut, name)
                m.d.comb += [port.valid.eq(1), Value.cast(port.payload).eq(-1)]
                if name in ("score", "line"):
                    m.d.comb += [port.payload.a_count.eq(1), port.payload.b_count.eq(0), port.payload.a_last.eq(age[2])]
            m.d.comb += [self.dut.score_row.payload.prune.eq(age[3]), self.dut.row.payload.flat.eq(age[1])]
            m.d.comb += [getattr(self.dut, name).ready.eq(age[0]) for name in OUTPUTS]
        with m.Else():
            for name, member in self.dut.signature.members.items():
                if member.is_signature:
                    outer, inner = getattr(self, name), getattr(self.dut, name)
                    source, sink = (inner, outer) if name in OUTPUTS else (outer, inner)
                    m.d.comb += [sink.valid.eq(source.valid), source.ready.eq(sink.ready)]
                    m.d.comb += Value.cast(sink.payload).eq(Value.cast(source.payload))
                else:
                    m.d.comb += Value.cast(getattr(self, name)).eq(Value.cast(getattr(self.dut, name)))
        return m


@pytest.mark.parametrize("cycles", [38])
def test_reset_in_mid_stream(cycles):
    rng = random.Random(cycles)
    jobs = [make_job(TINY, rng, rows=3) for _ in range(3)]
    run(TINY, jobs, dut=Restarted(ValuePruner(TINY), cycles))
