"""Profiles of Hypothesis: fixed examples unless ``--hypothesis-profile long`` asks for random ones."""

from hypothesis import settings

from tests.bench.examples import FIXED, LONG, MANY

settings.register_profile(FIXED, derandomize=True, deadline=None, max_examples=MANY)
settings.register_profile(LONG, derandomize=False, deadline=None, max_examples=5 * MANY)
settings.load_profile(FIXED)
