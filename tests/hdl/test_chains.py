"""Jobs that go on with each other's sums, through the whole accelerator, against golden."""

import dataclasses
import random

import pytest
import torch

from golden.layers.job import run_jobs
from hdl.spec import payloads
from sim.engine.timing import MemoryTiming
from tests.bench.jobs import random_chain, random_job
from tests.hdl.test_spatten import FOUR, STALLS, engine_or_skip

CONFIG = dataclasses.replace(FOUR, name="four-chained", chain_rows=12)


def assert_equal(jobs, results, config=CONFIG):
    for index, (job, got, want) in enumerate(zip(jobs, results, run_jobs(jobs, config), strict=True)):
        for field in ("flat", "probs", "out", "abs_sum"):
            assert torch.equal(getattr(got, field), getattr(want, field)), f"job {index}: {field}, {job}"


def mixture(rng, count):
    """Chains among jobs of every kind that are none."""
    jobs = []
    while len(jobs) < count:
        jobs += random_chain(CONFIG, rng) if rng.random() < 0.6 else [random_job(CONFIG, rng)]
    return jobs


@pytest.mark.parametrize("timing", [MemoryTiming(), STALLS], ids=["ideal", "stalls"])
def test_chains_among_other_jobs(timing):
    jobs = mixture(random.Random(1), 150)
    with engine_or_skip("verilator", CONFIG, timing=timing) as engine:
        run = engine.run(jobs)
    assert_equal(jobs, run.results)
    assert sum(job.joins for job in jobs) > 40
    assert run.counters["jobs"] == len(jobs)


@pytest.mark.parametrize("kind", ["summarization", "generation"])
def test_many_parts_of_few_keys(kind):
    """One row, or few, of one to three keys a job: each sum is needed as soon as it is there."""
    rng = random.Random(2)
    jobs = [job for _ in range(6) for job in random_chain(CONFIG, rng, kind=kind, parts=12)]
    short = [
        dataclasses.replace(job, ids=None, keys=min(job.num_keys, rng.randint(1, 3)), causal=False) for job in jobs
    ]
    short = [dataclasses.replace(job, value_keep=min(job.value_keep, job.num_keys)) for job in short]
    with engine_or_skip("verilator", CONFIG) as engine:
        assert_equal(short, engine.run(short).results)


@pytest.mark.long
def test_many_chains():
    for seed in range(3, 23):
        jobs = mixture(random.Random(seed), 150)
        timing = MemoryTiming(latency=seed, stall=0.02 * seed, skew=seed, host_stall=0.02 * seed, seed=seed)
        with engine_or_skip("verilator", CONFIG, timing=timing) as engine:
            assert_equal(jobs, engine.run(jobs).results)


def test_what_breaks_a_chain_is_refused():
    """Wrong jobs leave an open chain as it is; the right one goes on with it."""
    rng = random.Random(4)
    chain = random_chain(CONFIG, rng, kind="summarization", parts=3, queries=2, group=1)
    alone = random_job(CONFIG, rng, kind="summarization", split=(6, 4), listed=False)
    wrong = {
        1: {"joins": 1},  # no chain is open
        3: {},  # a job of its own while one is
        4: {"joins": 1, "more": 1},  # not of the same rows
    }
    jobs = [alone, alone, chain[0], alone, alone, chain[1], chain[2], alone]
    overrides = {index: {"joins": 0, "more": 0} | fields for index, fields in wrong.items()}
    with engine_or_skip("verilator", CONFIG) as engine:
        run = engine.run(jobs, allow_refused=True, overrides=overrides)
    bad = payloads.BAD_PAIR
    assert run.statuses == [0, bad, 0, bad, bad, 0, 0, 0]
    right = [index for index in range(len(jobs)) if index not in wrong]
    assert_equal([jobs[index] for index in right], [run.results[index] for index in right])


def test_runs_begin_without_a_chain():
    """What a run left open, a reset closes."""
    rng = random.Random(5)
    chain = random_chain(CONFIG, rng, parts=3)
    with engine_or_skip("verilator", CONFIG) as engine:
        engine.run(chain[:2])
        alone = [random_job(CONFIG, rng)]
        assert_equal(alone, engine.run(alone).results)
        assert_equal(chain, engine.run(chain).results)
