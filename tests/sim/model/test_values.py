import dataclasses

import numpy as np

from hdl.spec.config import PRESETS
from sim.engine.timing import MemoryTiming
from sim.model.in_flight import InFlight, Pass
from sim.model.loaders import Loaders
from sim.model.memory import Memory
from sim.model.prediction import WORK
from sim.model.shape import Shape
from sim.model.sizes import Sizes
from sim.model.values import Values

PAPER = PRESETS["paper"]


def values(config=PAPER, seed=0):
    sizes, work = Sizes(config, MemoryTiming()), dict.fromkeys(WORK, 0.0)
    return Values(sizes, Loaders(sizes, Memory(sizes, work), lambda: None), work, seed), work


def dense(keys, last=0.0):
    job = InFlight(Shape(dim=64, keys=keys, rows=keys, value_keep=keys), 0)
    job.value_last = last
    return Pass(job, keys, keys * keys / 8, 0.0, 0.0, second=False)


def test_lines_or_outputs_limit_the_product():
    made, work = values()
    delays = made.sizes.delays
    drain = -(-64 // PAPER.norm_lanes)
    assert made.multiply(dense(64), 0.0, 400.0) == delays.prune + 512 + delays.output + drain
    assert work["pv_beats"] == 512 and made.pruner == 400
    slow, _ = values(dataclasses.replace(PAPER, norm_lanes=1))
    slow.multiply(dense(8), 0.0, 0.0)
    assert slow.pv == slow.sizes.delays.prune + 8 * 64, "outputs one by one"


def test_the_product_does_not_end_before_its_values_are_there():
    made, _ = values()
    made.multiply(dense(8, last=5000.0), 0.0, 10.0)
    assert made.pv == 5000


def test_two_rows_of_a_mask_in_one_channel_take_two_cycles():
    made, _ = values()
    ids = np.arange(16)
    spread = Shape(dim=64, keys=16, value_keep=4, generation=True)
    assert made._gather_cycles(spread, ids, np.array([0, 1, 8, 9])) == 2, "a mask of 8 keys a cycle"
    assert made._gather_cycles(spread, 16 * ids, np.array([0, 1, 8, 9])) == 4
    assert made._gather_cycles(spread, ids, np.array([0])) == 2, "also a mask without rows"


def test_a_gather_waits_for_its_rows_and_counts_them():
    made, work = values()
    job = InFlight(Shape(dim=64, keys=64, value_keep=8, value_bits=12, generation=True, kept=np.arange(8)), 0)
    out = made.gather(job, 100.0, 108.0)
    assert work["value_words"] == 8 * 3 and work["pv_beats"] == 1
    assert made.pv == job.value_last + 3 < out


def test_rows_that_nobody_says_are_drawn_by_the_seed():
    shape = Shape(dim=64, keys=64, value_keep=8, generation=True)
    one, same, other = (values(seed=seed)[0]._kept(shape).tolist() for seed in (1, 1, 2))
    assert one == same != other and len(set(one)) == 8 and one == sorted(one)
