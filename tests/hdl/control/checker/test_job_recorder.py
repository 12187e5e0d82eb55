import dataclasses
import random

import pytest

from hdl.control.checker.job_recorder import JobRecorder
from hdl.spec.config import PRESETS
from tests.bench.harness import check_reset, made, simulate
from tests.bench.requests import CONFIG, request

WIDE = dataclasses.replace(CONFIG, name="wide", num_multipliers=128, lanes=8, topk_parallelism=8)
CONFIGS = [CONFIG, WIDE, dataclasses.replace(CONFIG, name="unpacked", packing=False), PRESETS["ulx3s-d32"]]
DERIVED = ("pack", "repeat", "log_slices", "listed", "list", "progressive", "layer", "rows")


def random_jobs(config, number, seed):
    """Legal jobs: (request, current list, rows)."""
    rng = random.Random(seed)
    jobs = []
    for _ in range(number):
        dim = rng.choice(config.dims)
        most = min(config.max_tokens, config.buffer_slots // config.slices(dim))
        keys = rng.choice((rng.randint(1, min(most, 20)), most - rng.randint(0, min(most - 1, 9))))
        kind = rng.randrange(3)
        item = request(
            dim=dim,
            num_keys=keys,
            causal=int(kind == 1),
            generation=int(kind == 2),
            list=rng.randrange(3),
            key_lsb_bits=rng.choice((0, 4)),
            layer=rng.randrange(2),
            skew=0,
            flat_limit=rng.randrange(2**16),
        )
        jobs.append((item, rng.randrange(2), rng.randint(1, config.max_tokens)))
    return jobs


def use(config, jobs):
    def prepare(dut):
        seen = []

        async def bench(ctx):
            for item, current, rows in jobs:
                ctx.set(dut.request, item)
                ctx.set(dut.log_slices, config.log_slices(item["job"]["dim"]))
                ctx.set(dut.current, current)
                ctx.set(dut.rows, rows)
                for _ in range(JobRecorder.LATENCY + 1):
                    await ctx.tick()
                seen.append({name: ctx.get(dut.record[name]) for name in dut.record.shape().members})

        return bench, [], seen

    return prepare


def expected(config, item, current, rows):
    job = item["job"]
    packs = not job["causal"] and not job["generation"] and config.packs(job["dim"], job["num_keys"])
    return {
        "pack": int(packs),
        "repeat": config.scores_per_line(job["dim"]) - 1 if packs else 0,
        "log_slices": config.log_slices(job["dim"]),
        "listed": int(job["list"] != 0),
        "list": current ^ (job["list"] == 1),
        "progressive": int(job["key_lsb_bits"] == 4),
        "layer": item["layer"],
        "rows": rows,
    }


@pytest.mark.parametrize("config", CONFIGS, ids=lambda config: config.name)
def test_random_jobs(config):
    jobs = random_jobs(config, 200, 1)
    dut = made(JobRecorder, config)
    bench, _, seen = use(config, jobs)(dut)
    simulate(dut, bench, cycles=4 * len(jobs))
    for (item, current, rows), record in zip(jobs, seen, strict=True):
        assert {name: record[name] for name in DERIVED} == expected(config, item, current, rows)
        assert all(record[name] == item["job"][name] for name in set(record) - set(DERIVED))
    assert {record["pack"] for record in seen} == ({0, 1} if config.packing and config.lanes > 1 else {0})


def test_reset_in_mid_stream():
    check_reset(lambda: JobRecorder(CONFIG), use(CONFIG, random_jobs(CONFIG, 8, 2)), cycles=100)
