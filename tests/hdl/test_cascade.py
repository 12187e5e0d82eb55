"""Layers with their cascade selection on the whole accelerator, against golden."""

import dataclasses
import random

import pytest
import torch

from golden.layers.job import run_job
from hdl.spec import payloads
from hdl.spec.config import PRESETS
from sim.engine.timing import MemoryTiming
from tests.bench.jobs import random_job, random_layers
from tests.hdl.test_spatten import CONFIGS, FOUR, STALLS, TINY, engine_or_skip


def assert_layers_equal(layers, run, results, selections):
    for index, layer in enumerate(layers):
        for got, want in zip(run.results[index], results[index], strict=True):
            for field in ("flat", "probs", "out", "abs_sum"):
                assert torch.equal(getattr(got, field), getattr(want, field)), f"layer {index}: {field}"
        got, want = run.selections[index], selections[index]
        assert (got is None) == (want is None)
        if want is not None:
            assert got.head_ids == want.head_ids
            for field in ("ids", "importance", "keep", "head_importance", "head_keep"):
                assert torch.equal(getattr(got, field), getattr(want, field)), f"layer {index}: {field}, {layer}"


@pytest.mark.parametrize("timing", [MemoryTiming(), STALLS], ids=["ideal", "stalls"])
def test_random_layers_pysim(timing):
    layers, results, selections = random_layers(TINY, random.Random(1), 6, tokens=12, dim=16)
    with engine_or_skip("pysim", TINY, timing=timing) as engine:
        assert_layers_equal(layers, engine.run_layers(layers), results, selections)


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("timing", [MemoryTiming(), STALLS], ids=["ideal", "stalls"])
@pytest.mark.parametrize("config", CONFIGS)
def test_random_layers(config, timing, seed):
    layers, results, selections = random_layers(config, random.Random(seed), 60)
    timing = dataclasses.replace(timing, seed=seed)
    with engine_or_skip("verilator", config, timing=timing) as engine:
        run = engine.run_layers(layers)
    assert_layers_equal(layers, run, results, selections)
    assert run.counters["layers"] == 60
    assert run.counters["jobs"] == sum(len(layer.jobs) for layer in layers)


@pytest.mark.parametrize("name", ["verilator", "pysim"])
def test_survivors_stay_on_chip_from_run_to_run(name):
    """The second run goes on with the list and importance that the first one left."""
    layers, results, selections = random_layers(TINY, random.Random(7), 8, tokens=10, dim=16)
    with engine_or_skip(name, TINY) as engine:
        for index, layer in enumerate(layers):
            run = engine.run_layers([layer], resume=index > 0)
            assert_layers_equal([layer], run, [results[index]], [selections[index]])


BAD_LAYERS = [
    ({"token_keep": 0, "select": 1}, payloads.BAD_SELECT),
    ({"num_heads": 200}, payloads.BAD_HEADS),
    ({"ids": [3, 2, 1]}, payloads.BAD_IDS),
    ({"dim": 20}, payloads.BAD_DIM),
    ({"value_bits": 5}, payloads.BAD_WIDTH),
    ({"value_stride": 0xFFFF0}, payloads.BAD_WINDOW),
]


@pytest.mark.parametrize("timing", [MemoryTiming(), STALLS], ids=["ideal", "stalls"])
@pytest.mark.parametrize(("change", "code"), BAD_LAYERS)
def test_bad_layer_leaves_the_next_sequence_alone(change, code, timing):
    """A refused layer between two sequences; the second brings its own list, and shows nothing of the first."""
    rng = random.Random(3)
    found = None
    while found is None:  # a layer with a list of its own and heads, for each of the three
        layers, _, _ = random_layers(FOUR, rng, 40)
        good = [i for i, layer in enumerate(layers) if layer.ids is not None and len(layer.kv_heads) > 1]
        found = good[:2] if len(good) > 1 else None
    bad, after = found
    run_layers = [layers[bad], layers[after]]
    with engine_or_skip("verilator", FOUR, timing=timing) as engine:
        run = engine.run_layers(run_layers, overrides={0: change}, allow_refused=True)
        assert run.statuses == [code, payloads.OK]
        alone = engine.run_layers([layers[after]])
    assert_layers_equal([layers[after]], alone, [run.results[1]], [run.selections[1]])


def test_jobs_between_layers():
    """Plain jobs before and after layers do not disturb one another (the host may mix both)."""
    rng = random.Random(5)
    jobs = [random_job(FOUR, rng) for _ in range(5)]
    with engine_or_skip("verilator", FOUR) as engine:
        layers, results, selections = random_layers(FOUR, rng, 10)
        assert_layers_equal(layers, engine.run_layers(layers), results, selections)
        for job, got in zip(jobs, engine.run(jobs).results, strict=True):
            assert torch.equal(got.out, run_job(job, FOUR).out)


def test_longest_list():
    """A list of max_tokens, accumulated and selected at once."""
    config = PRESETS["tiny"]
    layers, results, selections = random_layers(config, random.Random(11), 20, tokens=config.max_tokens, dim=16)
    with engine_or_skip("verilator", config) as engine:
        assert_layers_equal(layers, engine.run_layers(layers), results, selections)
