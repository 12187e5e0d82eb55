"""How many examples a property is tried on."""

from hypothesis import settings

__all__ = ["FIXED", "LONG", "MANY", "examples"]

FIXED, LONG = "fixed", "long"
"""Profiles (tests/conftest.py): the same examples in each run of ``make test``, random ones in ``make test-long``."""
MANY = 100
"""Fewest random examples."""


def examples(few: int) -> settings:
    """Settings of a property: ``few`` fixed examples, in the profile LONG at least MANY random ones."""
    if settings.get_current_profile_name() == LONG:
        return settings(max_examples=max(few, MANY))
    return settings(max_examples=few)
