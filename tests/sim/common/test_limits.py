import random

import pytest

from golden.layers.job import run_job
from hdl.spec.config import PRESETS
from sim.common.limits import limits
from tests.bench.jobs import random_job

CONFIG = PRESETS["paper"]  # 8 scores a cycle at D = 64, 512 bytes a cycle


def limit_of(threshold=0.02, **fixed):
    job = random_job(
        CONFIG,
        random.Random(1),
        dim=64,
        keys=100,
        queries=10,
        listed=False,
        query_bits=12,
        value_bits=8,
        keep=25,
        threshold=threshold,
        **fixed,
    )
    result = run_job(job, CONFIG)
    return limits([job], [result], CONFIG), int(result.flat.sum())


def test_summarization_reads_all_values():
    limit, _ = limit_of(kind="summarization", split=(8, 0))
    assert limit.qk_cycles == 10 * 100 / 8
    assert limit.memory_cycles == pytest.approx(64 * (12 * 10 + 8 * 100 + 8 * 100) / 4096)
    assert limit.cycles == limit.qk_cycles


def test_generation_takes_whole_cycles_and_reads_the_survivors_values():
    limit, _ = limit_of(kind="generation", split=(8, 0))
    assert limit.qk_cycles == 13  # 100 keys, 8 a cycle
    assert limit.memory_cycles == pytest.approx(64 * (12 + 8 * 100 + 8 * 25) / 4096)


def test_causal_rows_are_shorter():
    limit, _ = limit_of(kind="causal", split=(8, 0))
    assert limit.qk_cycles == sum(range(91, 101)) / 8


def test_flat_rows_count_twice():
    limit, flat = limit_of(kind="summarization", split=(8, 4), threshold=1.0)
    assert flat > 0
    assert limit.qk_cycles == (10 + flat) * 100 / 8
    assert limit.memory_cycles == pytest.approx(64 * (12 * 10 + 12 * 100 + 8 * 100) / 4096)


def test_flat_row_of_generation_takes_whole_cycles_twice():
    limit, flat = limit_of(kind="generation", split=(8, 4), threshold=1.0)
    assert flat == 1 and limit.qk_cycles == 2 * 13
    assert limit.memory_cycles == pytest.approx(64 * (12 + 12 * 100 + 8 * 25) / 4096)
