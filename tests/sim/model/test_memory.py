import dataclasses

import numpy as np

from hdl.spec.config import PRESETS
from sim.engine.timing import MemoryTiming
from sim.model.channels import Demand
from sim.model.latencies import COMMAND, LSB_LOADS
from sim.model.memory import Memory
from sim.model.sizes import Sizes

PAPER = PRESETS["paper"]
KINDS = ("query", "key", "key_lsb", "value")


def memory(**changes):
    config = dataclasses.replace(PAPER, **changes)
    work = dict.fromkeys((f"{kind}_words" for kind in KINDS), 0.0)
    return Memory(Sizes(config, MemoryTiming()), work), work


def demand(words, channels=16):
    return Demand(float(words * channels), np.full(channels, float(words)))


def test_a_load_is_limited_by_the_channels_or_by_the_banks():
    made, work = memory()
    delay = made.sizes.latency + made.sizes.delays.fetch
    first, last = made.bulk("key", 100.0, demand(30), slices=8, banks=8)
    assert (first, last) == (100 + COMMAND + 1 + delay, 100 + COMMAND + 30 + delay)
    assert work == {"query_words": 0, "key_words": 480, "key_lsb_words": 0, "value_words": 0}
    made, _ = memory()
    _, last = made.bulk("value", 100.0, demand(30), slices=800, banks=8)
    assert last == 100 + COMMAND + 1 + 100 + delay, "a slice a bank and cycle"


def test_urgent_words_are_counted_and_delay_what_is_loaded_then():
    made, work = memory()
    assert made.urgent("query", 120.0, demand(4)) == 124
    _, last = made.bulk("key", 100.0, demand(30), slices=8, banks=8)
    assert last == 100 + COMMAND + 34 + made.sizes.latency + made.sizes.delays.fetch
    assert work["query_words"] == 64


def test_so_many_loads_are_in_flight():
    made, _ = memory(loads=2)
    assert [made.free("key") for _ in range(2)] == [0, 0]
    made.flies("key", 70.0)
    assert made.free("key") == 70
    assert [made.free("key_lsb") for _ in range(LSB_LOADS)] == [0] * LSB_LOADS
