"""Whatever ``Config`` accepts is generated, linted, and runs jobs and layers equal to golden: random configurations."""

import random

import pytest

from golden.layers.job import Job
from hdl.spec.config import Config
from hdl.verilog import to_verilog
from sim.engine.lint import lint_verilog
from sim.engine.registry import make_engine
from sim.engine.timing import MemoryTiming
from sim.engine.verilator import available
from sim.transport.memory import ImageError, MemoryImage
from sim.transport.pack import pack_jobs
from tests.bench.configs import random_config
from tests.bench.jobs import random_job, random_layers
from tests.hdl.test_cascade import assert_layers_equal
from tests.hdl.test_spatten import assert_equal

SEEDS, LONG_SEEDS = range(20), range(220)
LINTED_SEEDS = (0, 2, 37)
"""Words of one memory unit, a buffer of one page, banks of one slice: each has had vectors of no bits."""


def fitting_jobs(config: Config, rng: random.Random, number: int, most_keys: int) -> list[Job]:
    """Random jobs that fit the memory, with as many keys as do; at least one of one key."""
    for keys in (most_keys, 4, 1):
        jobs = [random_job(config, rng, max_keys=keys, queries=rng.randint(1, 2)) for _ in range(number)]
        try:
            pack_jobs(jobs, config, MemoryImage(config))
        except ImageError:
            continue
        return jobs
    small = {"split": (4, 0), "query_bits": 4, "value_bits": 4, "keys": 1, "queries": 1, "group": 1}
    return [random_job(config, rng, **small, listed=False)]


def check_runs(config: Config, *, jobs: int = 3, keys: int = 12, tokens: int = 10) -> None:
    """Jobs, and layers with their selection, with stalls."""
    rng = random.Random(config.name)
    some_jobs = fitting_jobs(config, rng, jobs, keys)
    tokens = min(config.max_tokens, config.buffer_slots // config.slices(config.dims[0]), tokens)
    layers, results, selections = random_layers(config, rng, 2, tokens=tokens, dim=config.dims[0])
    timing = MemoryTiming(latency=3, stall=0.2, skew=2, host_stall=0.2, seed=rng.randrange(100))
    with make_engine("pysim", config, timing=timing) as engine:
        assert_equal(some_jobs, engine.run(some_jobs).results, config)
        assert_no_empty_signal(engine)
        try:
            run = engine.run_layers(layers)
        except ImageError:
            return  # the memory is too small for the layers' planes
        assert_layers_equal(layers, run, results, selections)


def assert_no_empty_signal(engine) -> None:
    """A signal of no bits is ``[-1:0]`` in the Verilog, which tools refuse."""
    for info in engine._machine.simulator._design.fragments.values():
        assert [(info.name, name) for signal, name in info.signal_names.items() if not len(signal)] == []


def check_verilog(config: Config, folder) -> None:
    """Generated without a vector of no bits; Verilator, if it is there, finds nothing."""
    if available():
        assert lint_verilog(config, folder=folder) == []
    else:
        assert "[-1:0]" not in to_verilog(config)


@pytest.mark.parametrize("seed", SEEDS)
def test_random_configurations_run(seed):
    check_runs(random_config(seed, small=True), jobs=2, keys=4, tokens=3)


@pytest.mark.parametrize(
    "seed", [*LINTED_SEEDS, *(pytest.param(seed, marks=pytest.mark.long) for seed in SEEDS if seed not in LINTED_SEEDS)]
)
def test_random_configurations_are_linted(seed, tmp_path):
    check_verilog(random_config(seed, small=True), tmp_path)


@pytest.mark.long
@pytest.mark.parametrize("seed", LONG_SEEDS)
def test_many_random_configurations(seed, tmp_path):
    check_verilog(random_config(seed), tmp_path)
    check_runs(random_config(seed))
