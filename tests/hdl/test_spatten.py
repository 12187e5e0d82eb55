"""The whole accelerator against golden: random jobs of every kind, refusals, stalls, out-of-step channels."""

import dataclasses
import random

import pytest
import torch

from golden.layers.job import run_job
from hdl.spec import payloads
from hdl.spec.config import PRESETS, Config
from sim.engine.registry import make_engine
from sim.engine.timing import MemoryTiming
from tests.bench.jobs import random_job

TINY = PRESETS["tiny"]
# Small to compile, with what ``tiny`` has not: four lanes narrower than 16, four channels, two top-k engines.
FOUR = Config(
    name="four",
    num_multipliers=32,
    lanes=4,
    max_dim=32,
    dims=(16, 32),
    max_tokens=128,
    buffer_dim=32,
    key_rows=256,
    value_rows=256,
    num_channels=4,
    channel_width=64,
    address_width=20,
    topk_parallelism=4,
    num_topk_engines=2,
    norm_lanes=8,
    outstanding=16,
    slice_queue=4,
    line_queue=129,
)
# Eight lanes as the paper's machine, with few multipliers: packed lines, several channels, several top-k engines.
WIDE = Config(
    name="wide",
    num_multipliers=128,
    lanes=8,
    max_dim=64,
    dims=(16, 32, 48, 64),
    max_tokens=256,
    buffer_dim=32,
    num_channels=4,
    channel_width=128,
    address_width=20,
    topk_parallelism=8,
    num_topk_engines=2,
    norm_lanes=16,
    line_queue=65,
)
CONFIGS = [
    pytest.param(TINY, id="tiny"),
    pytest.param(FOUR, id="four"),
    pytest.param(WIDE, id="wide", marks=pytest.mark.long),  # minutes to compile
]
STALLS = MemoryTiming(latency=7, stall=0.3, skew=9, host_stall=0.3)


def engine_or_skip(name, config, **options):
    if name == "verilator":
        from sim.engine.verilator import available

        if not available():
            pytest.skip("no C++ compiler, make or perl for Verilator")
    return make_engine(name, config, **options)


def assert_equal(jobs, results, config):
    for index, (job, got) in enumerate(zip(jobs, results, strict=True)):
        want = run_job(job, config)
        for field in ("flat", "probs", "out", "abs_sum"):
            assert torch.equal(getattr(got, field), getattr(want, field)), f"job {index}: {field}, {job}"


@pytest.mark.parametrize("timing", [MemoryTiming(), STALLS], ids=["ideal", "stalls"])
def test_random_jobs_pysim(timing):
    rng = random.Random(1)
    jobs = [random_job(TINY, rng, max_keys=16, queries=3) for _ in range(6)]
    with engine_or_skip("pysim", TINY, timing=timing) as engine:
        assert_equal(jobs, engine.run(jobs).results, TINY)


@pytest.mark.parametrize("timing", [MemoryTiming(), STALLS], ids=["ideal", "stalls"])
@pytest.mark.parametrize("config", CONFIGS)
def test_random_jobs_verilator(config, timing):
    rng = random.Random(2)
    jobs = [random_job(config, rng) for _ in range(150)]
    with engine_or_skip("verilator", config, timing=timing) as engine:
        assert_equal(jobs, engine.run(jobs).results, config)


@pytest.mark.parametrize("kind", ["summarization", "causal", "generation"])
def test_kinds_back_to_back(kind):
    """Runs of one kind keep the pipeline full, where a mixture may hide a hazard."""
    rng = random.Random(3)
    jobs = [random_job(FOUR, rng, kind=kind, dim=32, threshold=0.3, split=(6, 4)) for _ in range(60)]
    with engine_or_skip("verilator", FOUR) as engine:
        run = engine.run(jobs)
    assert_equal(jobs, run.results, FOUR)
    assert run.counters["jobs"] == 60
    assert run.counters["flat_rows"] == sum(int(result.flat.sum()) for result in run.results)
    assert run.counters["rows"] == sum(job.rows for job in jobs)


@pytest.mark.parametrize("config", CONFIGS)
@pytest.mark.parametrize("kind", ["summarization", "causal", "generation"])
def test_longest_rows(config, kind):
    """Rows that fill half a buffer, and with it the line queues, to the last line."""
    rng = random.Random(6)
    jobs = []
    for dim in config.dims:
        keys = min(config.max_tokens, config.buffer_slots // config.slices(dim))
        for count in (keys, keys - 1, keys - config.scores_per_line(dim) + 1):
            jobs.append(random_job(config, rng, dim=dim, keys=count, kind=kind, queries=5))
    with engine_or_skip("verilator", config) as engine:
        assert_equal(jobs, engine.run(jobs).results, config)


@pytest.mark.parametrize("seed", range(4))
def test_flat_generation_rows_take_their_half_back(seed):
    """Many flat rows of short jobs, mixed with other kinds, under stalls: halves of the K buffer change hands often."""
    rng = random.Random(100 + seed)
    jobs = [
        random_job(
            TINY,
            rng,
            split=rng.choice(((6, 4), (4, 4), (8, 4), (8, 0))),
            threshold=rng.choice((0.3, 0.6, 1.0)),
            kind=rng.choice(("generation", "generation", "summarization", "causal")),
            max_keys=rng.choice((8, 64)),
        )
        for _ in range(300)
    ]
    timing = MemoryTiming(latency=3, stall=0.5, skew=15, host_stall=0.5, seed=seed)
    with engine_or_skip("verilator", TINY, timing=timing) as engine:
        assert_equal(jobs, engine.run(jobs).results, TINY)


REFUSALS = [
    ({"dim": 20}, payloads.BAD_DIM),
    ({"num_keys": 0}, payloads.BAD_COUNT),
    ({"value_keep": 0}, payloads.BAD_KEEP),
    ({"key_bits": 7}, payloads.BAD_WIDTH),
    ({"value_base": 0xFFFFF}, payloads.BAD_WINDOW),
    ({"list": 1, "ids": [3, 2, 1]}, payloads.BAD_IDS),
    ({"shift": 0}, payloads.BAD_SCALE),
]


@pytest.mark.parametrize("timing", [MemoryTiming(), STALLS], ids=["ideal", "stalls"])
def test_refused_jobs_leave_no_trace(timing):
    """Bad jobs between good ones: the good ones equal golden, as if the bad ones had never come."""
    rng = random.Random(4)
    jobs, overrides, codes = [], {}, []
    for change, code in REFUSALS:
        jobs += [random_job(FOUR, rng, queries=5, listed=False) for _ in range(2)]
        overrides[len(jobs) - 1] = change
        codes += [payloads.OK, code]
    jobs.append(random_job(FOUR, rng))
    with engine_or_skip("verilator", FOUR, timing=timing) as engine:
        run = engine.run(jobs, overrides=overrides, allow_refused=True)
    assert run.statuses == [*codes, payloads.OK]
    good = [i for i, code in enumerate(run.statuses) if code == payloads.OK]
    assert all(
        (result is None) == (code != payloads.OK) for result, code in zip(run.results, run.statuses, strict=True)
    )
    assert_equal([jobs[i] for i in good], [run.results[i] for i in good], FOUR)
    assert run.counters["jobs_refused"] == len(REFUSALS)


def test_pruned_rows_of_memory_are_never_read():
    """A head with a tenth of the keys listed reads a tenth of the words (and no other)."""
    rng = random.Random(5)
    job = random_job(FOUR, rng, dim=32, keys=12, kind="summarization", listed=False, split=(8, 0), value_bits=8)
    rows = 120
    key, value = (torch.randint(-128, 128, (rows, 32)) for _ in range(2))
    ids = torch.arange(0, rows, 10)
    job = dataclasses.replace(job, key=key, value=value, ids=ids, query_bits=8, value_keep=12)
    job = dataclasses.replace(job, query=job.query.clamp(-128, 127))
    with engine_or_skip("verilator", FOUR) as engine:
        run = engine.run([job])
    assert_equal([job], run.results, FOUR)
    words = 32 * 8 // FOUR.channel_width
    assert run.counters["key_words"] == 12 * words
    assert run.counters["value_words"] == 12 * words
