import dataclasses
import math
import random

import numpy as np
import pytest

from golden.layers.job import run_job
from hdl.spec.config import PRESETS
from sim.engine.registry import make_engine
from sim.engine.timing import MemoryTiming
from sim.engine.verilator import available
from sim.model.channels import Planes
from sim.model.model import predict
from sim.model.shape import Shape, shapes_of
from tests.bench.jobs import random_job

PAPER, TINY = PRESETS["paper"], PRESETS["tiny"]


def generation(keys=200, count=24, **fields):
    fields = {"key_bits": 6, "key_lsb_bits": 4, "value_bits": 6, "value_keep": max(1, keys // 5), **fields}
    return [Shape(dim=64, keys=keys, generation=True, skew=number % 16, **fields) for number in range(count)]


def summarization(keys=64, count=4, **fields):
    fields = {"value_keep": keys, **fields}
    return [Shape(dim=64, keys=keys, rows=keys, **fields) for _ in range(count)]


# Runs ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("keys", [64, 25, 100])
def test_summarization_is_bound_by_its_arrays(keys):
    shapes = summarization(keys, count=12)
    found = predict(shapes, PAPER)
    assert found.work["qk_beats"] == 12 * math.ceil(keys * keys / 8)
    assert found.work["qk_beats"] < found.cycles < found.work["qk_beats"] + 250
    assert found.bound in ("qk", "pv")


def test_a_causal_row_attends_those_before_it():
    shape = Shape(dim=64, keys=10, rows=6, group=2, causal=True, value_keep=10)
    assert shape.lengths.tolist() == [8, 9, 10, 8, 9, 10]
    assert predict([shape], PAPER).work["qk_beats"] == 2 * (1 + 2 + 2)


def test_generation_counts_words_and_beats():
    found = predict(generation(keys=1024, value_keep=1024, count=2), PAPER)
    assert found.work["qk_beats"] == 2 * 128
    assert found.work["key_words"] == 2 * 1024 * 384 / 256
    assert found.work["value_words"] == 2 * 1024 * 384 / 256
    assert found.work["query_words"] == 2 * 3
    assert found.work["key_lsb_words"] == 0


def test_flat_rows_read_lsbs_and_compute_again():
    plain, flat = predict(generation(), PAPER), predict(generation(flat_rows=1), PAPER)
    assert flat.work["qk_beats"] == 2 * plain.work["qk_beats"]
    assert flat.work["key_lsb_words"] == 24 * 200
    assert flat.cycles > 1.5 * plain.cycles
    rows = summarization(key_bits=8, key_lsb_bits=4, flat_rows=16)
    assert predict(rows, PAPER).work["qk_beats"] == 4 * (64 + 16) * 8


def test_lsbs_come_ahead_behind_a_flat_row():
    shapes = generation(count=3)
    alone = Planes(PAPER).of_rows(np.arange(200), 0, 256, 1).words
    assert predict(shapes, PAPER).work["key_lsb_words"] == 0
    shapes[0] = dataclasses.replace(shapes[0], flat_rows=1)
    # The second row is read when the first one is decided, and is itself not flat.
    assert predict(shapes, PAPER).work["key_lsb_words"] in (2 * alone, 3 * alone)


def test_jobs_are_answered_in_order():
    shapes = generation(count=40)
    shapes[3] = dataclasses.replace(shapes[3], flat_rows=1)
    shapes[20:22] = summarization(count=2, key_bits=8, key_lsb_bits=4, flat_rows=9)
    found = predict(shapes, PAPER)
    assert found.finished == sorted(found.finished) and found.cycles == found.finished[-1]


def test_a_pair_loads_keys_once():
    pairs = [dataclasses.replace(shape, pair=1 + number % 2) for number, shape in enumerate(generation(100))]
    found, alone = predict(pairs, PAPER), predict(generation(100), PAPER)
    assert found.work["key_words"] == 12 * 100 * 768 / 256
    assert found.work["qk_beats"] == alone.work["qk_beats"]


def test_less_buffer_takes_longer():
    shapes = generation(900)
    small = dataclasses.replace(PAPER, key_rows=1024, key_pages=8)
    assert predict(shapes, small).cycles > 1.3 * predict(shapes, PAPER).cycles


def test_slower_topk_takes_longer():
    shapes = summarization(128, value_keep=40)
    one = dataclasses.replace(PAPER, num_topk_engines=1)
    cycles = [predict(shapes, one, topk_parallelism=parallelism).cycles for parallelism in (1, 4, 16)]
    assert cycles == sorted(cycles, reverse=True) and cycles[0] > 4 * cycles[2]


def test_equal_runs_give_equal_predictions():
    assert predict(generation(), PAPER) == predict(generation(), PAPER)


@pytest.mark.parametrize("timing", [MemoryTiming(stall=0.1), MemoryTiming(mode="hbm2"), MemoryTiming(skew=3)])
def test_other_memory_is_refused(timing):
    with pytest.raises(ValueError, match="timing must be ideal, without stalls and skew"):
        predict(generation(), PAPER, timing)


def test_no_jobs_are_refused():
    with pytest.raises(ValueError, match="shapes must not be empty"):
        predict([], PAPER)


# Against the RTL -----------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def engine():
    if not available():
        pytest.skip("no C++ compiler, make or perl for Verilator")
    with make_engine("verilator", TINY, timing=MemoryTiming()) as engine:
        yield engine


@pytest.mark.parametrize(
    ("number", "choices"),
    [
        (80, {"kind": "summarization", "dim": 64, "keys": 25, "queries": 12, "split": (8, 0), "threshold": 0.02}),
        (80, {"kind": "generation", "dim": 64, "keys": 32, "listed": False, "split": (6, 4), "threshold": 0.02}),
        (80, {"kind": "generation", "dim": 32, "keys": 24, "listed": True, "split": (6, 4), "threshold": 0.1}),
        (150, {"kind": "generation"}),
        (150, {}),
    ],
    ids=["summarization", "generation", "generation with flat rows", "any generation", "anything"],
)
def test_cycles_of_the_rtl(engine, number, choices):
    rng = random.Random(5)
    jobs = [random_job(TINY, rng, **choices) for _ in range(number)]
    run = engine.run(jobs)
    found = predict(shapes_of(jobs, [run_job(job, TINY) for job in jobs]), TINY)
    for name, error in (("query", 0), ("key", 0), ("key_lsb", 0.1), ("value", 0.01)):
        assert found.work[f"{name}_words"] == pytest.approx(run.counters[f"{name}_words"], rel=error)
    assert found.cycles == pytest.approx(run.counters["cycles"], rel=0.06)
