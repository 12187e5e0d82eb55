import dataclasses

import numpy as np
import pytest

from hdl.spec.config import PRESETS
from sim.engine.timing import MemoryTiming
from sim.model.in_flight import InFlight
from sim.model.latencies import LOADER, RELEASE
from sim.model.loaders import Loaders
from sim.model.memory import Memory
from sim.model.prediction import WORK
from sim.model.shape import Shape
from sim.model.sizes import Sizes

PAPER = PRESETS["paper"]
HALF = PAPER.key_slots // 2 + 1
"""Keys of 64 elements, a slice each: two such lists do not fit the K buffer."""


def loaders(wait=lambda: pytest.fail("nothing to wait for"), config=PAPER):
    sizes = Sizes(config, MemoryTiming())
    return Loaders(sizes, Memory(sizes, dict.fromkeys(WORK, 0.0)), wait)


def job(index=0, **fields):
    fields = {"keys": 64, "value_keep": 64, "generation": True} | fields
    return InFlight(Shape(dim=64, **fields), index)


def test_keys_are_commanded_after_the_check():
    made, one, two = loaders(), job(), job(1)
    made.load_keys(one, 50.0, None)
    assert one.command == 50 + LOADER and one.command < one.key_first < one.key_last and one.region
    made.load_keys(two, 20.0, one)
    assert two.command == one.command + LOADER, "one after the other"
    assert two.region.start == one.region.stop, "next fit"


def test_a_pair_has_one_load():
    made, one, two = loaders(), job(pair=1), job(1, pair=2)
    made.load_keys(one, 50.0, None)
    before = made.memory._work["key_words"]
    made.load_keys(two, 60.0, one)
    assert made.memory._work["key_words"] == before and two.region is None
    assert (two.key_first, two.key_last) == (one.key_first, one.key_last)
    assert one.partner is two and two.partner is one


def test_a_load_waits_until_a_region_is_given_back():
    one, two = job(keys=HALF), job(1, keys=HALF)

    def wait():
        one.keys_final = 4000.0
        made.give_back(one, pv=0.0)

    made = loaders(wait)
    made.load_keys(one, 0.0, None)
    made.load_keys(two, 0.0, one)
    assert two.command == 4000 + RELEASE


def test_the_keys_of_a_pair_are_given_back_by_the_last_of_it():
    made, one, two = loaders(), job(pair=1), job(1, pair=2)
    made.load_keys(one, 0.0, None)
    made.load_keys(two, 0.0, one)
    pages, region = made._key_pages.free, one.region
    one.keys_final = 300.0
    made.give_back(one, pv=0.0)
    assert np.isinf(pages[region]).all()
    two.keys_final = 200.0
    made.give_back(two, pv=0.0)
    assert (pages[region] == 300 + RELEASE).all()


def test_loads_and_gathers_of_values_do_not_mix():
    made, dense, row = loaders(), job(generation=False, rows=64), job(1)
    made.load_values(dense)
    assert made.command_gather(row, 0.0) == dense.value_last, "a gather waits for the load"
    made.gather(row, np.arange(4), dense.value_last, dense.value_last + 8)
    again = job(2, generation=False, rows=64)
    made.load_values(again)
    assert made.values == made.gathered, "and a load for the gather"


def test_queries_are_asked_for_as_far_as_the_queue_holds_them():
    made = loaders(config=dataclasses.replace(PAPER, query_queue=4))
    before = [job(index) for index in range(4)]
    before[0].begun = 900.0
    new = job(4)
    made.load_queries(new, before, settled=0.0)
    assert new.query == 900 + made.sizes.query_trip(new.shape)
    late = job(1)
    made.load_queries(late, before[:1], settled=1500.0)
    assert late.query == 1500 + made.sizes.query_trip(late.shape), "rows of summarization are final first"
