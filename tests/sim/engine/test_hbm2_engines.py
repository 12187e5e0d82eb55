"""Both simulators on channels of HBM2: equal cycle by cycle."""

import random

import numpy as np

from hdl.spec.config import PRESETS
from sim.engine.deliverable import deliverable_cycles
from sim.engine.hbm2_timing import HBM2Timing
from sim.engine.timing import MemoryTiming
from tests.sim.engine.test_engine import JOBS, engine_of

TINY = PRESETS["tiny"]
HBM2_MODE = MemoryTiming(mode="hbm2", hbm2=HBM2Timing(tREFI=600), host_stall=0.2, seed=3)


def assert_equal_runs(runs):
    for run in runs[1:]:
        for field in ("cycles", "finished", "counters", "words_read", "memory"):
            assert getattr(run, field) == getattr(runs[0], field)
        for mine, other in zip(run.addresses, runs[0].addresses, strict=True):
            assert np.array_equal(mine, other)


def test_engines_are_equal_on_the_stand_in():
    runs = []
    for name in ("verilator", "pysim"):
        with engine_of(name, timing=HBM2_MODE, record_addresses=True) as engine:
            runs += [engine.run(JOBS), engine.run(JOBS)]
    assert_equal_runs(runs)
    assert runs[0].memory == "hbm2" and [len(words) for words in runs[0].addresses] == runs[0].words_read
    with engine_of("pysim") as engine:
        ideal = engine.run(JOBS)
    assert ideal.memory == "ideal" and ideal.addresses is None and ideal.words_read == runs[0].words_read
    assert ideal.cycles < runs[0].cycles


def test_engines_are_equal_on_the_accelerator():
    """Also: recorded words in the order of the requests, and the memory alone is not slower than the machine."""
    from tests.bench.jobs import random_layers
    from tests.hdl.test_spatten import engine_or_skip

    layers, _, selections = random_layers(TINY, random.Random(1), 4, tokens=12, dim=16)
    runs = []
    for name in ("verilator", "pysim"):
        with engine_or_skip(name, TINY, timing=HBM2_MODE, record_addresses=True) as engine:
            runs.append(engine.run_layers(layers))
    assert_equal_runs(runs)
    assert [selection is None for selection in runs[0].selections] == [want is None for want in selections]
    assert 0 < deliverable_cycles(runs[0].addresses, HBM2_MODE, TINY) < runs[0].cycles
