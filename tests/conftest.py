"""Profiles of Hypothesis: fixed examples unless ``--hypothesis-profile long`` asks for random ones; garbage collection;
the engine of Amaranth's simulations.

Elaboration makes millions of small objects: with the interpreter's thresholds a third of it is garbage collection, most
of all over what the imported packages hold for good.
"""

import gc

from hypothesis import settings

from tests.bench.examples import FIXED, LONG, MANY
from tests.bench.quick_engine import use_quick_engine

settings.register_profile(FIXED, derandomize=True, deadline=None, max_examples=MANY)
settings.register_profile(LONG, derandomize=False, deadline=None, max_examples=5 * MANY)
settings.load_profile(FIXED)
use_quick_engine()


def pytest_collection_finish():
    gc.collect()
    gc.freeze()
    gc.set_threshold(100_000, 20, 100)
